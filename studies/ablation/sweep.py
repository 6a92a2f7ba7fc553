"""What an ablation varies: a `Sweep`, by a config file's `sweep()` or by factors of --sweep."""

import inspect
import itertools
import re
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from common.config.declaration import Compared
from common.config.tasks import declaration_of
from common.program.errors import UserError
from common.program.labels import folder_names
from common.program.settings import flatten, nearest

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_CELLS = 10_000
# Settings whose values are repetitions of an arm, not arms.
_REPEATED = ("seed", "data.fold")


@dataclass(frozen=True)
class Sweep:
    """Arms to compare, each run with every seed and, if the data is divided, on every fold.

    Attributes:
      arms: the settings of each arm, by its name: {"hinge": {"loss.name": "hinge"}}; a section such
        as "model" is replaced as a whole, and a function is given the seed and returns the value.
        An arm of another "task" begins with the defaults of that and the config's data. The others
        are compared with the first.
      seeds: of training.
      folds: parts of `data.folds` that are held out in turn; () leaves `data.fold` as it is.
      compared: what is compared; () for what the task compares.
    """

    arms: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = (0, 1, 2)
    folds: Sequence[int] = ()
    compared: Sequence[Compared] = ()


@dataclass(frozen=True)
class Place:
    """A cell's place in the sweep.

    Attributes:
      arm: its name.
      seed: of training.
      fold: that is held out; None if there are none.
    """

    arm: str
    seed: int
    fold: int | None

    @property
    def repetition(self) -> tuple[int, int | None]:
        """Returns what the arms have in common: cells of one repetition are a pair."""
        return self.seed, self.fold


def read_sweep(file: Path, config: ConfigDict, factors: Sequence[str], argument: str = "") -> Sweep:
    """Returns the sweep of a config file, with the factors of the command line in its place.

    Factors of settings are crossed to arms; "seed" and "data.fold" say how often each is repeated.
    With those two alone, the file's arms are kept.

    Args:
      file: of the config; its `sweep()` returns a `Sweep`, if there is one.
      config: whose settings are varied.
      factors: "loss.name=hinge,wasserstein", "seed=0..4".
      argument: of the config, such as "tiny", which a `sweep(arg)` is given, too.

    Raises:
      UserError: there is nothing to vary, or a factor is invalid.
    """
    given = [_factor(text, config) for text in factors]
    varied = {name: values for name, values in given if name not in _REPEATED}
    repeated = {name: values for name, values in given if name in _REPEATED}
    own = runpy.run_path(str(file)).get("sweep")
    if varied:
        sweep = Sweep(_crossed(varied))
    elif own is not None:
        sweep = own(argument) if inspect.signature(own).parameters else own()
    elif repeated:
        sweep = Sweep({"as configured": {}})
    else:
        raise UserError(
            f"{file} says nothing to vary: give it a function sweep() as in"
            " configs/ablate_gan_losses.py, or name factors, as in"
            " --sweep='loss.name=hinge,wasserstein' --sweep='seed=0..2'."
        )
    if not isinstance(sweep, Sweep):
        raise UserError(f"sweep() of {file} must return a Sweep of studies/ablation/sweep.py.")
    sweep = Sweep(
        sweep.arms,
        tuple(repeated.get("seed", sweep.seeds)),
        tuple(repeated.get("data.fold", sweep.folds)),
        sweep.compared,
    )
    _check(sweep)
    return sweep


def places(sweep: Sweep) -> list[Place]:
    """Returns the place of every cell, repetition by repetition: early tables have all arms."""
    folds = sweep.folds or (None,)
    return [Place(arm, seed, fold) for seed in sweep.seeds for fold in folds for arm in sweep.arms]


def folder_of(place: Place, sweep: Sweep) -> str:
    """Returns the name of a cell's folder: "hinge/seed0", "hinge/seed0_fold2"."""
    arm = dict(zip(sweep.arms, folder_names(sweep.arms), strict=True))[place.arm]
    return f"{arm}/seed{place.seed}" + ("" if place.fold is None else f"_fold{place.fold}")


def config_of(place: Place, sweep: Sweep, config: ConfigDict) -> ConfigDict:
    """Returns the config of a cell.

    Raises:
      UserError: an arm changes a setting that there is not, or to another type.
    """
    settings = {**sweep.arms[place.arm], "seed": place.seed}
    if place.fold is not None:
        settings["data.fold"] = place.fold
    own = ConfigDict(config.to_dict())
    if (task := settings.get("task", own.get("task"))) != own.get("task"):
        own = ConfigDict({**declaration_of(task).defaults().to_dict(), "data": own.data.to_dict()})
    own.lock()
    for name, given in settings.items():
        value = given(place.seed) if callable(given) else given
        if isinstance(value, Mapping):
            _replace_section(own, name, value)
            continue
        _known(name, own)
        try:
            own.update_from_flattened_dict({name: value})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise UserError(
                f"Arm {place.arm} sets config.{name} to {value!r}; it must be like"
                f" {dict(flatten(own))[name]!r}."
            ) from error
    return own


def _replace_section(config: ConfigDict, name: str, section: Mapping[str, object]) -> None:
    """Replaces a section by another, whose settings may have other names.

    Raises:
      UserError: there is no such section.
    """
    *outer, last = name.split(".")
    for part in outer:
        config = config.get(part, ConfigDict())
    if not isinstance(config.get(last), ConfigDict):
        raise UserError(f"An arm replaces config.{name}, which is no section of this config.")
    config[last] = ConfigDict(section)


def _factor(text: str, config: ConfigDict) -> tuple[str, list[Any]]:
    """Returns the setting that a factor varies, and its values."""
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("config.")
    if not equals or not values.strip():
        raise UserError(
            f"--sweep={text!r} names no values; write it as in --sweep='loss.name=hinge,lsgan'."
        )
    like = _known(name, config)
    found: list[Any] = []
    for value in (value.strip() for value in values.split(",")):
        span = _RANGE.fullmatch(value) if type(like) is int else None
        found += range(int(span[1]), int(span[2]) + 1) if span else [_value(name, value, like)]
    if len(set(found)) < len(found) or not found:
        raise UserError(f"--sweep={text!r} must name each value once.")
    return name, found


def _value(name: str, text: str, like: Any) -> Any:
    """Returns a value of the type that a setting has."""
    switches = {"true": True, "false": False}
    try:
        if type(like) is bool:
            return switches[text.lower()]
        if type(like) in (int, float, str):
            return type(like)(text)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"--sweep gives config.{name} the value {text!r}; it must be like {like!r}."
        ) from error
    raise UserError(
        f"config.{name} is a list, which --sweep can't vary; write a function sweep() in a config"
        " file, as in configs/ablate_gan_losses.py."
    )


def _known(name: str, config: ConfigDict) -> Any:
    known = dict(flatten(config))
    if name not in known:
        raise UserError(
            f"config.{name} is not a setting of this config.{nearest(name, list(known))}"
        )
    return known[name]


def _crossed(factors: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, object]]:
    """Returns an arm for each combination of values, named by them."""
    arms: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*factors.values()):
        settings = dict(zip(factors, values, strict=True))
        arms[", ".join(f"{_short(name, factors)}={x}" for name, x in settings.items())] = settings
    return arms


def _short(name: str, factors: Mapping[str, object]) -> str:
    """Returns the shortest end of a setting's name that no other factor has: "loss.name"."""
    parts = name.split(".")
    for length in range(min(2, len(parts)), len(parts)):
        end = ".".join(parts[-length:])
        if sum(f".{other}".endswith(f".{end}") for other in factors) == 1:
            return end
    return name


def _check(sweep: Sweep) -> None:
    if not sweep.arms or not sweep.seeds:
        raise UserError("The sweep has no arm or no seed; give it at least one of each.")
    for what, some in (("seed", sweep.seeds), ("fold", sweep.folds)):
        if len(set(some)) < len(some):
            raise UserError(f"The sweep names a {what} twice; name each once.")
    number = len(places(sweep))
    if number > _MOST_CELLS:
        raise UserError(f"The sweep has {number:,} runs; at most {_MOST_CELLS:,} are possible.")
