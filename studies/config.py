"""The settings of the study "does synthetic data help?", and the runs that they describe.

Its config has the data once, in `config.data`; `config.gan` and `config.classifier` are complete
configs of such runs without what the study sets itself: their data and seeds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from classify import config as classify_settings
from common.config import defaults as configs
from common.config.declaration import Declaration
from common.config.tasks import declare_study
from common.program import settings
from common.program.errors import UserError
from common.program.rules import Rules, number, text, whole
from common.program.words import counted
from gan import config as gan_settings

TASK = "utility"
ALL = "all"
METRICS = {  # what is compared: a name of common/scores/classification.py -> its name for people
    "roc_auc_macro": "AUC",
    "f1_macro": "F1 (macro)",
    "accuracy": "accuracy",
}

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "study.*": text(),
    "study.folds": whole(0, 100),
    "study.relevant_gain": number(0, 1, above=True),
    **{f"gan.{name}": rule for name, rule in gan_settings.RULES.items()},
    **{f"classifier.{name}": rule for name, rule in classify_settings.RULES.items()},
}

_OF_RUNS = ("batch_size", "shuffle", "resident_limit_mb")  # of config.data, for each run separately
_ARM = re.compile(
    r"(?P<real>real|augmented)(\+(?P<ratio>\d+(\.\d+)?)(:(?P<added>.+))?)?|synthetic|folder:(?P<alone>.+)"
)


@dataclass(frozen=True)
class Arm:
    """A way to train the classifier.

    Attributes:
      name: in the config and the tables: "real+0.5", "real+1:DIR".
      real: whether it is trained on the real images.
      augmented: whether images are augmented as `config.classifier.augment` says.
      ratio: synthetic images for each real one.
      base: the arm that it is compared with; "" for "real".
      given: the folder of the synthetic images; "" for those that the study's GAN draws.
    """

    name: str
    real: bool
    augmented: bool
    ratio: float
    base: str
    given: str = ""

    @property
    def label(self) -> str:
        """Returns a short name for figures: of a folder, its last part."""
        return self.name.replace(self.given, Path(self.given).name) if self.given else self.name

    @property
    def drawn(self) -> float:
        """Returns how many images the study's GAN draws for each real one."""
        return 0.0 if self.given else self.ratio

    @property
    def meaning(self) -> str:
        """Returns the difference from the base, for a sentence."""
        images = f"images of {self.given}" if self.given else "synthetic images"
        if not self.real:
            return f"training on {images} only, as many as the real ones,"
        if self.ratio:
            to = " to augmentation" if self.augmented else ""
            return f"adding {images}{to}, {self.ratio:g} for each real one,"
        return "classical augmentation" if self.augmented else "training on real images"


@dataclass(frozen=True)
class Study:
    """What `config.study` says.

    Attributes:
      sizes: real training images of each class, as texts; "all" for all there are.
      seeds: of the choice of images and of all trainings.
      arms: ways to train.
      folds: parts of the patients, each tested once; 0: the test split of the data is.
      looks: numbers of seeds after which the result is looked at; the last is all of them.
      relevant_gain: smaller gains do not matter.
    """

    sizes: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    folds: int = 0
    looks: tuple[int, ...] = ()
    relevant_gain: float = 0.0

    @property
    def comparisons(self) -> int:
        """Returns how many differences of one score are tested in a look."""
        return len(self.sizes) * sum(bool(arm.base) for arm in self.arms)

    @property
    def most_drawn(self) -> float:
        """Returns the largest number of images that a GAN draws for each real one."""
        return max(arm.drawn for arm in self.arms)


@dataclass(frozen=True)
class StudySettings(settings.Section):
    """`config.study`: what is trained."""

    sizes: str = "50,100,all"  # real training images of each class
    seeds: str = "0,1,2"  # each draws other images and trains all networks anew
    # real, augmented (as classifier.augment says), +R: with R synthetic images for each real one;
    # synthetic: only synthetic images, as many as real ones; real+R:DIR and folder:DIR: the same
    # with the images of a folder in place of the GAN's
    arms: str = "real,augmented,real+0.5,real+1,real+2,augmented+1,synthetic"
    # cross-fitting: patients are divided into so many parts, each of which is test once, while the
    # next one is val; 0: the test split of the data
    folds: int = 0
    # "4,7": after so many seeds it stops if its answer is clear: if each interval is above or below
    # 0, or below a gain that matters. Intervals become wider for it
    looks: str = ""
    relevant_gain: float = 0.03  # in AUC


@dataclass(frozen=True)
class UtilitySettings(configs.RunSettings):
    """The whole config but for the sections `gan` and `classifier`, which are configs of runs."""

    study: StudySettings = StudySettings()


def utility_config(
    gan: ConfigDict | None = None, classifier: ConfigDict | None = None
) -> ConfigDict:
    """Returns the config of a study of a GAN and a classifier; the data are the GAN's.

    Args:
      gan: its config; by default the settings that all GANs have.
      classifier: its config; by default the settings that all classifiers have.
    """
    gan = gan or gan_settings.gan_config()
    classifier = classifier or classify_settings.classify_config()
    config = ConfigDict({"task": TASK})
    data = gan.data.to_dict()
    config.data = ConfigDict({name: data[name] for name in data if name not in _OF_RUNS})
    config.study = StudySettings().section
    for name, part in (("gan", gan), ("classifier", classifier)):
        whole = part.to_dict()
        whole["data"] = {key: whole["data"][key] for key in _OF_RUNS}
        del whole["seed"]
        config[name] = ConfigDict(whole)
    return config


declare_study(
    TASK,
    Declaration(
        defaults=utility_config,
        rules=RULES,
        settings=UtilitySettings,
        continuable=frozenset(
            # Its runs do not depend on the other entries of these lists.
            {"study.arms", "study.seeds", "study.sizes"}
            | {"classifier.train.low_memory", "gan.train.low_memory"}
            | {"classifier.train.trackers", "gan.train.trackers"}
        ),
    ),
)


def read_study(config: ConfigDict) -> Study:
    """Returns what `config.study` says.

    Raises:
      UserError: a setting is invalid, or the arms could not be compared fairly.
    """
    if config.get("task") != TASK:
        raise UserError(
            "--mode=utility needs a study, such as --config=configs/utility_covid.py; this config"
            f" has the task {config.get('task')!r}."
        )
    sizes, seeds = _listed(config, "sizes"), _listed(config, "seeds")
    for size in sizes:
        if size != ALL and not (size.isdecimal() and int(size)):
            raise UserError(
                f"config.study.sizes has '{size}'; write numbers of images, or '{ALL}'."
            )
    for seed in seeds:
        if not seed.isdecimal():
            raise UserError(f"config.study.seeds has '{seed}'; write numbers, such as 0,1,2.")
    arms = tuple(_read_arm(name) for name in _listed(config, "arms"))
    names = [arm.name for arm in arms]
    for arm in arms:
        if arm.base and arm.base not in names:
            raise UserError(
                f"config.study.arms has '{arm.name}' but not '{arm.base}', which it is compared"
                " with; add that."
            )
    for name, value in settings.flatten(config.classifier):
        if isinstance(value, str) and re.fullmatch(r"[\d.]+ *epochs?", value):
            raise UserError(
                f"config.classifier.{name} is '{value}', but arms with more images have longer"
                " epochs; write steps."
            )
    _check_folds(config)
    looks, gain = _read_looks(config.study.looks, len(seeds)), config.study.relevant_gain
    return Study(sizes, tuple(map(int, seeds)), arms, config.study.folds, looks, gain)


def _read_looks(text: str, seeds: int) -> tuple[int, ...]:
    """Returns after how many seeds a study looks at its result, all of them last."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    looks = [int(part) for part in parts if part.isdecimal()]
    if len(looks) < len(parts) or sorted({*looks}) != looks or not all(n >= 3 for n in looks):
        raise UserError(
            f"config.study.looks is '{text}'; write rising numbers of seeds such as 4,7, each 3"
            " or more (two may be alike by chance), or leave it empty."
        )
    if looks and looks[-1] >= seeds:
        raise UserError(
            f"config.study.looks is '{text}', but there are {counted(seeds, 'seed')}, after which"
            " the study ends anyway; add seeds to config.study.seeds, or look earlier."
        )
    return *looks, seeds


def _check_folds(config: ConfigDict) -> None:
    if not (folds := config.study.folds):
        return
    if folds < 3:
        raise UserError(
            f"config.study.folds is {folds}; write at least 3, because one part is test, another"
            " val and the others train, or 0 for the splits of the data."
        )
    for name in ("splits", "held_out", "folds"):
        if given := config.data[name]:
            raise UserError(
                f"config.study.folds={folds} divides all images, and config.data.{name}={given}"
                " divides them, too; leave out one of them."
            )


def run_config(part: ConfigDict, data: ConfigDict, seed: int, **changed: object) -> ConfigDict:
    """Returns the config of one run on a folder that the study wrote.

    Args:
      part: `config.gan` or `config.classifier`.
      data: `config.data`.
      seed: of the run.
      **changed: settings of its data, such as `dir`.
    """
    config = ConfigDict(part.to_dict())
    as_written: Mapping[str, Any] = {
        **{"url": "", "sha256": "", "classes": "", "only": "", "window": "", "splits": ""},
        **{"folds": 0, "fold": 0, "fit": "stretch", "mask_values": "", "pairs": "stems"},
        **{"on_bad_image": "error", "copies": "keep", "held_out": ""},
    }
    name = "" if data.name.startswith("tfds:") else data.name
    config.data = ConfigDict({**data.to_dict(), **part.data, **as_written, "name": name, **changed})
    config.seed = seed
    return config.lock()


def _listed(config: ConfigDict, name: str) -> tuple[str, ...]:
    """Returns the parts of a setting "a,b,c", each once."""
    parts = [part.strip() for part in config.study[name].split(",")]
    found = tuple(dict.fromkeys(part for part in parts if part))
    if not found:
        raise UserError(f"config.study.{name} is empty; name at least one.")
    return found


def _read_arm(name: str) -> Arm:
    match = _ARM.fullmatch(name)
    ratio = float(match["ratio"] or 0) if match else 0.0
    if match is None or (match["ratio"] and not ratio):
        raise UserError(
            f"config.study.arms has '{name}'; write real or augmented, either with +R synthetic"
            " images for each real one (real+0.5), or synthetic; images of a folder instead are"
            " real+0.5:DIR, or folder:DIR alone."
        )
    given = match["added"] or match["alone"] or ""
    if not match["real"]:
        return Arm(name, real=False, augmented=False, ratio=1.0, base="real", given=given)
    augmented = match["real"] == "augmented"
    base = match["real"] if ratio else ("real" if augmented else "")
    return Arm(name, real=True, augmented=augmented, ratio=ratio, base=base, given=given)
