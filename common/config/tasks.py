"""Finding a task by its name, `config.task`: that of a package. Needs no JAX.

TASK/config.py has `TASK`, what the task declares; TASK/task.py, which needs JAX, has
`make_task(config, card)` and a function for each mode. The package is one of this program, one on
Python's path, or one beside the config file. A study has a declaration too, but is not a task.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.declaration import Declaration
from common.config.trusted import is_trusted
from common.program.errors import UserError
from common.program.json_files import read_object
from common.program.log import log
from common.program.options import Options
from common.program.rules import Rules

_ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_STUDIES: dict[str, Declaration] = {}
# What older runs did before a setting existed, where its default differs.
_BEFORE = {"config.data.copies": "keep"}


def declare_study(name: str, declaration: Declaration) -> None:
    """Makes the settings of a study known; its name is in `config.task`, too."""
    _STUDIES[name] = declaration


def is_task(name: str) -> bool:
    """Returns whether there is such a task; a study is none."""
    try:
        _package(name)
    except UserError:
        return False
    return True


def look_in(folder: Path) -> None:
    """Lets tasks be found in a folder, too, after all other places."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def folder_of(name: str) -> str:
    """Returns the folder in which a task's package was found; "" for what is of this program."""
    if not is_task(name):
        return ""
    folder = _package(name).parents[name.count(".")]
    return "" if folder == _ROOT else str(folder)


def task_in(workdir: Path) -> str:
    """Returns the name of a run's task, and lets it be found where it was; "" if that is unknown.

    What is wrong with the files is told by common/runs/workdir.py. A folder that nothing was
    trained from here is not looked in, since its code would run.
    """
    fields: dict[str, Any] = {}
    for name in ("run.json", "config.json", "ensemble.json"):
        with suppress(UserError, OSError):
            fields |= read_object(workdir / name, "")
    if "members" in fields:  # those of an ensemble are all of one task
        with suppress(KeyError, IndexError, TypeError):
            return task_in(workdir / fields["members"][0]["run"])
    name = str(fields.get("task", ""))
    if isinstance(folder := fields.get("task_folder"), str) and Path(folder).is_dir():
        if is_trusted(Path(folder)):
            look_in(Path(folder))
        elif not is_task(name):
            log.warning(
                "%s names a task in %s, from which nothing was trained on this account; if you"
                " trust its code, add that folder to PYTHONPATH.",
                workdir,
                folder,
            )
    return name


@cache
def declaration_of(name: str) -> Declaration:
    """Returns what a task or a study declares.

    Raises:
      UserError: there is no such task, or its config.py fails.
    """
    if name in _STUDIES:
        return _STUDIES[name]
    file = _package(name) / "config.py"
    try:
        declared = getattr(importlib.import_module(f"{name}.config"), "TASK", None)
    except Exception as error:  # a file of the user's may raise anything
        raise UserError(f"{file} fails: {type(error).__name__}: {error}.") from error
    if not isinstance(declared, Declaration):
        raise UserError(f"{file} lacks TASK = Declaration(...); see docs/new_task.md.")
    return declared


def declared_of(name: str) -> Declaration | None:
    """Returns what a task or a study declares, None if there is no such one."""
    try:
        return declaration_of(name)
    except UserError:
        return None


def rules_of(name: str) -> Rules:
    """Returns the rules of a task's or a study's settings; for any other name the shared rules."""
    declared = declared_of(name)
    return declared.rules if declared else configs.RULES


def options_of(name: str) -> type[Options]:
    """Returns the flags of a task's modes; for any other name the shared ones."""
    declared = declared_of(name)
    return declared.options if declared else Options


def find_task(name: str) -> ModuleType:
    """Returns the module `NAME.task`; it offers `make_task(config, card)` and the modes.

    Raises:
      UserError: there is no such task.
    """
    _package(name)
    return importlib.import_module(f"{name}.task")


def find_mode(name: str, mode: str, *, without_run: bool = False) -> Callable[..., None]:
    """Returns what a task does in a mode other than training: a function of run and options.

    Args:
      name: of the task.
      mode: of the task.
      without_run: whether there is no run; it is then a function of the options alone.

    Raises:
      UserError: it has no such mode.
    """
    modes = declaration_of(name).modes
    if mode not in modes:
        offered = " or ".join(f"--mode={known}" for known in modes) or "--mode=train"
        raise UserError(f"Runs of config.task {name!r} have no --mode={mode}; use {offered}.")
    function = f"{mode}_without_run" if without_run else mode
    return cast(Callable[..., None], getattr(find_task(name), function))


def _package(name: str) -> Path:
    """Returns the folder of a task's package; imports no more than what is above that.

    Raises:
      UserError: there is none.
    """
    try:
        found = importlib.util.find_spec(name) if _NAME.fullmatch(name) else None
    except (ImportError, ValueError):
        found = None
    for place in (found and found.submodule_search_locations) or ():
        if all((Path(place) / file).is_file() for file in ("config.py", "task.py")):
            return Path(place).resolve()
    built_in = sorted(file.parent.name for file in _ROOT.glob("*/task.py"))
    raise UserError(
        f"config.task is {name!r}; it must be one of {', '.join(built_in)}, or name a package with"
        " config.py and task.py beside the config file or on PYTHONPATH; studies run with"
        " --mode=utility."
    )


def with_defaults(config: ConfigDict) -> ConfigDict:
    """Returns a config with the settings it lacks, at their defaults.

    A new setting's default is what runs did before it existed, so that older runs still open; where
    it is not, `_BEFORE` has the older behaviour.

    Raises:
      UserError: a setting is of another type.
    """
    declared = declared_of(config.get("task", ""))
    if declared is None:
        return config
    defaults = ConfigDict(declared.defaults().to_dict())
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
