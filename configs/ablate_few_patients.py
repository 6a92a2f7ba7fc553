r"""What helps a U-Net that has ten labelled patients? The start from a GAN; five seeds.

python launch.py --mode=ablate --config=configs/ablate_few_patients.py                      phantoms
python launch.py --mode=ablate --config=configs/ablate_few_patients.py --config.data.dir=DIR \
    --config.data.labelled_patients=5 --workdir=runs/few_patients_5                         yours

A seed also chooses the patients. The arm "GAN features" starts from GANs that have seen all slices
without masks, one of each seed, trained before:
python launch.py --mode=ablate --config=configs/dcgan_chest_xray.py --config.data.name=brain_mri \
    --config.data.dir=DIR --config.data.image_size=128 --config.model.generator.width=16 \
    --config.model.discriminator.width=16 --sweep='seed=0..4' --workdir=runs/few_patients_gans

docs/few_labels.md explains the arms.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import few_labels_brain_mri
from studies.ablation.sweep import Sweep

GANS = "runs/few_patients_gans/cells/as configured"


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    return few_labels_brain_mri.get_config(arg)


def sweep() -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    arms: dict[str, dict[str, Any]] = {
        "from scratch": {},
        "GAN features": {"train.init_from": lambda seed: f"{GANS}/seed{seed}"},
        "usual U-Net": {"model.encoder": "levels", "model.input": "standardised"},
    }
    for settings in arms.values():
        settings["data.labels_seed"] = lambda seed: seed
    return Sweep(arms, seeds=range(5))
