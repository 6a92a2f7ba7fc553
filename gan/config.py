"""The settings that every GAN has, with their defaults; a config file overrides some."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.declaration import Compared, Declaration
from common.config.defaults import OptimizerSettings, RunSettings, TrainSettings, default_config
from common.data import augmentation
from common.data.augmentation import Augmentation
from common.data.take import TAKES, TAKES_WITH_MASK
from common.program.rules import Rules, choice, duration, number, switch, text, whole
from common.program.settings import Fields, Section
from gan.flags import MODES, GANOptions

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "data.unlabelled": choice("drop", "keep"),
    "data.take": choice(*TAKES, *TAKES_WITH_MASK),
    "train.picture_grid": whole(1, 32),
    "model.name": text(),
    "model.latent": choice("normal", "uniform"),
    "model.generator.embedding_scale": number(0, 1000, above=True),
    "model.*.batch_norm": switch(),
    **{f"discriminator_augment.{name}": rule for name, rule in augmentation.RULES.items()},
    **{f"consistency_augment.{name}": rule for name, rule in augmentation.RULES.items()},
    "adaptive_augment.target": number(0, 1, below=True),
    "adaptive_augment.rise": duration(positive=True, share=True),
    **dict.fromkeys([f"model.*.{x}" for x in ("projection", "classifier", "decoder")], switch()),
    "model.discriminator.scales": whole(1, 4),
    "model.discriminator.seen_size": whole(0, 8192),
    "model.discriminator.embedding_size": whole(0, 65536),
    "model.*.class_size": whole(1, 65536),
    "model.generator.shared_class_size": whole(0, 65536),
    "model.*.attention": whole(0, 8192),
    **dict.fromkeys(
        [f"model.*.{name}" for name in ("hierarchical", "spectral_norm", "orthogonal", "remat")],
        switch(),
    ),
    **dict.fromkeys(["model.*.minibatch_deviation", "model.*.k_plus_one"], switch()),
    "quality.extractor": text(),
    "quality.num_images": whole(1, 1_000_000),
    "quality.k": whole(1, 1000),
    "quality.on_collapse": choice("warn", "stop"),
    "loss.name": text(),
    "loss.class_weight_rise": duration(share=True),
    "loss.class_loss": choice("cross_entropy", "data_to_data"),
    "loss.class_of_generated": switch(),
    "loss.label_smoothing": number(0, 1, below=True),
    "loss.penalty_every": whole(1, 10_000),
    "loss.*": number(0, 1e6),
    "optimizer.discriminator_steps": whole(1, 1000),
    "optimizer.half_batches": switch(),
    "optimizer.accumulate": whole(1, 65536),
    "optimizer.*.freeze": text(),
    **{f"optimizer.*.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


@dataclass(frozen=True)
class GANTraining(TrainSettings):
    """`config.train`; a duration is "3000" (steps) or "15 epochs", and "0" means never."""

    picture_grid: int = 8  # images along each side of pictures/*_samples.png


@dataclass(frozen=True)
class AdaptiveAugmentation(Section):
    """`config.adaptive_augment`: how often `discriminator_augment` varies an image (ADA)."""

    target: float = 0.0  # of the mean sign of training images' logits, e.g. 0.6; 0: all are varied
    rise: str = "10 %"  # how long the probability takes from 0 to 1 at the fastest


@dataclass(frozen=True)
class GANModel(Section):
    """`config.model`: the networks, and what is drawn from the generator."""

    name: str = ""  # a file in gan/networks; "": acgan, or dcgan for one class
    latent: str = "normal"  # or "uniform" in [-1, 1]
    average_decay: float = 0.0  # of the generator's moving average; 0: the last step draws
    generator: Mapping[str, Any] = field(  # latent_size, and other fields of its class
        default_factory=lambda: {"latent_size": 100}
    )
    discriminator: Mapping[str, Any] = field(default_factory=dict)  # fields of its class


@dataclass(frozen=True)
class QualitySettings(Section):
    """`config.quality`: how generated images are measured every `train.eval_every`."""

    extractor: str = "radiomic"  # of features, see gan/quality/features.py; "": off
    num_images: int = 256  # of the most frequent class
    k: int = 5  # neighbours for precision, recall, density and coverage
    on_collapse: str = "warn"  # or "stop"


@dataclass(frozen=True)
class GANLoss(Section):
    """`config.loss`; the weights of terms stand beside the other settings."""

    name: str = "non_saturating"  # or one of gan/losses.py
    label_smoothing: float = 0.0  # the target of real images is 1 minus this
    discriminator_weight: float = 1.0  # of real + generated; 0.5 is their mean
    generator_weight: float = 1.0  # of all but the terms in the generator's loss; 0: they alone
    class_weight: float = 1.0  # of the class loss, if the discriminator predicts classes
    class_weight_rise: str = "0"  # how long it takes from 0 to this, such as "50 %"
    # Or "data_to_data" of ReACGAN, with model.discriminator.embedding_size.
    class_loss: str = "cross_entropy"
    class_of_generated: bool = True  # whether generated images teach the class, too
    penalty_every: int = 1  # steps between gradient_penalty, r1 and r2, as many times heavier
    terms: Mapping[str, float] = field(  # by their names in gan/terms.py
        default_factory=lambda: {
            "gradient_penalty": 0.0,  # lambda of WGAN-GP, which uses 10
            "r1": 0.0,  # gamma
            "r2": 0.0,  # gamma of r1 on generated images
            "consistency_real": 0.0,  # of real images that are judged as when varied (bCR) ...
            "consistency_fake": 0.0,  # ... and of generated ones; its authors use 10 for both
            "decoding": 0.0,  # of real images by model.discriminator.decoder; FastGAN's has 1
            "lecam": 0.0,  # of logits far from the usual ones of the other kind
            "mode_seeking": 0.0,  # of the generator's term for diversity; its authors use 1
            "diversity": 0.0,  # of the generator's term that compares pairs with real pairs
            "spread": 0.0,  # of the generator's term that compares how brightness varies
            "feature_matching": 0.0,  # of the generator's term that compares means of features
            "orthogonality": 0.0,  # of the generator's kernels; the BigGAN's authors use 1e-4
        }
    )

    def changed(self, section: Fields) -> "GANLoss":
        """Returns these settings with those of a section; what is no other setting is a term."""
        others = {field.name for field in fields(self)}
        terms = {name: section[name] for name in section if name not in others}
        return super().changed({**section, "terms": {**self.terms, **terms}})

    @property
    def section(self) -> ConfigDict:
        """Returns the section of a config with these values."""
        section = asdict(self)
        return ConfigDict({**section.pop("terms"), **section})


@dataclass(frozen=True)
class PlayerOptimizer(OptimizerSettings):
    """`config.optimizer.generator` and `config.optimizer.discriminator`."""

    learning_rate: float = 2e-4
    beta1: float = 0.5
    # Parameters that do not learn, a regular expression for their names: "halve_[123]/".
    freeze: str = ""


@dataclass(frozen=True)
class GANOptimizers(Section):
    """`config.optimizer`: how each player learns."""

    generator: PlayerOptimizer = PlayerOptimizer()
    discriminator: PlayerOptimizer = PlayerOptimizer()
    discriminator_steps: int = 1  # k: updates of the discriminator before the generator's
    half_batches: bool = False  # its updates see batch_size / 2 real and as many generated ones
    accumulate: int = 1  # parts of a batch, computed one after the other


@dataclass(frozen=True)
class GANSettings(RunSettings):
    """The whole config of a GAN."""

    task: str = "gan"
    train: GANTraining = GANTraining()
    # Of real and generated images alike, before the discriminator sees them.
    discriminator_augment: Augmentation = Augmentation()
    adaptive_augment: AdaptiveAugmentation = AdaptiveAugmentation()
    # Of images whose decisions loss.consistency_real and _fake compare; its authors also mirror.
    consistency_augment: Augmentation = Augmentation(translation=0.125)
    model: GANModel = field(default_factory=GANModel)
    quality: QualitySettings = QualitySettings()
    loss: GANLoss = field(default_factory=GANLoss)
    optimizer: GANOptimizers = GANOptimizers()


def judged_at_the_end(config: ConfigDict) -> ConfigDict:
    """Returns a copy, unlocked, that measures nothing in training: an ablation does it later."""
    copy = ConfigDict(config.to_dict())
    copy.quality.extractor = ""
    copy.train.update(eval_every="0", picture_every="500", keep_last=1)
    return copy


def gan_config(arg: str = "") -> ConfigDict:
    """Returns a GAN's config without networks; add `model.name` and the networks' settings.

    Args:
      arg: "" or "tiny".
    """
    config = default_config(arg, GANSettings)
    if arg == "tiny":
        config.quality.update(extractor="pixels", num_images=16)
    return config


TASK = Declaration(
    defaults=gan_config,
    rules=RULES,
    settings=GANSettings,
    options=GANOptions,
    modes=MODES,
    compared=(
        *(
            Compared(f"{told} ({kind})", f"quality.{kind}.all.{name}_*.same_n", best, "floor")
            for kind in ("radiomic", "vgg16")
            for told, name, best in (
                ("Fréchet distance", "frechet", "lowest"),
                ("coverage", "coverage", "highest"),
                ("recall", "recall", "highest"),
            )
        ),
        Compared("accuracy of the judge", "judge.generated.scores.accuracy.value"),
    ),
    captions={
        "memorization.png": "The generated images that are nearest to training images, each beside"
        " its nearest neighbours",
        "points.png": "Precision against recall of generated images, by --truncation and --reject",
        "judge.png": "What the judge says of generated images: confusion matrix, ROC curves,"
        " precision and recall, reliability",
    },
    use="Draws images of the classes it was trained on, for research and teaching.",
    limits=(
        "Generated images show nobody. Say wherever they are passed on that they were generated, by"
        " what and from which data.",
        "What is rare among the training images is rarer among generated ones, or missing.",
        "A generator can repeat images of patients. The test for it finds copies and near copies;"
        " it is no proof of privacy.",
    ),
    shown=(
        *("train/discriminator_loss", "train/generator_loss"),
        *("val/", "quality/frechet", "quality/spread"),
    ),
    continuable=frozenset(
        {"quality.extractor", "quality.num_images", "quality.k", "quality.on_collapse"}
        | {"train.picture_grid"}
    ),
)
