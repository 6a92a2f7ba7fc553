"""What of the best GAN for few images matters, and what more helps? All take the same steps.

python launch.py --mode=ablate --config=configs/ablate_few_images_best.py                   phantoms
python launch.py --mode=ablate --config=configs/ablate_few_images_best.py --config.data.dir=DIR

acgan_covid_best.py without one of its answers, or with one more; ablate_few_images.py begins with
an AC-GAN that has none. The arm "+ transfer" starts from a GAN of chest X-rays, trained before:
python launch.py --config=configs/acgan_covid_best.py --config.data.name=chest_xray \
    --config.data.dir=XRAYS --workdir=runs/acgan_best_chest_xray
"""

from typing import Any

from ml_collections import ConfigDict

from configs import acgan_covid_best
from gan.config import judged_at_the_end
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = judged_at_the_end(acgan_covid_best.get_config(arg))
    config.model.discriminator.embedding_size = 0
    if arg != "tiny":
        config.train.num_steps = "1100"  # six minutes of two idle cores, as in the other file
    return config.lock()


def sweep() -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    arms: dict[str, dict[str, Any]] = {
        "as it is": {},
        "- DiffAugment": {
            "discriminator_augment.translation": 0.0,
            "discriminator_augment.cutout": 0.0,
        },
        "- diversity": {"loss.diversity": 0.0},
        "+ ADA": {"adaptive_augment.target": 0.6},
        "+ LeCam": {"loss.lecam": 0.3},
        "+ ReACGAN": {
            "loss.class_loss": "data_to_data",
            "model.discriminator.embedding_size": 512,
        },
        "+ transfer": {"train.init_from": "runs/acgan_best_chest_xray"},
    }
    return Sweep(arms)
