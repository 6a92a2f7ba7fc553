"""What helps an AC-GAN that has a few hundred images? Eight answers, each alone.

python launch.py --mode=ablate --config=configs/ablate_few_images.py                        phantoms
python launch.py --mode=ablate --config=configs/ablate_few_images.py --config.data.dir=DIR  yours
python launch.py --mode=ablate --config=configs/ablate_few_images.py --config.data.dir=DIR \
    --config.data.train_images=100 --sweep=seed=0

The arm "+ transfer" starts from a GAN of chest X-rays, which is trained before:
python launch.py --config=configs/acgan_covid.py --config.data.name=chest_xray \
    --config.data.dir=XRAYS --workdir=runs/acgan_chest_xray

docs/few_images.md explains the answers; ablate_few_images_best.py begins with the best GAN.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import acgan_covid, acgan_covid_best
from gan.config import judged_at_the_end
from studies.ablation.sweep import Sweep

AUGMENT = {"discriminator_augment.translation": 0.125, "discriminator_augment.cutout": 0.2}
# A step on one core, in its own time, by which arms train as long as "plain"; the others' steps
# take as long as that one's (bench/arms.py; JAX 0.10, Intel Xeon).
MILLISECONDS = {"plain": 840, "projected": 790, "residual": 2680}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = judged_at_the_end(acgan_covid.get_config(arg))
    config.model.discriminator.embedding_size = 0
    return config.lock()


def sweep(arg: str = "") -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    critic = acgan_covid_best.get_config(arg).to_dict()
    arms: dict[str, dict[str, Any]] = {
        "plain": {},
        "+ DiffAugment": AUGMENT,
        "+ ADA": {**AUGMENT, "adaptive_augment.target": 0.6},
        "+ diversity": {"loss.diversity": 8.0},
        "+ LeCam": {"loss.lecam": 0.3},
        "+ ReACGAN": {
            "loss.class_loss": "data_to_data",
            "model.discriminator.embedding_size": 512,
        },
        "+ transfer": {"train.init_from": "runs/acgan_chest_xray"},
        # That of acgan_covid_best.py, trained like it, but without its other answers.
        "projected": {
            **{section: critic[section] for section in ("model", "optimizer")},
            "data.batch_size": critic["data"]["batch_size"],
            "loss": {**critic["loss"], "diversity": 0.0},
        },
        "residual": _r3gan(),
    }
    if arg != "tiny":
        for arm, milliseconds in MILLISECONDS.items():
            steps = 1500 * MILLISECONDS["plain"] / milliseconds
            arms[arm]["train.num_steps"] = str(round(steps))
    return Sweep(arms)


def _r3gan() -> dict[str, object]:
    """Returns R3GAN: residual networks, the relativistic loss, R1 and R2."""
    return {
        "model.name": "r3gan",
        "model.generator": {"latent_size": 64, "width": 8},
        "model.discriminator": {"width": 8},
        "loss.name": "relativistic",
        "loss.discriminator_weight": 1.0,
        **{"loss.r1": 2.0, "loss.r2": 2.0},  # with which the authors begin at 64x64
        **{
            f"optimizer.{player}.{name}": value
            for player in ("generator", "discriminator")
            for name, value in (("beta1", 0.0), ("beta2", 0.99))
        },
    }
