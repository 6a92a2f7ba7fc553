"""Third-party readers on odd files: warnings are silenced, errors become sentences.

Their warnings and logs do not concern the pixels: where pixels are affected, they raise.
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
    """Turns anything a package raises while reading a file into one sentence.

    Args:
      path: the file.
      package: its warnings and log records are silenced permanently.
      kind: of the file, for people: "DICOM".
      unknown: what the package raises for a file of another kind.

    Raises:
      UserError: instead of any exception except MemoryError.
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

    `warnings.catch_warnings` swaps a list that all threads share, so a thread would undo another's
    change. A permanent filter has no such race; it is checked each time because a caller's
    `catch_warnings` may drop it.
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
        return f"is not a {kind} file; replace or remove it."
    return f"is damaged ({printable(str(error)) or type(error).__name__}); replace or remove it."


def printable(text: str) -> str:
    """Returns the start of a text from a file or a package, made to fit in a sentence."""
    return textwrap.shorten(printed(" ".join(text.split())), _LONGEST, placeholder=" ...")
