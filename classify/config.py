"""The settings that every classification run has, with their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from classify.flags import MODES, ClassifyOptions
from common.config import defaults as configs
from common.config.declaration import Compared, Declaration
from common.config.defaults import OptimizerSettings, RunSettings, TrainSettings, default_config
from common.config.durations import never
from common.program.rules import Rules, duration, number, switch, text, whole
from common.program.settings import Section

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
class NetworkModel(Section):
    """Of `config.model`: the network, and what it starts from."""

    name: str = ""  # a file in classify/networks
    network: Mapping[str, Any] = field(default_factory=dict)  # other fields of its class
    weights: str = ""  # to start from: "imagenet", or a file or URL of torchvision, Keras, ...
    weights_sha256: str = ""  # its checksum; "" is not compared


@dataclass(frozen=True)
class ClassifierModel(NetworkModel):
    """`config.model`: the network, what it starts from, and what is evaluated."""

    # A frozen trunk's features are computed once, for this many views of each training image:
    cached_views: int = 0  # 1: as it is; more: augmented, too; 0: recompute in every step
    average_decay: float = 0.0  # of the moving average that is evaluated; 0: the last step is
    mirror: bool = False  # evaluate and predict average with the image mirrored left to right


@dataclass(frozen=True)
class ClassifierLoss(Section):
    """`config.loss`: of the cross-entropy."""

    label_smoothing: float = 0.0  # this share of the target is spread over all classes
    class_weights: str = ""  # "balanced", or a number for each class: "1,2.5"
    mixup: float = 0.0  # alpha of mixup; 0: off


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


@dataclass(frozen=True)
class NetworkSettings(RunSettings):
    """The config of a run that trains one of these networks."""

    model: NetworkModel = field(default_factory=NetworkModel)


@dataclass(frozen=True)
class ClassifierSettings(NetworkSettings):
    """The whole config of a classifier."""

    task: str = "classify"
    # evaluate and predict use the checkpoint with the lowest validation loss.
    train: TrainSettings = TrainSettings(best_metric="val/loss", best_is="lowest", low_memory=True)
    model: ClassifierModel = field(default_factory=ClassifierModel)
    loss: ClassifierLoss = ClassifierLoss()
    optimizer: ClassifierOptimizer = ClassifierOptimizer()


def classify_config(arg: str = "") -> ConfigDict:
    """Returns a classification config without a network; set `model.name`.

    Args:
      arg: "" or "tiny".
    """
    return default_config(arg, ClassifierSettings)


TASK = Declaration(
    defaults=classify_config,
    rules=RULES,
    settings=ClassifierSettings,
    options=ClassifyOptions,
    modes=MODES,
    compared=(
        Compared("AUC", "scores.roc_auc_macro.value"),
        Compared("F1 (macro)", "scores.f1_macro.value"),
        Compared("accuracy", "scores.accuracy.value"),
    ),
    captions={
        "figures.png": "Confusion matrix, ROC curves, precision and recall, reliability of the"
        " probabilities"
    },
    use="Tells the classes it was trained on apart, for research; someone who can read the images"
    " decides.",
    limits=("An image of none of its classes is given one of them all the same.",),
    keeps_reference=True,
)
