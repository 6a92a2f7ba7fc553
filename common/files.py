"""Files and folders that are written: whole or not at all, and only where that is possible."""

import os
import re
import tempfile
from pathlib import Path

from common.errors import UserError


def write_atomically(file: Path, text: str) -> None:
    """Writes a file that is either the old or the new one, also after a power cut."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    with scratch.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(file)


def writable_folder(path: Path, flag: str) -> Path:
    """Makes a folder where there is none, and returns it.

    Args:
      path: of the folder.
      flag: that named it, for the message.

    Raises:
      UserError: it is a file, or nothing can be written into it.
    """
    path = path.expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{flag}={path} cannot be written: {error.strerror}; name another folder."
        ) from error
    return path


def identifier(name: str) -> str:
    """Returns a name of letters, digits and _, for files and for fields: "GD_enhancing"."""
    return re.sub(r"\W", "_", name)


def within(file: Path, folder: Path) -> bool:
    """Says whether a file lies in a folder, at any depth."""
    return folder in file.resolve().parents
