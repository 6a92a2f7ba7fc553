"""The settings that every translation has, with their defaults."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.declaration import Compared, Declaration
from common.config.defaults import OptimizerSettings, RunSettings, default_config
from common.program.rules import Rules, choice, number, switch, whole
from common.program.settings import Section
from translate.flags import MODES, TranslateOptions

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "model.name": choice("pix2pix", "cyclegan"),
    "model.generator": choice("unet", "residual"),
    "model.difference": switch(),
    "model.depth": whole(1, 12),
    "model.blocks": whole(0, 100),
    "model.patch_norm": choice("spectral", "instance"),
    "model.pool_size": whole(0, 10_000),
    "loss.name": choice("non_saturating", "least_squares", "hinge"),
    "loss.*": number(0, 1e6),
    **{f"optimizer.*.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


@dataclass(frozen=True)
class TranslateModel(Section):
    """`config.model`: what is learnt from, and the networks."""

    name: str = "pix2pix"  # learns from pairs; or "cyclegan": without them, both ways
    generator: str = "unet"  # or "residual"
    difference: bool = False  # the generator draws what is to be added to the image
    width: int = 32  # maps of the generator's first level
    depth: int = 5  # levels of the U-Net
    blocks: int = 6  # of the residual generator
    momentum: float = 0.9  # of the running statistics of BatchNorm, which the U-Net has
    epsilon: float = 1e-3  # of BatchNorm
    patch_width: int = 64  # maps of the discriminator's first layer
    patch_norm: str = "spectral"  # or "instance": what keeps the discriminator in bounds
    pool_size: int = 50  # earlier translations that the discriminators of "cyclegan" see; 0: none
    average_decay: float = 0.0  # of the moving average that translates; 0: the last step does


@dataclass(frozen=True)
class TranslateLoss(Section):
    """`config.loss`: the generator's loss is the sum of these, by their weights."""

    name: str = "least_squares"  # the adversarial loss, one of gan/losses.py
    adversarial: float = 1.0  # how little a translation looks real to the discriminator
    l1: float = 100.0  # of "pix2pix": to the true target
    # Of "cyclegan". Its authors use 10 and 5; our least_squares is half of theirs.
    cycle: float = 5.0  # from a translation back to the image
    identity: float = 2.5  # from what is in the target domain already to itself


@dataclass(frozen=True)
class TranslateOptimizers(Section):
    """`config.optimizer`: how the generators and the discriminators learn."""

    generator: OptimizerSettings = OptimizerSettings(2e-4, beta1=0.5)
    discriminator: OptimizerSettings = OptimizerSettings(2e-4, beta1=0.5)


@dataclass(frozen=True)
class TranslateSettings(RunSettings):
    """The whole config of a translation."""

    task: str = "translate"
    model: TranslateModel = TranslateModel()
    loss: TranslateLoss = TranslateLoss()
    optimizer: TranslateOptimizers = TranslateOptimizers()


def translate_config(arg: str = "") -> ConfigDict:
    """Returns a translation's config; a config file overrides some of its settings.

    Args:
      arg: "" or "tiny".
    """
    return default_config(arg, TranslateSettings)


TASK = Declaration(
    defaults=translate_config,
    rules=RULES,
    settings=TranslateSettings,
    options=TranslateOptions,
    modes=MODES,
    shown=("train/generator_loss", "train/discriminator_loss", "val/"),
    compared=(
        Compared("MAE", "scores.translated.body.mae.value", "lowest"),
        Compared("PSNR", "scores.translated.body.psnr.value"),
        Compared("SSIM", "scores.translated.body.ssim.value"),
        Compared("LPIPS", "scores.translated.image.lpips.value", "lowest"),
    ),
    captions={
        f"{kind}.png": f"{words}: image, translation, target, and how far they are apart"
        for kind, words in (
            ("worst", "The worst cases"),
            ("median", "Cases of the middle"),
            ("best", "The best cases"),
        )
    },
    use="Translates images of one kind into another, for research; nobody may read a diagnosis from"
    " a translated image.",
    limits=(
        "What is not to be seen in the input is not in the translation: it is left out, or guessed"
        " where it often lies, and both look like a scan.",
        "Scores over whole images hide that, as most pixels are air and healthy tissue.",
    ),
)
