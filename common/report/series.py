"""The pictures of a training: FOLDER/<step>_<name>.png."""

import re
from collections.abc import Collection
from pathlib import Path

from PIL import Image

_FILE = re.compile(r"([0-9]{6,})_(.+)\.png")


def picture_file(folder: Path, step: int, name: str) -> Path:
    """Returns the file of the picture of a step."""
    return folder / f"{step:06d}_{name}.png"


def drawn(folder: Path, names: Collection[str]) -> dict[str, dict[int, Path]]:
    """Returns the existing files, by name and by step, in the order of the steps.

    Args:
      folder: of the pictures.
      names: of the wanted pictures; others in the folder are ignored.
    """
    found: dict[str, dict[int, Path]] = {}
    for file in folder.iterdir():
        if (match := _FILE.fullmatch(file.name)) and match[2] in names:
            found.setdefault(match[2], {})[int(match[1])] = file
    return {name: dict(sorted(files.items())) for name, files in sorted(found.items())}


def whole_image(file: Path) -> Image.Image | None:
    """Returns a picture; None if the file is damaged or not a picture."""
    try:
        with Image.open(file) as image:
            return image.copy()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for invalid files
        return None
