"""The contents of a folder: folders, images, and the files that are not read."""

import os
from pathlib import Path
from typing import NamedTuple

from common.data.files.kinds import ending, is_image
from common.program.errors import UserError
from common.program.files import printed, within
from common.program.log import log
from common.program.words import counted, some
from common.program.written import written_for_people

TABLE = "labels.csv"  # the classes of a folder's images

# What file systems, cameras and discs leave behind: thumbnails, metadata, tables of contents.
_FOLDERS_OF_SYSTEMS = ("__MACOSX", "@eaDir")
_FILES_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir")


class Listing(NamedTuple):
    """What is directly inside a folder, each sorted by name.

    Attributes:
      folders: its subfolders.
      images: files with the ending of an image, whatever their content, or with DICOM's marker.
      unread: everything else except hidden files, leftovers of systems, and what this program wrote
        for people beside images.
    """

    folders: list[Path]
    images: list[Path]
    unread: list[Path]


def visible(folder: Path) -> Listing:
    """Lists a folder; opens only files without the ending of an image.

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
      UserError: a folder can't be listed, or links to one that contains it.
    """
    return _below(folder, ()).images


def unread_below(root: Path, but: Path | None = None) -> tuple[str, ...]:
    """Returns the paths of unread files at any depth below a folder, and logs them.

    Args:
      root: the folder. Its table of labels is left out.
      but: a resolved file or folder that is left out, with its contents.

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
            "%s: %d of %s %s not read, with neither the ending of an image nor DICOM's marker: %s",
            *(root, len(unread), counted(len(unread) + len(listing.images), "file")),
            *("is" if len(unread) == 1 else "are", some(unread)),
        )
    return unread


def _below(folder: Path, above: tuple[Path, ...]) -> Listing:
    """Returns all folders, images and unread files at any depth.

    A folder that is named like an image and holds none counts as an unread file.
    """
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder} links to a folder that contains it; remove the link.")
    found = visible(folder)
    for inner in list(found.folders):
        parts = _below(inner, (*above, real))
        if ending(inner.name) and not parts.images:
            found.unread.append(inner)
        for whole, part in zip(found, parts, strict=True):
            whole.extend(part)
    return found
