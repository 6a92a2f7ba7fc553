"""The tasks, and what each declares in light files. Needs no JAX.

TASK/config.py has `TASK_config`, the defaults of its settings, and `RULES`, the values they take;
studies/config.py has the same for a study. TASK/flags.py has `FLAGS`, the flags that each of its
modes takes. TASK/task.py, which common/training/task.py finds, needs JAX.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from types import ModuleType
from typing import Any, cast

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.program.errors import UserError
from common.program.options import MODES, Command, Options
from common.program.rules import Rules

TASKS = ("gan", "unet", "classify")
# Where the settings of each kind of config are described; a study is not a task.
_SETTINGS = {**{task: f"{task}.config" for task in TASKS}, "utility": "studies.config"}
_WITH_CONFIG = ("train", "run", "inspect", "utility")
_OF_INSPECT = ("input", "output", "overwrite")


def default_config_of(task: str) -> ConfigDict | None:
    """Returns the default settings of a task or a study; None for any other name."""
    if task not in _SETTINGS:
        return None
    made = getattr(importlib.import_module(_SETTINGS[task]), f"{task}_config")()
    return ConfigDict(made.to_dict())


def rules_of(task: str) -> Rules:
    """Returns the rules of a task's or a study's settings; for any other name the shared rules."""
    if task not in _SETTINGS:
        return configs.RULES
    return cast(Rules, importlib.import_module(_SETTINGS[task]).RULES)


def uses_of(flag: str) -> dict[str, tuple[str, ...]]:
    """Returns the modes that take a flag, each with its tasks; () means any task."""
    uses: dict[str, tuple[str, ...]] = {}
    if flag == "config":
        return dict.fromkeys(_WITH_CONFIG, ())
    for field in fields(Command):
        if field.name == flag:
            return dict.fromkeys(field.metadata["modes"], ())
    if flag in _OF_INSPECT:
        uses["inspect"] = ()
    if flag == "input":
        uses["run"] = ()
    for task in TASKS:
        declared: Mapping[str, Iterable[str]] = importlib.import_module(f"{task}.flags").FLAGS
        for mode, flags in declared.items():
            if flag in flags:
                uses[mode] = (*uses.get(mode, ()), task)
    return {mode: uses[mode] for mode in MODES if mode in uses}


def check_flags(given: Iterable[str], mode: str, task: str = "") -> None:
    """Refuses flags that a mode does not take, or does not take for this task.

    Args:
      given: names of flags; those of other programs, such as absl's, do not matter.
      mode: of this command.
      task: of the run; "" while it is unknown.

    Raises:
      UserError: naming the flag and what takes it.
    """
    ours = {"config", *(field.name for kind in (Command, Options) for field in fields(kind))}
    for flag in sorted({name.split(".")[0] for name in given} & ours):
        uses = uses_of(flag)
        if mode in uses and not (task and uses[mode] and task not in uses[mode]):
            continue
        of_task = f" of config.task {task!r}" if task and uses.get(mode) else ""
        raise UserError(
            f"--mode={mode}{of_task} takes no --{flag}; it is for {told_uses(uses)}. Leave it out."
        )


def told_uses(uses: Mapping[str, tuple[str, ...]]) -> str:
    """Returns what `uses_of` returned as text: "train, predict (unet, classify)"."""
    if len(uses) == len(MODES) and not any(uses.values()):
        return "every mode"
    named = (f"{mode} ({', '.join(tasks)})" if tasks else mode for mode, tasks in uses.items())
    return ", ".join(named)


# What older runs did before a setting existed, where its default differs.
_BEFORE = {"config.data.copies": "keep"}


def find_task(name: str) -> ModuleType:
    """Returns the module `<name>/task.py`; it offers `make_task(config, card)` and the modes.

    Raises:
      UserError: there is no such package.
    """
    known = [known for known in TASKS if importlib.util.find_spec(known)]
    if name not in known:
        raise UserError(
            f"config.task is {name!r}; it must be one of {', '.join(known)}; studies run"
            " with --mode=utility."
        )
    return importlib.import_module(f"{name}.task")


def with_defaults(config: ConfigDict) -> ConfigDict:
    """Returns a config with the settings it lacks, at their defaults.

    A new setting's default is what runs did before it existed, so that older runs still open; where
    it is not, `_BEFORE` has the older behaviour.

    Raises:
      UserError: a setting is of another type.
    """
    defaults = default_config_of(config.get("task", ""))
    if defaults is None:
        return config
    return _filled(ConfigDict(config.to_dict()), defaults, "config").lock()


def _filled(config: ConfigDict, defaults: ConfigDict, name: str) -> ConfigDict:
    for key, value in defaults.items():
        if key not in config:
            config[key] = _BEFORE.get(f"{name}.{key}", value)
        elif isinstance(value, ConfigDict) and isinstance(config[key], ConfigDict):
            _filled(config[key], value, f"{name}.{key}")
        elif not _alike(config[key], value):
            raise UserError(
                f"{name}.{key} is {str(config[key])[:60]!r}; it must be like {value!r}."
            )
    return config


def _alike(value: Any, default: Any) -> bool:
    """Returns whether a value is of its default's type; JSON has lists for tuples, 1 for 1.0."""
    if isinstance(default, float):
        return type(value) in (int, float)
    if isinstance(default, tuple | list):
        return isinstance(value, tuple | list)
    return type(value) is type(default)


def find_mode(name: str, mode: str, modes: Sequence[str]) -> Callable[..., None]:
    """Returns what a task does in a mode other than training.

    Raises:
      UserError: it has no such mode.
    """
    module = find_task(name)
    offered = [f"--mode={known}" for known in modes if hasattr(module, known)]
    if not hasattr(module, mode):
        raise UserError(
            f"Runs of config.task {name!r} have no --mode={mode}; use {' or '.join(offered)}."
        )
    return cast(Callable[..., None], getattr(module, mode))
