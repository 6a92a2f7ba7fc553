"""A folder of images with classes, groups and splits in its `labels.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from common.data.files.image import Reading
from common.data.files.kinds import EXTENSIONS
from common.data.files.slices import images_in
from common.data.grouping import Grouping
from common.data.records import SPLITS, Contents, Once, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.data.sources.folders import SPLIT_NAMES, record_id, stats
from common.data.sources.listing import TABLE, images_below, unread_below
from common.data.spelling import is_missing
from common.program.errors import GroupError, UserError
from common.program.files import regular_file
from common.program.labels import label_of
from common.program.log import log
from common.program.words import counted, some

_DELIMITERS = ",;\t"
_SAMPLE = "file,label\nscans/a.png,COVID"

Files = Mapping[str, Path]  # by path below the root


@dataclass(frozen=True)
class _Row:
    """What the table says about an image.

    Attributes:
      name: its path below the root.
      label: name of its class.
      group: "" if unknown; None if the table has no such column.
      split: "train", "val" or "test".
    """

    name: str
    label: str
    group: str | None
    split: str


def open_table(root: Path, data: DataSettings, reading: Reading) -> Source:
    """Finds the images that `root/labels.csv` lists, with their classes; decodes none of them.

    The table is UTF-8 and begins with the names of its columns, separated by commas, semicolons or
    tabs. `file` is a path below the root, whose extension may be left out; `label` is the class.
    `group` and `split` are optional; images without a split are for training. Other columns are
    ignored. Fields such as "nan" and "N/A" count as missing, see `is_missing`.

    Args:
      root: the folder.
      data: `group` of "column:patient" makes that column the group, "dicom:..." leaves it to the
        files.
      reading: the settings for reading files.

    Raises:
      UserError: the table is invalid; the message names the line.
    """
    table = root / TABLE
    lines = _lines(table)
    header = lines[0][1] if lines else []
    group = _group_column(table, header, data.group)
    columns = _columns(table, header, group)
    files = {record_id(path, root): path for path in images_below(root)}
    rows = _rows(table, columns, group, lines[1:], files)
    classes = tuple(sorted({row.label for row in rows}))
    _check_classes(table, rows, classes)
    unlisted = sorted(files.keys() - {row.name for row in rows})
    if unlisted:
        log.info(
            "%s does not list %d of the %s beside it: %s",
            *(table, len(unlisted), counted(len(files), "image"), some(unlisted)),
        )
    unread = *unread_below(root), *unlisted
    listed = [(row.name, row.label, row.group, row.split) for row in rows]
    return Source(
        name=str(root),
        fingerprint=fingerprint("table", listed, stats(root, [files[row.name] for row in rows])),
        synthetic=False,
        contents=Once(partial(_contents, rows, files, classes, reading, unread)),
    )


def _contents(
    rows: Sequence[_Row],
    files: Files,
    classes: tuple[str, ...],
    reading: Reading,
    unread: tuple[str, ...],
) -> Contents:
    labels = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for row in rows:
        for image in images_in(files[row.name], reading):
            record = Record(
                id=row.name + image.suffix,
                label=labels[row.label],
                read=image.read,
                read_group=image.read_group if row.group is None else partial(str, row.group),
                path=files[row.name],
                doubt=image.doubt,
            )
            splits[row.split].append(record)
    splits = {split: records for split, records in splits.items() if records}
    return Contents(classes, splits, unread=unread)


def _lines(table: Path) -> list[tuple[str, list[str]]]:
    """Returns the place, "Line 3 of FILE", and the fields of each line that is not blank."""
    try:
        content = regular_file(table).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{table} can't be read: {error.strerror}; check its permissions."
        ) from error
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"Line {number} of {table} is not UTF-8; save the table as UTF-8."
        ) from error
    header = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        stripped = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except csv.Error as error:
        raise UserError(
            f"Line {reader.line_num} of {table} can't be read ({error}); correct its quotes."
        ) from error
    return [(f"Line {number} of {table}", fields) for number, fields in stripped if any(fields)]


def _group_column(table: Path, header: Sequence[str], group: str) -> str:
    """Returns the name of the column of groups; "" if they are not from the table."""
    grouping = Grouping.of(group)
    name = "group" if grouping.column is None else grouping.column.casefold()
    if grouping.tag is None and name in map(str.casefold, header):
        return name
    if grouping.column is not None:
        raise GroupError(
            f"config.data.group is '{group}', but {table} has only the columns"
            f" {', '.join(header)}; name one of them."
        )
    return ""


def _columns(table: Path, header: Sequence[str], group: str) -> list[str]:
    """Returns the names of the columns in lower case; checks that those used exist.

    Case is ignored, as people write File and Label.
    """
    columns = [name.casefold() for name in header]
    used = {"file", "label", "split", group} - {""}
    for name in ("file", "label"):
        if name not in columns:
            raise UserError(
                f"{table} has no column '{name}' (its first line is '{', '.join(header)}'); it"
                f" begins like this:\n{_SAMPLE}"
            )
    if twice := [name for name in columns if name in used and columns.count(name) > 1]:
        raise UserError(f"{table} has two columns '{twice[0]}'; remove one.")
    if unused := [name for name in header if name and name.casefold() not in used]:
        log.info("%s: unused columns: %s", table, ", ".join(unused))
    return columns


def _rows(
    table: Path,
    columns: Sequence[str],
    group: str,
    lines: Sequence[tuple[str, list[str]]],
    files: Files,
) -> list[_Row]:
    """Returns the rows, sorted by the images' names; refuses invalid ones."""
    rows: dict[str, _Row] = {}
    for where, fields in lines:
        if len(fields) != len(columns):
            raise UserError(
                f"{where} has {len(fields)} fields, the first line {len(columns)}; correct it"
                f" (quote a field that holds a separator)."
            )
        cells = dict(zip(columns, fields, strict=True))
        name = _find(where, cells["file"], table.parent, files)
        if name in rows:
            raise UserError(f"{where} lists {name} again; keep only one of the lines.")
        label = cells["label"]
        # A folder of that name, as people and this program make for a class, shows that it is one.
        stated = label and label_of(PurePosixPath(name).parent.name) == label
        if is_missing(label) and not stated:
            given = (
                f" but '{label}', which means missing (rename a class of that name)"
                if label
                else ""
            )
            raise UserError(f"{where} gives {name} no label{given}; fill it in or remove the line.")
        split = "train" if is_missing(cells.get("split", "")) else cells["split"]
        if split.casefold() not in SPLIT_NAMES:
            raise UserError(f"{where} has the split '{split}'; write {', '.join(SPLITS)}.")
        rows[name] = _Row(
            name, label, cells[group] if group else None, SPLIT_NAMES[split.casefold()]
        )
    if not rows:
        raise UserError(f"{table} lists no image; it begins like this:\n{_SAMPLE}")
    return [rows[name] for name in sorted(rows)]


def _find(where: str, name: str, root: Path, files: Files) -> str:
    """Returns the path below the root of the image with this name in the table."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where} names '{name}', which is outside {root}; name files below it.")
    if path.as_posix() in files:
        return path.as_posix()
    endings = (ending for known in EXTENSIONS for ending in (known, known.upper()))
    found = [path.as_posix() + ending for ending in endings if path.as_posix() + ending in files]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{where} names '{name}', which may be {' or '.join(found)}; write one of them."
        )
    raise UserError(
        f"{where} names '{name}', which is not an image in {root}; correct the name (relative to"
        f" that folder) or remove the line."
    )


def _check_classes(table: Path, rows: Sequence[_Row], classes: Sequence[str]) -> None:
    """Refuses a split that lacks a class, as in folders."""
    given = {split: {row.label for row in rows if row.split == split} for split in SPLITS}
    if not given["train"]:
        raise UserError(f"{table} has no image in the train split; add some.")
    for split, labels in given.items():
        if labels and (lacking := [name for name in classes if name not in labels]):
            raise UserError(
                f"Class {lacking[0]} has no image in the {split} split of {table}; add some or"
                " empty its column 'split'."
            )
