"""What lies in a folder: folders, images, and the files that are not read, which are named."""

import os
from pathlib import Path
from typing import NamedTuple

from common.data.files.kinds import ending, is_image
from common.program.errors import UserError
from common.program.files import printed, within
from common.program.log import log
from common.program.words import counted, some
from common.program.written import written_for_people

TABLE = "labels.csv"  # what the images of a folder are

# What file systems, cameras and discs leave behind: thumbnails, metadata, tables of contents.
_FOLDERS_OF_SYSTEMS = ("__MACOSX", "@eaDir")
_FILES_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir")


class Listing(NamedTuple):
    """What lies directly inside a folder, each sorted by name.

    Attributes:
      folders: those in it.
      images: what has the ending of an image, whatever is in it, and what has DICOM's marker.
      unread: everything else but hidden files, what systems leave behind, and what this program
        wrote for people beside images.
    """

    folders: list[Path]
    images: list[Path]
    unread: list[Path]


def visible(folder: Path) -> Listing:
    """Lists a folder; opens only the files whose ending is no image's.

    Raises:
      UserError: it can't be listed.
    """
    listing, for_people = Listing([], [], []), written_for_people(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith((".", *_FOLDERS_OF_SYSTEMS)) or entry.name in for_people:
                    continue
                path = folder / entry.name
                if path.is_dir() if entry.is_symlink() else entry.is_dir():
                    listing.folders.append(path)
                elif is_image(entry):
                    listing.images.append(path)
                elif entry.name.lower() not in _FILES_OF_SYSTEMS:
                    listing.unread.append(path)
    except OSError as error:
        raise UserError(
            f"{folder} can't be listed: {error.strerror}; check its permissions."
        ) from error
    return listing


def images_below(folder: Path) -> list[Path]:
    """Returns every image at any depth below a folder; links to folders are followed.

    Raises:
      UserError: a folder can't be listed, or links to one that holds it.
    """
    return _below(folder, ()).images


def unread_below(root: Path, but: Path | None = None) -> tuple[str, ...]:
    """Returns the paths of what is not read at any depth below a folder, and says so in the log.

    Args:
      root: the folder. Its table of labels is not named.
      but: a file or folder that is not named, nor what is in it; resolved.

    Raises:
      UserError: as `images_below` does.
    """
    listing = _below(root, ())
    files = [path for path in listing.unread if path != root / TABLE]
    if but:
        files = [path for path in files if not (within(path, but) or path.resolve() == but)]
    unread = tuple(sorted(printed(path.relative_to(root).as_posix()) for path in files))
    if unread:
        log.warning(
            "%s: %d of %s %s not read, having neither the ending of an image nor DICOM's"
            " marker: %s",
            *(root, len(unread), counted(len(unread) + len(listing.images), "file")),
            *("is" if len(unread) == 1 else "are", some(unread)),
        )
    return unread


def _below(folder: Path, above: tuple[Path, ...]) -> Listing:
    """Returns all folders, images and unread files at any depth.

    A folder that is called as images are and holds none is such a file.
    """
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder} links to a folder that holds it; remove the link.")
    found = visible(folder)
    for inner in list(found.folders):
        parts = _below(inner, (*above, real))
        if ending(inner.name) and not parts.images:
            found.unread.append(inner)
        for whole, part in zip(found, parts, strict=True):
            whole.extend(part)
    return found
