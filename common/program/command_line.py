"""Flags in, errors for people out: one sentence on standard error, exit code 2, no traceback."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from common.program.accidents import as_told
from common.program.config_files import find_config, read_config
from common.program.errors import DivergenceError, FaultError, UserError
from common.program.files import regular_file
from common.program.interrupts import finish, listen, tell_others
from common.program.settings import flatten, no_setting

_STOPPED = {  # the message when a signal ends a mode, after the signal's name
    "train": "stopped before training began; run the same command again.",
    "run": "stopped; run the same command again to resume.",
    "utility": "stopped; run the same command again to resume.",
    "ablate": "stopped; run the same command again to resume.",
}
_HELP = {f"{dashes}{x}" for dashes in ("-", "--") for x in ("help", "h", "helpshort", "helpfull")}
_STOPPED_OTHER = "stopped early; earlier results are kept."


class Program(NamedTuple):
    """What the command line calls.

    Attributes:
      define: takes the command line and defines the flags.
      help_text: returns the text of --help; with a config, that of --helpfull.
      main: takes what is left of the command line.
    """

    define: Callable[[list[str]], None]
    help_text: Callable[[ConfigDict | None], str]
    main: Callable[[list[str]], None]


def run_app(program: Program) -> NoReturn:
    """Parses the flags, runs the program and exits.

    Exit code 0: done, or training was stopped and saved; 2: a user's mistake or a failure of the
    machine; 1: training diverged, or a fault of the program; 128 plus a signal's number: the signal
    ended it early.
    """
    try:
        app.run(partial(_run, program.main), flags_parser=partial(_parse, program))
    except SystemExit as leaving:
        finish(leaving.code)


def _run(main: Callable[[list[str]], None], argv: list[str]) -> None:
    listen(_STOPPED.get(str(flags.FLAGS["mode"].value), _STOPPED_OTHER))
    guarded(partial(main, argv))


def guarded(work: Callable[[], None]) -> None:
    """Does some work; any error ends in one sentence.

    Raises:
      SystemExit: with the code that `run_app` describes.
    """
    try:
        _told(work)
    except UserError as error:
        _end(str(error), 2)
    except (DivergenceError, FaultError) as error:
        _end(str(error), 1)
    except Exception as error:
        known = as_told(error, None)
        if isinstance(known, FaultError):
            traceback.print_exc()
        _end(str(known), 2 if isinstance(known, UserError) else 1)


def _told(work: Callable[[], None]) -> None:
    """Does some work; tells the other processes of an error in it."""
    try:
        work()
    except Exception as error:
        tell_others(error)
        raise


def _parse(program: Program, argv: list[str]) -> list[str]:
    """Parses the flags; any error in them or in the config file is reported in one line."""
    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS log too much
    wanted = {argument.lstrip("-") for argument in argv if argument in _HELP}
    argv = [argument for argument in argv if argument not in _HELP]
    file = ""
    try:
        argv = [_at_home(argument) for argument in _joined(argv)]
        if file := config_file(argv)[0]:
            with suppress(OSError):  # reported below
                regular_file(Path(file))
        program.define(argv)
        if wanted and "helpfull" not in wanted:
            show(program.help_text(None))
        rest = flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # what ConfigDict raises for an unknown key
        _end(_about_key(argv) or str(error), 2)
    except (UserError, flags.Error, OSError, ValueError, TypeError) as error:
        _end(str(error), 2)
    except Exception as error:  # a config file may raise anything
        _end(f"The config file {file} fails: {type(error).__name__}: {error}.", 2)
    config: Any = flags.FLAGS["config"]
    try:
        if config.value is not None:
            config.value.lock()  # raises here if the file is missing
    except OSError:
        _end(f"The config file {config.config_filename} is missing or can't be read.", 2)
    if wanted:
        show(program.help_text(config.value))
    return rest


def show(text: str) -> NoReturn:
    """Prints a long text and exits, also where its reader has read enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _joined(argv: list[str]) -> list[str]:
    """Returns `--config FILE` as `--config=FILE`."""
    found: list[str] = []
    for argument in argv:
        if found and found[-1] in ("--config", "-config"):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def _at_home(argument: str) -> str:
    """Returns --config=FILE with the path found, from whatever folder the program is called.

    Raises:
      UserError: there is no such file.
    """
    flag, equals, named = argument.partition("=")
    if flag.lstrip("-") != "config" or not equals:
        return argument
    return f"{flag}={find_config(named)}"


def _about_key(argv: list[str]) -> str:
    """Returns a sentence about the first override whose key the config does not have, or ""."""
    file, argument = config_file(argv)
    if not file:
        return ""
    try:
        known = [name for name, _ in flatten(read_config(file, argument))]
    except UserError as error:
        return str(error)
    for name in (flag.lstrip("-").split("=", 1)[0] for flag in argv):
        key = name.removeprefix("config.")
        if key != name and key not in known:
            return no_setting(key, known)
    return ""


def config_file(argv: Sequence[str]) -> tuple[str, str]:
    """Returns the config's file and argument before flags are parsed; "" for what is missing."""
    file, _, argument = value_of("config", argv).partition(":")
    return file, argument


def value_of(flag: str, argv: Sequence[str]) -> str:
    """Returns a flag's value before flags are parsed; "" if it is not given."""
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else "".join(argv[place + 1 : place + 2])
    return ""


def _end(message: str, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


def _say(message: str) -> None:
    print(f"{sys.argv[0]}: {' '.join(message.split())}", file=sys.stderr)
