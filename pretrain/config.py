"""The settings that every pretraining has, with their defaults."""

from dataclasses import dataclass, field

from ml_collections import ConfigDict

from classify.config import NetworkModel, NetworkSettings
from common.config import defaults as configs
from common.config.declaration import Compared, Declaration
from common.config.defaults import OptimizerSettings, default_config
from common.program.rules import Rules, choice, each, number, text, whole
from common.program.settings import Section
from pretrain.flags import MODES, PretrainOptions

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "data.unlabelled": choice("drop", "keep"),
    "data.unlabelled_dir": text(),
    **dict.fromkeys(("model.name", "model.weights", "model.weights_sha256"), text()),
    "model.projector": each(whole(1, 65536)),
    "loss.name": choice("vicreg", "simclr"),
    "loss.positives": choice("patient", "image"),
    "loss.temperature": number(0, 1e3, above=True),
    "loss.*": number(0, 1e6),
    **{f"optimizer.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


@dataclass(frozen=True)
class PretrainModel(NetworkModel):
    """`config.model`: a classifier's network without its head, and a projector in its place."""

    projector: tuple[int, ...] = (512, 512, 512)  # widths of its dense layers; it is thrown away


@dataclass(frozen=True)
class PretrainLoss(Section):
    """`config.loss`: what the projections of two views have to be; see pretrain/losses.py."""

    name: str = "vicreg"  # or "simclr"
    positives: str = "patient"  # views are of two images of a patient; or "image": of the same one
    invariance: float = 25.0  # of "vicreg": the weight of the distance of two views
    variance: float = 25.0  # of "vicreg": the weight of what keeps images apart
    covariance: float = 1.0  # of "vicreg": the weight of what keeps features from repeating others
    temperature: float = 0.1  # of "simclr": less looks at the images most alike


@dataclass(frozen=True)
class PretrainSettings(NetworkSettings):
    """The whole config of a pretraining."""

    task: str = "pretrain"
    model: PretrainModel = field(default_factory=PretrainModel)
    loss: PretrainLoss = PretrainLoss()
    optimizer: OptimizerSettings = OptimizerSettings(name="adamw", weight_decay=1e-4)


def pretrain_config(arg: str = "") -> ConfigDict:
    """Returns a pretraining's config without a network; set `model.name`.

    Args:
      arg: "" or "tiny".
    """
    return default_config(arg, PretrainSettings)


TASK = Declaration(
    defaults=pretrain_config,
    rules=RULES,
    settings=PretrainSettings,
    options=PretrainOptions,
    modes=MODES,
    compared=(
        Compared("AUC of nearest images", "nearest.scores.roc_auc_macro.value"),
        Compared("accuracy of nearest images", "nearest.scores.accuracy.value"),
    ),
    captions={"nearest.png": "Held-out images, and the training images most like each"},
    use="Is what classifiers and U-Nets start from that learn from few labels, for research.",
    limits=("It tells no classes apart by itself.",),
)
