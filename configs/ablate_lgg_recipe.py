"""What segments LGG brain MRI better? Recipes on five folds, the test patients unread.

python launch.py --mode=ablate --config=configs/ablate_lgg_recipe.py --split=val       phantoms
python launch.py --mode=ablate --config=configs/ablate_lgg_recipe.py --split=val \
    --config.data.dir=DIR --workdir=runs/recipes                                       yours

The first arm is unet_brain_mri_best.py as it is, each other one changes one thing. Training and
validation images are divided anew into five folds, patient by patient; --split=val scores each
image by the run that held it out. docs/protocols.md says what is chosen and how.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import unet_brain_mri_best
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = unet_brain_mri_best.get_config(arg).unlock()
    config.data.folds = 5
    return config.lock()


def sweep() -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    arms: dict[str, dict[str, Any]] = {
        "today's": {},
        "three slices": {"data.neighbours": 1},
        "ImageNet's encoder": {"model.encoder": "efficientnet_lite0"},
        "residual blocks": {"model.residual_blocks": 1},
        "deep supervision": {"model.deep_supervision": True},
    }
    return Sweep(arms, seeds=(0,), folds=range(5))
