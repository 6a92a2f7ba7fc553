"""Flags in, errors for people out: one sentence on standard error, exit code 2, no traceback."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags, logging

from common.errors import DivergenceError, UserError


def run_app(main: Callable[[list[str]], None]) -> None:
    """Parses the flags and runs `main`.

    Exit code 0: done; 2: a user's mistake; 1: training diverged, or a fault of the program, which
    comes with a traceback.
    """

    def guarded(argv: list[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            _end(str(error), 2)
        except DivergenceError as error:
            _end(str(error), 1)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; whatever is wrong with them, or with the config file, is said in a line."""
    logging.set_verbosity(logging.WARNING)  # Orbax and TFDS tell at INFO what nobody asks for
    try:
        rest = flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # what ConfigDict raises for an unknown key
        _end(_about_key(argv) or str(error), 2)
    except (UserError, flags.Error, OSError, ValueError, TypeError) as error:
        _end(str(error), 2)
    config: Any = flags.FLAGS["config"]
    if config.value is not None and not hasattr(config.value, "to_dict"):
        _end(f"The config file {config.config_filename} is not there or cannot be read.", 2)
    return rest


def _about_key(argv: list[str]) -> str:
    """Returns a sentence about the first override whose key the config does not have, or ""."""
    from common.training.config import flatten, nearest

    config: Any = flags.FLAGS["config"]
    known = [name for name, _ in flatten(config.value)]
    for argument in argv:
        if not argument.lstrip("-").startswith("config."):
            continue
        name = argument.lstrip("-").removeprefix("config.").split("=", 1)[0]
        if name not in known:
            file = config.config_filename
            return f"config.{name} is not a setting of {file}.{nearest(name, known)}"
    return ""


def _end(message: str, code: int) -> NoReturn:
    print(f"{sys.argv[0]}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
