"""Files that are either the old or the new one."""

import os
from pathlib import Path


def write_atomically(file: Path, text: str) -> None:
    """Writes a file that is either the old or the new one, also after a power cut."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    with scratch.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(file)
