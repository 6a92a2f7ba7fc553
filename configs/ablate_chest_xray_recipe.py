r"""What classifies chest X-rays better? Recipes on five folds, the test images unread.

python launch.py --mode=ablate --config=configs/ablate_chest_xray_recipe.py --split=val    phantoms
python launch.py --mode=ablate --config=configs/ablate_chest_xray_recipe.py --split=val \
    --config.data.dir=DIR --config.data.group='^(person\d+|IM-\d+|NORMAL2-IM-\d+)' \
    --config.model.weights=imagenet --workdir=runs/recipes                                 yours

The first arm is efficientnet_chest_xray.py as it is, each other one changes one thing. Training
images are divided into five folds, patient by patient; --split=val scores each image by the run
that held it out. docs/protocols.md says what is chosen and how.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import efficientnet_chest_xray
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = efficientnet_chest_xray.get_config(arg).unlock()
    config.data.folds = 5
    return config.lock()


def sweep(arg: str = "") -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    arms: dict[str, dict[str, Any]] = {
        "today's": {},
        "Lite2": {"model.name": "efficientnet_lite2"},
        "12 epochs": {"train.num_steps": "12 epochs"},
        "varied more": {
            "augment.crop": 0.3,
            "augment.brightness": 0.2,
            "augment.contrast": 0.4,
            "augment.gamma": 0.5,
        },
        "first layers slower": {"optimizer.stage_decay": 0.7},
    }
    if arg != "tiny":
        arms["Lite2"]["model.network.depth"] = 1.2
    return Sweep(arms, seeds=(0,), folds=range(5))
