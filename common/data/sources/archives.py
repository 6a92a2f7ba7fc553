"""Zip archives of anything that a folder may hold, unpacked into the cache once."""

import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from common.data.files.foreign import printable
from common.data.records import Contents, Once, OpenPath, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.data.sources.arrays import holds_idx
from common.data.sources.folders import split_folders, stats
from common.data.sources.listing import TABLE, unread_below, visible
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.files import special_kind
from common.program.log import log
from common.program.scratch import move_into_place, scratch_folder
from common.program.written import RECORD

# Limits on what one archive unpacks to. Images compress little: what shrinks a hundredfold and
# fills a disk is made to do so. Below SMALL it is harmless and may be a drawing.
MAX_MEMBERS = 2_000_000
MAX_BYTES = 2**38
MAX_RATIO = 100
SMALL = 2**27
MAX_DEPTH = 64  # nested folders

# Python unpacks other methods without a limit on memory.
Read = TypeVar("Read")

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1  # bit in a member's flags
_LEFT_BY_SYSTEMS = (".", "__MACOSX")

Members: TypeAlias = Mapping[PurePosixPath, zipfile.ZipInfo]


def open_zip(path: Path, data: DataSettings, open_path: OpenPath) -> Source:
    """Opens a zip archive of a folder in any layout, of IDX files, or of one `.npz` file.

    Folders around all of it are ignored. Archives inside the archive stay packed. It is unpacked on
    the first use of the contents, to `archives/` in the cache.

    Args:
      path: the archive.
      data: `cache_dir`, and what `open_path` uses.
      open_path: opens its contents.

    Raises:
      UserError: it can't be read; from the contents also: it is damaged, encrypted, larger than the
        limits above or than the disk; a member would be written elsewhere, or twice, or is a link;
        and any error of a folder.
    """
    key = fingerprint("zip", stats(path.parent, [path]))
    return Source(str(path), key, False, Once(partial(_contents, path, key, data, open_path)))


def _contents(path: Path, key: str, data: DataSettings, open_path: OpenPath) -> Contents:
    folder = cache_dir(data.cache_dir) / "archives" / key[:24]
    if not folder.exists():
        log.info("unpacking %s", path)
        _unpack(path, folder)
    root = folder / path.stem  # the class of a flat folder is named after it
    wrap = partial(_read_named, str(root), str(path))
    inner = wrap(lambda: _inside(root))
    with _named(str(root), str(path)):
        contents: Contents = wrap(lambda: open_path(inner, data).contents())
        outside = wrap(lambda: unread_below(root, inner.resolve()))
    splits = {
        split: [_wrapped(record, wrap) for record in records]
        for split, records in contents.splits.items()
    }
    return replace(contents, splits=splits, unread=(*outside, *contents.unread))


def _read_named(root: str, path: str, read: Callable[[], Read]) -> Read:
    """Reads; errors name the archive rather than its folder in the cache."""
    try:
        return read()
    except UserError as error:
        raise type(error)(str(error).replace(root, path)) from error


@contextmanager
def _named(root: str, path: str) -> Iterator[None]:
    """Makes the log name the archive, too."""

    def rename(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(root, path), ()
        return True

    log.addFilter(rename)
    try:
        yield
    finally:
        log.removeFilter(rename)


@runtime_checkable
class _Wrap(Protocol):
    """Makes a function that reads another one that does so elsewhere."""

    def __call__(self, read: Callable[[], Read], /) -> Read: ...


def _wrapped(record: Record, wrap: "_Wrap") -> Record:
    return replace(
        record,
        read=partial(wrap, record.read),
        read_mask=record.read_mask and partial(wrap, record.read_mask),
        read_target=record.read_target and partial(wrap, record.read_target),
        read_group=partial(wrap, record.read_group),
    )


def _inside(folder: Path) -> Path:
    """Returns the innermost folder of a chain of only folders: the one with the data."""
    folders, images, _ = visible(folder)
    arrays = sorted(folder.glob("*.npz"))
    if len(arrays) == 1 and not folders and not images:
        return arrays[0]
    holds_data = images or arrays or (folder / TABLE).exists() or holds_idx(folder)
    if len(folders) == 1 and not holds_data and split_folders(folder) == {"train": folder}:
        return _inside(folders[0])
    return folder


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks beside the folder and renames: it is whole or absent."""
    with _reading(path), zipfile.ZipFile(path) as archive, scratch_folder(folder.parent) as scratch:
        members = _checked(path, archive)
        _check_size(path, members, folder.parent)
        root = scratch / "unpacked" / path.stem
        root.mkdir(parents=True)
        for name, member in members.items():
            target = root / name
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            # zipfile reads at most the size that was checked, and compares the checksum.
            with archive.open(member) as packed, target.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 2**20)
        move_into_place(root.parent, folder)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns errors of zipfile into a sentence."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise UserError(
            f"{path} can't be unpacked: {error.strerror or error}; free space or check permissions,"
            " or choose another --config.data.cache_dir"
        ) from error
    except Exception as error:  # a damaged archive makes zipfile and zlib raise almost anything
        raise UserError(
            f"{path} is damaged or not a zip archive ({printable(str(error))}); replace it."
        ) from error


def _checked(path: Path, archive: zipfile.ZipFile) -> Members:
    """Returns the members to unpack, by their paths below the root."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for member in archive.infolist():
        name = PurePosixPath(member.filename)
        if complaint := _complaint(member, name):
            raise UserError(f"{path} {complaint}.")
        hidden = any(part.startswith(_LEFT_BY_SYSTEMS) for part in name.parts if part != RECORD)
        if not name.parts or hidden:
            continue
        folded = str(name).casefold()  # some file systems ignore case
        if folded in seen:
            raise UserError(f"{path} holds {str(name)!r} twice; recreate it with one of them.")
        seen.add(folded)
        members[name] = member
    return members


def _complaint(member: zipfile.ZipInfo, name: PurePosixPath) -> str:
    """Returns what is wrong with a member, "" if nothing is."""
    shown = f"{member.filename!r}"
    drive = bool(name.parts) and name.parts[0][1:2] == ":"
    if name.is_absolute() or ".." in name.parts or drive or "\\" in member.filename:
        return f"holds {shown}, a path that leads out of it; don't use this archive"
    if len(name.parts) > MAX_DEPTH:
        return f"holds {shown[:80]}..., more than {MAX_DEPTH} folders deep; recreate it"
    if not member.is_dir() and (kind := special_kind(member.external_attr >> 16)):
        return f"holds {shown}, {kind}; recreate it with the file itself"
    if member.flag_bits & _ENCRYPTED:
        return f"is encrypted ({shown}); unpack it yourself and set --config.data.dir to the folder"
    if member.compress_type not in _METHODS:
        return f"holds {shown}, packed by an uncommon method; recreate it with deflate"
    return ""


def _check_size(path: Path, members: Members, parent: Path) -> None:
    packed, size = path.stat().st_size, sum(member.file_size for member in members.values())
    if len(members) > MAX_MEMBERS:
        raise UserError(
            f"{path} holds {len(members):,} files, more than the {MAX_MEMBERS:,} allowed; cut it"
            " into parts."
        )
    if size > MAX_BYTES or size > max(SMALL, MAX_RATIO * packed):
        raise UserError(
            f"{path} would unpack {packed:,} bytes to {size:,}, more than {MAX_RATIO} times as many"
            f" or more than {MAX_BYTES:,}, unlike any archive of images; don't use it."
        )
    if size > (free := shutil.disk_usage(parent).free):
        raise UserError(
            f"{path} unpacks to {size:,} bytes and {parent} has {free:,} left; free space or choose"
            " another --config.data.cache_dir"
        )
