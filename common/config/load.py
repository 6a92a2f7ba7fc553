"""A config for programs: a file's settings, some of them changed, all of them checked."""

import os
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from common.config.defaults import check
from common.config.tasks import look_in, rules_of
from common.program.config_files import find_config, read_config
from common.program.errors import UserError
from common.program.settings import flatten, no_setting


def load_config(named: str, changes: Mapping[str, object]) -> ConfigDict:
    """Returns the locked config of a file with some settings changed, as --config reads it.

    Args:
      named: the file and its argument: see `find_config`. A task's package may lie beside it.
      changes: {"data.batch_size": 8} or {"data": {"batch_size": 8}}. A number is taken for a text,
        as durations are: 20 for "20".

    Raises:
      UserError: there is no such file or setting, or a value is invalid.
    """
    file, _, argument = find_config(named).partition(":")
    look_in(Path(file).resolve().parent)
    config = read_config(file, argument).lock()
    known = dict(flatten(config))
    for name, value in flatten(changes):
        if name not in known:
            raise UserError(no_setting(name, list(known)))
        try:
            config.update_from_flattened_dict({name: _read(value, known[name])})
        except TypeError as error:
            raise UserError(
                f"config.{name} is {value!r}; it must be like {known[name]!r}."
            ) from error
    check(config, rules_of(config.task))
    return config


def _read(value: object, default: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str) and (is_number or isinstance(value, os.PathLike)):
        return str(value)
    return value
