"""The texts of --help and --helpfull: flags with their modes, and a config's settings."""

import textwrap
from collections.abc import Iterable
from dataclasses import Field
from typing import Any

from ml_collections import ConfigDict

from common.config.known_tasks import KnownTasks
from common.config.tasks import rules_of
from common.program.options import flags_of
from common.program.rules import rule_of, str_of
from common.program.settings import flatten

_WIDTH = 100
_HEAD = """\
python launch.py --config=FILE [--config.KEY=VALUE ...] [--workdir=DIR]     train; resumes by itself
python launch.py --mode=MODE --workdir=DIR [...]                            uses a trained run

Each flag is followed by the modes that take it, with their tasks in parentheses.
--helpfull with --config=FILE also lists the settings of an experiment.
"""


def help_text(tasks: KnownTasks, config: ConfigDict | None) -> str:
    """Returns the text of --help; with a config, that of --helpfull."""
    return flags_text(tasks) + ("" if config is None else settings_text(config))


def flags_text(tasks: KnownTasks) -> str:
    """Returns the flags of the program and its tasks, each with its modes, default and meaning."""
    config = "An experiment: configs/NAME.py, or configs/NAME.py:tiny for a run of seconds."
    parts = [_HEAD, _entry("--config=FILE", tasks.told_uses("config"), config)]
    told: dict[str, Field[object]] = {}
    for flag in (flag for kind in tasks.kinds for flag in flags_of(kind)):
        told.setdefault(flag.name, flag)
    for flag in told.values():
        choices = tasks.modes if flag.name == "mode" else flag.metadata.get("choices", ())
        parts.append(_entry(_form(flag, choices), tasks.told_uses(flag.name), _meaning(flag)))
    return "\n".join(parts)


def settings_text(config: ConfigDict) -> str:
    """Returns a config's settings with their values and the values each takes."""
    rules = rules_of(config.get("task", ""))
    lines = [f"--config.{name}={str_of(value)}" for name, value in flatten(config)]
    width = min(52, max(map(len, lines)))
    allowed = [rule_of(name, value, rules).allowed for name, value in flatten(config)]
    rows = (f"  {line:<{width}}  {what}" for line, what in zip(lines, allowed, strict=True))
    return "\n".join(["\n", "Settings of this experiment, with the values each takes:", "", *rows])


def _form(flag: Field[object], allowed: Iterable[Any]) -> str:
    if isinstance(flag.default, bool):
        return f"--no{flag.name}" if flag.default else f"--{flag.name}"
    choices = [str(choice) for choice in allowed if choice != ""]
    kinds = {int: "N", float: "X", str: "TEXT", tuple: "TEXT"}
    return f"--{flag.name}={'|'.join(choices) or kinds[type(flag.default)]}"


def _meaning(flag: Field[object]) -> str:
    meaning = str(flag.metadata["help"])
    if flag.default is True:
        return f"Do not: {meaning[0].lower()}{meaning[1:]}"
    obvious = flag.default is False or flag.default == ""
    return meaning if obvious else f"{meaning} Default {flag.default}."


def _entry(form: str, modes: str, meaning: str) -> str:
    indent = " " * 6
    text = textwrap.fill(meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {form}    {modes}\n{text}"
