r"""What makes a classifier of COVID-CT better? Recipes on five folds, the test images unread.

python launch.py --mode=ablate --config=configs/ablate_covid_recipe.py --split=val       phantoms
python launch.py --mode=ablate --config=configs/ablate_covid_recipe.py --split=val \
    --config.data.dir=DIR --config.data.group='^(.*?)(?:-p\d.*|_\d.*|\.\w+)$' \
    --config.data.copies=drop --config.model.weights=imagenet --workdir=runs/recipes     yours

The first arm is vgg16_covid_best.py as it is, each other one changes one thing. Training and
validation images are divided anew into five folds, patient by patient; --split=val scores each
image by the run that held it out. docs/protocols.md says what is chosen and how.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import vgg16_covid_best
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = vgg16_covid_best.get_config(arg).unlock()
    config.data.folds = 5
    return config.lock()


def sweep(arg: str = "") -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    arms: dict[str, dict[str, Any]] = {
        "today's": {},
        "Lite2, 256 pixels": {"model.name": "efficientnet_lite2"},
        "40 epochs": {"train.num_steps": "40 epochs"},
        "varied more": {
            "augment.rotation": 15.0,
            "augment.crop": 0.4,
            "augment.brightness": 0.2,
            "augment.contrast": 0.4,
            "augment.gamma": 0.5,
        },
        "first layers slower": {"optimizer.stage_decay": 0.7},
    }
    if arg != "tiny":
        arms["Lite2, 256 pixels"].update({"model.network.depth": 1.2, "data.image_size": 256})
    return Sweep(arms, seeds=(0,), folds=range(5))
