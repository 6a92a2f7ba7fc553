"""The settings that every classification run has, with their defaults."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from classify.flags import MODES, ClassifyOptions
from common.config import defaults as configs
from common.config.declaration import Declaration
from common.config.defaults import OptimizerSettings, default_config
from common.config.durations import never
from common.program.rules import Rules, duration, number, switch, text, whole

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    **dict.fromkeys(("model.name", "model.weights", "model.weights_sha256"), text()),
    "model.cached_views": whole(0, 1000),
    "model.mirror": switch(),
    "model.network.depth": number(0, 10, above=True),
    **dict.fromkeys(("model.network.pooled", "model.network.stored_statistics"), switch()),
    "loss.label_smoothing": number(0, 1, below=True),
    "loss.class_weights": text(),
    "loss.mixup": number(0, 100),
    "optimizer.stage_decay": number(0, 1),
    "optimizer.frozen": whole(0, 1000),
    "optimizer.unfreeze_every": duration(),
    "optimizer.accumulate": whole(1, 65536),
    **{f"optimizer.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


@dataclass(frozen=True)
class ClassifierOptimizer(OptimizerSettings):
    """`config.optimizer`: with a learning rate for each stage of the network."""

    name: str = "adamw"
    stage_decay: float = 1.0  # a stage's learning rate as a share of that of the next
    frozen: int = 0  # how many stages, from the image on, do not learn
    unfreeze_every: str = "0"  # after each such time one more learns, from the top; 0: never
    accumulate: int = 1  # parts of a batch, computed one after the other

    @property
    def never_learning(self) -> int:
        """Returns how many stages, from the image on, stay frozen."""
        return self.frozen if never(self.unfreeze_every) else 0


def classify_config(arg: str = "") -> ConfigDict:
    """Returns a classification config without a network; set `model.name`.

    Args:
      arg: "" or "tiny".
    """
    config = default_config(arg)
    config.task = "classify"
    # evaluate and predict use the checkpoint with the lowest validation loss.
    config.train.update(best_metric="val/loss", best_is="lowest", low_memory=True)
    config.model = ConfigDict(
        {
            "name": "",  # a file in classify/networks
            "network": {},  # other fields of its class
            "weights": "",  # to start from: "imagenet", or a file or URL of torchvision, Keras, ...
            "weights_sha256": "",  # its checksum; "" is not compared
            # A frozen trunk's features are computed once, for this many views of each training
            # image:
            "cached_views": 0,  # 1: as it is; more: augmented, too; 0: recompute in every step
            "average_decay": 0.0,  # of the moving average that is evaluated; 0: the last step is
            "mirror": False,  # evaluate and predict average with the image mirrored left to right
        }
    )
    config.loss = ConfigDict(
        {
            "label_smoothing": 0.0,  # this share of the target is spread over all classes
            "class_weights": "",  # "balanced", or a number for each class: "1,2.5"
            "mixup": 0.0,  # alpha of mixup; 0: off
        }
    )
    config.optimizer = ClassifierOptimizer().section
    return config


TASK = Declaration(
    defaults=classify_config,
    rules=RULES,
    options=ClassifyOptions,
    modes=MODES,
    keeps_reference=True,
)
