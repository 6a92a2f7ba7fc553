"""Readers of other projects over odd files: their remarks stay silent, their errors are sentences.

What they warn of or log does not concern the pixels, or else they raise.
"""

import logging
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.program.errors import UserError
from common.program.files import printed

_LONGEST = 240  # characters of a foreign text in a message


@contextmanager
def explained(path: Path, package: str, kind: str, unknown: type[Exception]) -> Iterator[None]:
    """Turns whatever a package raises while it reads a file into one sentence.

    Args:
      path: the file.
      package: its warnings and log records are silenced, too, for good.
      kind: of the file, for people: "DICOM".
      unknown: what the package raises over a file of another kind.

    Raises:
      UserError: in the place of any exception but MemoryError.
    """
    _silence(package)
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{path} {_complaint(path, error, kind, unknown)}") from error


def _silence(package: str) -> None:
    """Ignores the warnings and the log records of a package's modules.

    `warnings.catch_warnings` swaps a list that all threads share, so that one thread would restore
    what another has just changed. A filter that is added and then stays has no such race; it is
    looked for each time because a caller's `catch_warnings` may drop it.
    """
    modules = rf"{package}\."
    if ("ignore", None, Warning, re.compile(modules), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=modules)
        logging.getLogger(package).setLevel(logging.CRITICAL + 1)


def _complaint(path: Path, error: Exception, kind: str, unknown: type[Exception]) -> str:
    if isinstance(error, FileNotFoundError):  # nibabel's has no strerror
        return "can't be opened: No such file or directory; check the path."
    if isinstance(error, OSError) and error.strerror:
        return f"can't be opened: {error.strerror}; check the path and its permissions."
    if not path.stat().st_size:
        return "is empty (0 bytes); replace or remove it."
    if isinstance(error, unknown):
        return f"is no {kind} file; replace or remove it."
    return f"is damaged ({printable(str(error)) or type(error).__name__}); replace or remove it."


def printable(text: str) -> str:
    """Returns the start of a text from a file or a package, fit to stand in a sentence."""
    return textwrap.shorten(printed(" ".join(text.split())), _LONGEST, placeholder=" ...")
