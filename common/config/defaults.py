"""The settings that every experiment has: their defaults, the values they take, its folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from common.data import augmentation
from common.data.augmentation import Augmentation
from common.data.equal_pairs import EQUAL_PAIRS
from common.data.settings import DataSettings
from common.data.take import TAKES
from common.program.errors import UserError
from common.program.rules import (
    SEEDS,
    Rules,
    choice,
    duration,
    each,
    number,
    rule_of,
    some,
    switch,
    text,
    whole,
)
from common.program.settings import Section, flatten

# The values that shared settings take. A task's config.py adds its own.
RULES: Rules = {
    "task": text(),
    "seed": whole(0, SEEDS),
    "data.image_size": whole(1, 8192),
    "data.channels": choice(0, 1, 3),
    "data.copies": choice("group", "drop", "keep"),
    "data.equal_pairs": choice(*EQUAL_PAIRS),
    "data.fit": choice("stretch", "pad", "crop"),
    "data.pairs": choice("stems", "sorted"),
    "data.take": choice(*TAKES),
    "data.plane": choice("axial", "coronal", "sagittal"),
    "data.neighbours": choice(0),  # tasks that can see some have more
    "data.on_bad_image": choice("error", "skip"),
    "data.split_seed": whole(0, SEEDS),
    "data.fold*": whole(0, 1000),
    "data.train_images": whole(0, 1_000_000_000),
    **dict.fromkeys(("data.labels_per_class", "data.labelled_patients"), whole(0, 1_000_000_000)),
    "data.labels_seed": whole(0, SEEDS),
    "data.unlabelled": choice("drop"),  # tasks that can learn from the others have more
    "data.unlabelled_dir": choice(""),  # tasks that need no label have any folder
    "data.batch_size": whole(1, 65536),
    **dict.fromkeys(("data.shuffle", "data.balance"), switch()),
    "data.num_phantoms": whole(1, 1_000_000),
    "data.resident_limit_mb": whole(0, 1_000_000_000),
    "data.*": text(),
    **{f"augment.{name}": rule for name, rule in augmentation.RULES.items()},
    **dict.fromkeys(("train.num_steps", "train.log_every"), duration(positive=True)),
    "train.*_every": duration(),
    "train.checkpoint_minutes": number(0, 1e6),
    "train.keep_last": whole(1, 1_000_000),
    "train.dtype": choice("float32", "bfloat16"),
    "train.low_memory": switch(),
    "train.batch_norm": choice("synchronised", "device"),
    "train.best_is": choice("highest", "lowest"),
    **dict.fromkeys(("train.best_metric", "train.init_from"), text()),
    "train.trackers": some("mlflow", "wandb"),
    "train.on_divergence": choice("stop", "rollback"),
    "train.rollbacks": whole(1, 1000),
    "train.replicas": whole(1, 1000),
}
OPTIMIZER_RULES: Rules = {  # for the section that `OptimizerSettings` describes
    "name": choice("adam", "adamw", "sgd", "rmsprop", "lion"),
    "learning_rate": number(0, 1e38, above=True),
    **dict.fromkeys(("beta1", "beta2"), number(0, 1, below=True)),
    "epsilon": number(1e-30, 1),
    **dict.fromkeys(("weight_decay", "clip"), number(0, 1e6)),
    **dict.fromkeys(("warmup", "decay_begin", "decay_end"), duration(share=True)),
    "decay": choice("none", "linear", "cosine"),
}
NETWORK_RULES: Rules = {  # for fields that many networks have
    **dict.fromkeys(("*width", "*latent_size"), whole(1, 65536)),
    **dict.fromkeys(("*widths", "*hidden"), each(whole(1, 65536))),
    **dict.fromkeys(("*dropout_rate", "*momentum"), number(0, 1, below=True)),
    "*epsilon": number(1e-30, 1),
    "*average_decay": number(0, 1, below=True),
}

# config.train of a run that does everything within seconds
TINY_TRAIN = {
    "num_steps": "6",
    "log_every": "2",
    "eval_every": "3",
    "checkpoint_every": "3",
    "picture_every": "3",
}


@dataclass(frozen=True)
class OptimizerSettings(Section):
    """A section of a config for an optimizer: see common/learning/optimizers.py.

    Its durations may also be shares of training: "50 %".
    """

    learning_rate: float = 1e-3  # the highest, where it warms up and decays
    name: str = "adam"  # or adamw, sgd, rmsprop, lion
    beta1: float = 0.9  # of the mean gradient; the momentum of sgd and rmsprop
    beta2: float = 0.999  # of the mean square; of lion's momentum
    epsilon: float = 1e-8  # of adam, adamw and rmsprop
    weight_decay: float = 0.0  # of adamw, lion, sgd and rmsprop
    clip: float = 0.0  # longer gradients are scaled to this norm; 0: none is
    warmup: str = "0"  # the rate rises linearly from 0 until then
    decay: str = "none"  # or "linear", "cosine": it falls to 0 ...
    decay_begin: str = "0"  # ... from here
    decay_end: str = "0"  # ... to here; "0" is the end of training


@dataclass(frozen=True)
class TrainSettings(Section):
    """`config.train`; a duration is "3000" (steps) or "15 epochs", and "0" means never."""

    num_steps: str = "1500"  # how long training is
    init_from: str = ""  # the workdir of a run whose networks training starts from
    dtype: str = "float32"  # or "bfloat16": the precision of networks on an accelerator
    low_memory: bool = False  # True: less memory on CPUs; the AC-GAN is slower
    batch_norm: str = "synchronised"  # or "device": each has its own statistics of its share
    log_every: str = "50"  # losses and metrics of training, to metrics.jsonl
    eval_every: str = "250"  # scores of the validation images
    checkpoint_every: str = "250"  # what a run resumes from
    checkpoint_minutes: float = 10.0  # a checkpoint also after so many minutes; 0: never
    picture_every: str = "250"  # to pictures/
    keep_last: int = 2  # checkpoints
    best_metric: str = ""  # e.g. "val/f1": the best checkpoint is kept, too
    best_is: str = "highest"  # or "lowest"
    trackers: str = ""  # or "mlflow", "wandb", "mlflow,wandb": the run is followed there, too
    on_divergence: str = "stop"  # or "rollback": to the last checkpoint, at half the learning rate
    rollbacks: int = 3  # at most
    replicas: int = 1  # runs of as many seeds, from `seed` on, in one program: WORKDIR/seed0, ...


@dataclass(frozen=True)
class RunSettings(Section):
    """What every run is told, as a whole config; the settings of a task are derived from it."""

    task: str = ""  # a package: see common/config/tasks.py
    seed: int = 0  # of all that is random: weights, order, augmentation
    data: DataSettings = DataSettings()
    augment: Augmentation = Augmentation()  # of training images; all off by default
    train: TrainSettings = TrainSettings()


def default_config(arg: str = "", kind: type[RunSettings] = RunSettings) -> ConfigDict:
    """Returns a config of these settings with their defaults; a config file overrides some.

    Args:
      arg: what follows the colon in `--config=FILE:ARG`: "" or "tiny", a run of seconds.
      kind: the settings that the task has.

    Raises:
      UserError: the argument is unknown.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"A config takes the argument 'tiny' or none, not '{arg}'.")
    config = kind().section
    if arg == "tiny":
        config.train.update(TINY_TRAIN)
    return config


def check(config: ConfigDict, rules: Rules) -> None:
    """Refuses invalid values before anything is read or compiled.

    Args:
      config: a whole config, or a section.
      rules: the values its settings take.

    Raises:
      UserError: naming the field, its value, and what is allowed.
    """
    for name, value in flatten(config):
        rule_of(name, value, rules).check(f"config.{name}", value)


def default_workdir(config_file: str, overrides: Mapping[str, object]) -> Path:
    """Returns runs/<config name>, so that different runs never share a folder.

    `configs/acgan_covid.py:tiny` gives runs/acgan_covid-tiny; overrides append 8 hex digits.
    """
    file, _, argument = config_file.partition(":")
    name = Path(file).stem + (f"-{argument}" if argument else "")
    if overrides:
        text = json.dumps(dict(overrides), sort_keys=True, default=str)
        name += "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path("runs") / name
