"""The settings that every segmentation run has, with their defaults."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.declaration import Compared, Declaration
from common.config.defaults import OptimizerSettings, RunSettings, TrainSettings, default_config
from common.program.rules import Rules, choice, number, switch, text, whole
from common.program.settings import Section
from unet.flags import MODES, UNetOptions

ENCODERS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")  # with weights

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "data.neighbours": whole(0, 16),
    "model.depth": whole(1, 12),
    **dict.fromkeys(("model.norm_output", "model.deep_supervision"), switch()),
    "model.residual_blocks": whole(0, 100),
    "model.input": choice("unit", "signed", "standardised"),
    "model.encoder": choice("levels", "dcgan", *ENCODERS),
    **dict.fromkeys(("model.weights", "model.weights_sha256"), text()),
    "loss.overlap_over": choice("image", "batch"),
    "loss.*": number(0, 1e6),
    "optimizer.accumulate": whole(1, 65536),
    "optimizer.frozen": whole(0, 1000),
    **{f"optimizer.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


@dataclass(frozen=True)
class UNetModel(Section):
    """`config.model`: the U-Net, and what it sees."""

    width: int = 32  # maps of the first level; each further level has twice as many
    depth: int = 5  # levels
    norm_output: bool = False  # a BatchNorm after the last convolution
    residual_blocks: int = 0  # of each level on the way down; 0: two plain convolutions
    deep_supervision: bool = False  # levels on the way up learn from smaller masks, too
    momentum: float = 0.9  # of the running statistics of BatchNorm
    epsilon: float = 1e-3  # of BatchNorm
    # Pixels in [0, 1]; or "signed": in [-1, 1]; "standardised": mean 0, deviation 1 per image.
    input: str = "unit"
    # "dcgan": as a DCGAN's discriminator, for train.init_from; "efficientnet_lite0", 1 or 2: that.
    encoder: str = "levels"
    weights: str = "imagenet"  # an EfficientNet-Lite starts from; or a file or URL; "": at random
    weights_sha256: str = ""  # their checksum; "" is not compared
    average_decay: float = 0.0  # of the moving average that is evaluated; 0: the last step is


@dataclass(frozen=True)
class UNetLoss(Section):
    """`config.loss`: the weights of the losses in unet/losses.py, and their settings."""

    cross_entropy: float = 1.0  # weight of the mean over pixels
    dice: float = 0.0  # weight of the overlap, which a rare class does not weigh less in
    focal: float = 0.0  # weight of the cross-entropy of pixels that are still wrong
    tversky: float = 0.0  # weight of an overlap in which misses may cost more than false alarms
    focal_gamma: float = 2.0  # how much less a pixel counts that is already right
    tversky_alpha: float = 0.3  # weight of false positives
    tversky_beta: float = 0.7  # weight of false negatives
    # Dice and Tversky are of each image, then their mean; or "batch": of all images of the global
    # batch as if they were one, so that an image without the class weighs little.
    overlap_over: str = "image"


@dataclass(frozen=True)
class UNetOptimizer(OptimizerSettings):
    """`config.optimizer`."""

    accumulate: int = 1  # parts of a batch, computed one after the other
    frozen: int = 0  # how many stages of an EfficientNet-Lite, from the image on, do not learn


@dataclass(frozen=True)
class UNetSettings(RunSettings):
    """The whole config of a segmentation run: a U-Net, cross-entropy, Adam."""

    task: str = "unet"
    # evaluate and predict use the checkpoint with the best validation Dice.
    train: TrainSettings = TrainSettings(best_metric="val/dice", low_memory=True)
    model: UNetModel = UNetModel()
    loss: UNetLoss = UNetLoss()
    optimizer: UNetOptimizer = UNetOptimizer()


def unet_config(arg: str = "") -> ConfigDict:
    """Returns a segmentation config; a config file overrides some of its settings.

    Args:
      arg: "" or "tiny".
    """
    return default_config(arg, UNetSettings)


TASK = Declaration(
    defaults=unet_config,
    rules=RULES,
    settings=UNetSettings,
    options=UNetOptions,
    modes=MODES,
    compared=(
        Compared("Dice", "scores.*.per_image_with_truth.dice.value"),
        Compared("IoU", "scores.*.per_image_with_truth.iou.value"),
        Compared("HD95", "scores.*.per_image_with_truth.hd95.value", "lowest"),
    ),
    captions={
        f"{kind}.png": f"{words}: image, truth, prediction, and both outlines"
        for kind, words in (
            ("worst", "The worst cases"),
            ("median", "Cases of the middle"),
            ("best", "The best cases"),
            ("random", "Cases drawn at random"),
        )
    },
    use="Draws masks of what it was trained to find, for research; someone who can read the images"
    " checks each of them.",
    limits=("What training masks rarely show is rarely found.",),
    keeps_reference=True,
)
