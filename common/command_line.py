"""Flags in, errors for people out: one sentence on standard error, exit code 2, no traceback."""

import re
import runpy
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags, logging

from common.errors import DivergenceError, UserError
from common.memory import restart_with_huge_pages


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
        except Exception as error:
            # It reaches us as an OSError, or as text from the libraries that write for us.
            if "No space left on device" not in str(error):
                raise
            _end(f"The disk is full; free some space and run the same command again. {error}", 2)

    restart_with_huge_pages()
    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; whatever is wrong with them, or with the config file, is said in a line."""
    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS tell much that nobody asks for
    try:
        rest = flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # what ConfigDict raises for an unknown key
        _end(_about_key(argv) or str(error), 2)
    except (UserError, flags.Error, OSError, ValueError, TypeError) as error:
        _end(str(error), 2)
    config: Any = flags.FLAGS["config"]
    try:
        if config.value is not None:
            config.value.lock()  # what stands for a file that is not there raises here
    except OSError:
        _end(f"The config file {config.config_filename} is not there or cannot be read.", 2)
    return rest


def _about_key(argv: list[str]) -> str:
    """Returns a sentence about the first override whose key the config does not have, or ""."""
    from common.training.config import flatten, nearest

    # The flag itself does not know its file yet: parsing has failed.
    match = re.search(r"--?config[= ]([^\s:]+):?(\S*)", " ".join(argv))
    if match is None:
        return ""
    file, argument = match.groups()
    try:
        known = [name for name, _ in flatten(runpy.run_path(file)["get_config"](argument))]
    except Exception as error:
        return f"The config file {file} fails: {type(error).__name__}: {error}."
    for name in (flag.lstrip("-").split("=", 1)[0] for flag in argv):
        key = name.removeprefix("config.")
        if key != name and key not in known:
            return f"{name} is not a setting of this config.{nearest(key, known)}"
    return ""


def _end(message: str, code: int) -> NoReturn:
    print(f"{sys.argv[0]}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
