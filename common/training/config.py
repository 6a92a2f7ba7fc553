"""Experiment configurations: the keys all share, durations, comparison, and the default workdir."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from common.data import augmentation
from common.errors import UserError
from common.rules import (
    MOST_STEPS,
    SEEDS,
    Rules,
    choice,
    duration,
    each,
    number,
    read_duration,
    rule_of,
    switch,
    text,
    whole,
)

Fields: TypeAlias = ConfigDict | Mapping[str, Any]
_ABSENT = "absent"

# A run may go on with other values of these; any other difference makes it another experiment.
CONTINUABLE = frozenset(
    {
        "data.cache_dir",
        "data.dir",  # the content is compared instead, by its fingerprint
        "data.url",
        "data.copies",  # which images are where shows in the fingerprint
        "data.sha256",
        "data.resident_limit_mb",
        "quality.extractor",
        "quality.num_images",
        "quality.k",
        "quality.on_collapse",
        "classifier.train.low_memory",  # of a study
        "gan.train.low_memory",
        "study.arms",  # of a study, none of whose runs depends on what else is in these lists
        "study.seeds",
        "study.sizes",
        "train.best_is",
        "train.best_metric",
        "train.checkpoint_every",
        "train.checkpoint_minutes",
        "train.eval_every",
        "train.keep_last",
        "train.log_every",
        "train.low_memory",  # as on another machine, other results are in the last digits
        "train.num_steps",
        "train.picture_grid",
        "train.picture_every",
    }
)


# What values the settings take that every experiment has. A task's config.py has its own as well.
RULES: Rules = {
    "task": text(),
    "seed": whole(0, SEEDS),
    "data.image_size": whole(1, 8192),
    "data.channels": choice(0, 1, 3),
    "data.copies": choice("group", "drop", "keep"),
    "data.fit": choice("stretch", "pad", "crop"),
    "data.pairs": choice("stems", "sorted"),
    "data.plane": choice("axial", "coronal", "sagittal"),
    "data.on_bad_image": choice("error", "skip"),
    "data.split_seed": whole(0, SEEDS),
    "data.fold*": whole(0, 1000),
    "data.batch_size": whole(1, 65536),
    "data.shuffle": switch(),
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
    "train.best_is": choice("highest", "lowest"),
    "train.best_metric": text(),
}
OPTIMIZER_RULES: Rules = {  # of the section that `default_adam` makes
    "learning_rate": number(0, 1e38, above=True),
    **dict.fromkeys(("beta1", "beta2"), number(0, 1, below=True)),
    "epsilon": number(1e-30, 1),
    **dict.fromkeys(("warmup", "decay_begin", "decay_end"), duration()),
    "decay": choice("none", "linear", "cosine"),
}
NETWORK_RULES: Rules = {  # of fields that many networks have
    **dict.fromkeys(("*width", "*latent_size"), whole(1, 65536)),
    **dict.fromkeys(("*widths", "*hidden"), each(whole(1, 65536))),
    **dict.fromkeys(("*dropout_rate", "*momentum"), number(0, 1, below=True)),
    "*epsilon": number(1e-30, 1),
    "*average_decay": number(0, 1, below=True),
}

# config.train of a run of seconds that does everything
TINY_TRAIN = {
    "num_steps": "6",
    "log_every": "2",
    "eval_every": "3",
    "checkpoint_every": "3",
    "picture_every": "3",
}


def default_config(arg: str = "") -> ConfigDict:
    """Returns the keys that every experiment has, with their defaults; a config file adds its own.

    Durations are strings, "3000" (steps) or "15 epochs"; "0" means never.

    Args:
      arg: what stands behind the colon of `--config=FILE:ARG`: "" or "tiny", a run of seconds.

    Raises:
      UserError: another argument.
    """
    if arg not in ("", "tiny"):
        raise UserError(f"A config takes the argument 'tiny' or none, not '{arg}'.")
    config = ConfigDict()
    config.task = ""  # a package with a task.py: "gan"
    config.seed = 0
    config.data = _default_data()
    config.augment = augmentation.default_augmentation()  # of training images; all of it off
    config.train = ConfigDict(
        {
            "num_steps": "1500",
            "dtype": "float32",  # or "bfloat16": what networks compute in on an accelerator
            "low_memory": False,  # on CPUs: programs that need less; the AC-GAN's are slower
            "log_every": "50",
            "eval_every": "250",
            "checkpoint_every": "250",
            "checkpoint_minutes": 10.0,
            "picture_every": "250",
            "keep_last": 2,
            "best_metric": "",  # e.g. "val/f1": the checkpoint where it was best is kept, too
            "best_is": "highest",  # or "lowest"
        }
    )
    if arg == "tiny":
        config.train.update(TINY_TRAIN)
    return config


def _default_data() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",  # names the data, and the kind of phantoms when dir is empty
            "dir": "",  # a folder of images, .zip, .npz, IDX files; "" = phantoms
            "url": "",  # a .zip or .npz file to fetch instead of dir, once, ...
            "sha256": "",  # ... and its checksum
            "image_size": 64,
            "channels": 1,  # 1: grey, 3: colour, 0: as most of the images are
            "fit": "stretch",  # to the square; or "pad" with black, or "crop"
            "classes": "",  # "COVID,NonCOVID": names and order; "" = those found, by name
            "only": "",  # "NORMAL": of these classes alone; "" = of all
            "mask_values": "",  # "0=background,128-255=tumour"; "" = 0 and 1, or 0 and 255
            "pairs": "stems",  # a mask is found by its image's name; or "sorted": by position
            "plane": "axial",  # in which NIfTI volumes are cut; or "coronal", "sagittal"
            "group": "",  # whose image it is: an expression on file names, "column:X", "dicom:X"
            "splits": "",  # percentages of train, val, test, "70,15,15"; "" = as they are, ...
            "held_out": "",  # ... but "15,15" of train become val and test where there are none
            "split_seed": 0,
            "folds": 0,  # k of k-fold cross-validation: part number `fold` becomes val
            "fold": 0,
            "copies": "group",  # of one picture: in one split; or "drop" all but one; or "keep"
            "batch_size": 32,  # of all devices and processes together
            "shuffle": True,
            "window": "",  # "low,high" in the file's own units, for 16-bit and float images
            "on_bad_image": "error",  # or "skip": count the unreadable ones and go on
            "num_phantoms": 1024,  # in train; val and test get a quarter of it each
            "resident_limit_mb": 1024,  # up to here the data lives on the device
            "cache_dir": "",  # prepared data; "" = the user's cache folder
        }
    )


def default_adam(
    learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> ConfigDict:
    """Returns the section of a config for an optimizer: see common/training/optimizers.py."""
    return ConfigDict(
        {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
            "warmup": "0",  # the rate rises from 0 until then, in a straight line
            "decay": "none",  # or "linear", "cosine": it falls to 0 ...
            "decay_begin": "0",  # ... from here
            "decay_end": "0",  # ... to here; "0" is the end of training
        }
    )


def steps(duration: str, steps_per_epoch: float) -> int:
    """Converts a duration, "3000", "15 epochs" or "0.5 epochs", to steps (rounded up).

    Raises:
      UserError: the text is neither, or it is too long for the counters of a state.
    """
    read = read_duration(duration)
    if read is None:
        raise UserError(
            f"'{duration}' is not a duration: write whole steps as \"3000\" or epochs as"
            ' "15 epochs".'
        )
    number, unit = read
    found = math.ceil(number * steps_per_epoch) if unit == "epochs" else int(number)
    if found > MOST_STEPS:
        raise UserError(f"'{duration}' is {found} steps, more than the {MOST_STEPS} that can be.")
    return found


def never(duration: str) -> bool:
    """Says whether a duration is 0, which turns off what it is the cadence of."""
    return steps(duration, 1.0) == 0


def check(config: ConfigDict, rules: Rules) -> None:
    """Refuses values that can't work in any experiment, before anything is read or compiled.

    Args:
      config: all of an experiment, or a part.
      rules: what values its settings take.

    Raises:
      UserError: naming the field, its value, and what is allowed.
    """
    for name, value in flatten(config):
        rule_of(name, value, rules).check(f"config.{name}", value)


def flatten(config: Fields, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("data.batch_size", 32) for every field, sorted by name."""
    for key in sorted(config):
        value = config[key]
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nearest(name: str, known: list[str]) -> str:
    """Returns " Did you mean 'a' or 'b'?" for the known names nearest to `name`, else ""."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    last: dict[str, str] = {}  # a key that stands under another heading: config.batch_size
    for other in known:
        last.setdefault(other.rsplit(".", 1)[-1], other)
    for tail in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(last), n=2, cutoff=0.7):
        close.append(last[tail])
    unique = list(dict.fromkeys(close))[:3]
    return f" Did you mean {' or '.join(repr(item) for item in unique)}?" if unique else ""


def differences(old: Fields, new: Fields) -> dict[str, tuple[Any, Any]]:
    """Returns {"data.batch_size": (32, 64)} of each field that makes another experiment.

    A field that one of them does not have is "absent" there. A decay that lasts to the end of
    training ends elsewhere where that does: an end that is moved has changed the rates before it.
    """
    before, after = map(_meant, (old, new))
    return {
        name: (before.get(name, _ABSENT), after.get(name, _ABSENT))
        for name in sorted((before.keys() | after.keys()) - CONTINUABLE)
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    }


def told(different: Mapping[str, tuple[Any, Any]]) -> str:
    """Returns "data.batch_size (32 there, 64 now), ..." of what `differences` found."""
    return ", ".join(f"{name} ({a!r} there, {b!r} now)" for name, (a, b) in different.items())


def _meant(config: Fields) -> dict[str, Any]:
    """Returns every setting as it comes back from JSON; a decay's end "0" is that of training."""
    fields = {name: _as_read(value) for name, value in flatten(config)}
    for name, value in fields.items():
        above, optimizer, _ = name.partition("optimizer.")
        decays = optimizer and fields.get(name.removesuffix("_end"), "none") != "none"
        if decays and name.endswith(".decay_end") and read_duration(str(value)) == (0, "steps"):
            fields[name] = fields[f"{above}train.num_steps"]
    return fields


def _as_read(value: Any) -> Any:
    """Returns a setting as it comes back from JSON, which has no tuples."""
    return list(value) if isinstance(value, tuple) else value


def default_workdir(config_file: str, overrides: Mapping[str, Any]) -> Path:
    """Returns runs/<config name>, so that two different runs never meet in one folder.

    `configs/acgan_covid.py:tiny` gives runs/acgan_covid-tiny; overrides append 8 hex digits.
    """
    file, _, argument = config_file.partition(":")
    name = Path(file).stem + (f"-{argument}" if argument else "")
    if overrides:
        text = json.dumps(dict(overrides), sort_keys=True, default=str)
        name += "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path("runs") / name


def to_json(config: ConfigDict) -> str:
    """Returns the config as indented JSON."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_fields(fields: Mapping[str, Any]) -> ConfigDict:
    """Returns the config that `to_json` wrote, from what JSON holds, locked."""
    return ConfigDict(dict(fields)).lock()
