"""What makes the U-Net good? unet_brain_mri.py with and without parts, three seeds each.

python launch.py --mode=ablate --config=configs/ablate_unet.py                        phantoms
python launch.py --mode=ablate --config=configs/ablate_unet.py --config.data.dir=DIR  your images

Each run is an ordinary one in WORKDIR/cells; the same command goes on where it was stopped.
"""

from ml_collections import ConfigDict

from configs import unet_brain_mri
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = ConfigDict(unet_brain_mri.get_config(arg).to_dict())
    config.train.keep_last = 1
    return config.lock()


def sweep() -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    return Sweep(
        {
            "as published": {},
            "+ Dice loss": {"loss.dice": 1.0},
            "+ mirrored images": {"augment.flip_horizontal": True},
            "half the width": {"model.width": 16},
            "one level less": {"model.depth": 4},
        },
        seeds=(0, 1, 2),
    )
