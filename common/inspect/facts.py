"""What an inspection keeps of each image: a few numbers and a thumbnail, never the pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from common.data.copies.find import Copies, find_copies, same_pictures
from common.data.copies.look import (
    THUMBNAIL,
    Look,
    as_picture,
    look_at,
    small,
    without_equal_channels,
)
from common.data.equal_pairs import are_equal, rows_of_equal_pairs
from common.data.files.kinds import ending
from common.data.prepared.preparation import check_target
from common.data.prepared.splits import Table, assign_splits, groups_of
from common.data.records import Decoded, Mask, Record, Source
from common.data.settings import DataSettings
from common.inspect.frame import Frame, find_frame
from common.program.errors import UserError
from common.program.parallel import in_parallel

_COVERED = 128  # of 255: from here on a pixel of a small mask counts as foreground


@dataclass(frozen=True)
class SmallPair:
    """An image and its mask, stretched to a square.

    Attributes:
      pixels: 1 channel if the image is grey, else 3.
      foreground: where the mask is not background.
    """

    pixels: UInt8[np.ndarray, "64 64 _channels"]
    foreground: Bool[np.ndarray, "64 64"]


@dataclass(frozen=True)
class Facts:
    """One readable image.

    Attributes:
      record: where it is read from.
      split: "train", "val" or "test", as in training.
      group: "" if unknown.
      height: in pixels.
      width: in pixels.
      mode: how the file stores it: "L", "RGBA", "I;16".
      bits: per channel in the file.
      coloured: whether its channels differ.
      window: the values, in the file's own units, shown as 0 and as 255.
      value_range: its lowest and highest value in the file's own units.
      brightness: mean of its grey levels, 0..255.
      contrast: their standard deviation.
      frame: the band of one brightness around it.
      file_bytes: size of its file; 0 if it has no file of its own.
      look: used to recognise copies.
      mask_pixels: number of pixels of each mask class; () without a mask.
      pair: the image with its mask; None without a mask, or with a target, which alone may show
        what is marked.
      equals_target: whether its target is the image again.
    """

    record: Record
    split: str
    group: str
    height: int
    width: int
    mode: str
    bits: int
    coloured: bool
    window: tuple[float, float]
    value_range: tuple[float, float]
    brightness: float
    contrast: float
    frame: Frame
    file_bytes: int
    look: Look
    mask_pixels: tuple[int, ...]
    pair: SmallPair | None
    equals_target: bool

    @property
    def flat(self) -> bool:
        """Returns whether there is hardly anything to see, as in the first slices of a volume."""
        return self.look.flat

    @property
    def file_type(self) -> str:
        """Returns ".png", "no known ending", or "" if it has no file of its own."""
        if not (self.record.path and self.file_bytes):
            return ""
        return ending(self.record.path.name) or "no known ending"

    @property
    def mask_share(self) -> float:
        """Returns the non-background share of the mask, 0..1."""
        return 1 - self.mask_pixels[0] / max(1, sum(self.mask_pixels))


@dataclass(frozen=True)
class Broken:
    """An image that can't be used.

    Attributes:
      record: the image.
      split: in the source.
      why: the sentence that training would stop with.
    """

    record: Record
    split: str
    why: str


@dataclass(frozen=True)
class Survey:
    """All that was found in a source.

    Attributes:
      name: for people.
      synthetic: True for phantoms.
      classes: their names.
      mask_classes: names of the masks' classes; () without masks.
      images: those that can be read.
      broken: those that can't.
      unread: the files beside them that are not read.
      copies: images that occur more than once.
      dropped: number of copies left out by `config.data.copies`.
      disputed: the names of copies, left out or not, that are in several classes, if any are left
        out.
      equal_pairs: those of patients whose targets equal their images, left out or not.
      settings: `config.data` as it was used.
    """

    name: str
    synthetic: bool
    classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    images: tuple[Facts, ...]
    broken: tuple[Broken, ...]
    unread: tuple[str, ...]
    copies: tuple[Copies, ...]
    dropped: int
    disputed: tuple[tuple[str, ...], ...]
    equal_pairs: tuple[Facts, ...]
    settings: DataSettings

    @property
    def splits(self) -> tuple[str, ...]:
        """Returns the splits that have images, in their usual order."""
        return tuple(split for split in ("train", "val", "test") if self.rows(split))

    def rows(self, split: str = "", label: int = -1) -> list[int]:
        """Returns the indices of the images of a split ("" for all) and a class (-1 for all)."""
        return [
            row
            for row, image in enumerate(self.images)
            if split in ("", image.split) and label in (-1, image.record.label)
        ]


def survey(source: Source, settings: DataSettings) -> Survey:
    """Reads every image once, on every core, and assigns splits as training does.

    Raises:
      UserError: the source or a setting is invalid, or no image can be read.
    """
    listed = [(split, record) for split, records in source.splits.items() for record in records]
    sharing = Counter(record.path for _, record in listed)
    found = in_parallel(
        lambda item: _examine(*item, settings.channels, sharing), listed, "reading", " images"
    )
    images = [item for item in found if isinstance(item, Facts)]
    broken = [item for item in found if isinstance(item, Broken)]
    if not images:
        raise UserError(f"No image of {source.name} can be read; the first: {broken[0].why}")
    equal = _equal_pairs(images, settings)
    if settings.equal_pairs == "drop" and len(equal) < len(images):
        names = {image.record.id for image in equal}
        images = [image for image in images if image.record.id not in names]
    copies = find_copies([image.look for image in images])
    placed = _as_in_training(images, copies, source.classes, settings)
    return Survey(
        name=source.name,
        synthetic=source.synthetic,
        classes=source.classes,
        mask_classes=source.mask_classes,
        images=tuple(placed),
        broken=tuple(broken),
        unread=source.contents().unread,
        copies=tuple(copies) if len(placed) == len(images) else (),
        dropped=len(images) - len(placed),
        disputed=_disputed(images, copies) if len(placed) < len(images) else (),
        equal_pairs=tuple(equal),
        settings=settings,
    )


def _equal_pairs(images: Sequence[Facts], settings: DataSettings) -> list[Facts]:
    """Returns the images of patients whose targets equal their images, with their groups."""
    if not any(image.equals_target for image in images):
        return []
    groups = groups_of(_table(images), settings.group)
    owners = [group or image.record.id for group, image in zip(groups, images, strict=True)]
    rows = rows_of_equal_pairs([image.equals_target for image in images], owners)
    return [replace(images[row], group=groups[row]) for row in rows.tolist()]


def _table(images: Sequence[Facts], pictures: tuple[int, ...] = ()) -> Table:
    return Table(
        ids=tuple(image.record.id for image in images),
        labels=tuple(image.record.label for image in images),
        groups=tuple(image.group for image in images),
        splits=tuple(image.split for image in images),
        pictures=pictures,
    )


def _disputed(images: Sequence[Facts], copies: Sequence[Copies]) -> tuple[tuple[str, ...], ...]:
    """Returns the names of copies that are in several classes."""
    groups = [[images[row].record for row in group.rows] for group in copies]
    return tuple(
        tuple(record.id for record in records)
        for records in groups
        if len({record.label for record in records}) > 1
    )


def _as_in_training(
    images: Sequence[Facts],
    copies: Sequence[Copies],
    classes: Sequence[str],
    settings: DataSettings,
) -> list[Facts]:
    """Returns the images that the settings keep, with groups and splits by these settings."""
    table = _table(images, same_pictures(copies, len(images)))
    groups = groups_of(table, settings.group)
    splits = assign_splits(table, groups, classes, settings)
    split_of = {int(row): split for split, rows in splits.items() for row in rows}
    return [
        replace(images[row], split=split_of[row], group=groups[row]) for row in sorted(split_of)
    ]


def _examine(
    split: str, record: Record, channels: int, sharing: Counter[Path | None]
) -> Facts | Broken:
    try:
        image = record.read()
        mask = _mask(record, image)
        equals_target = _equals_target(record, image, channels)
        group = record.read_group()
    except UserError as error:
        return Broken(record, split, str(error))
    pixels = without_equal_channels(image.pixels)
    picture = as_picture(pixels)
    grey = np.asarray(picture.convert("L"))
    own_file = record.path is not None and sharing[record.path] == 1
    return Facts(
        record=record,
        split=split,
        group=group,
        height=pixels.shape[0],
        width=pixels.shape[1],
        mode=image.mode,
        bits=image.bits,
        coloured=pixels.shape[-1] == 3,
        window=image.window,
        value_range=image.value_range,
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        frame=find_frame(grey),
        file_bytes=record.path.stat().st_size if record.path and own_file else 0,
        look=look_at(pixels),
        mask_pixels=() if mask is None else tuple(np.bincount(mask.ravel()).tolist()),
        pair=None if mask is None or record.read_target else _small_pair(picture, mask),
        equals_target=equals_target,
    )


def _small_pair(picture: Image.Image, mask: Mask) -> SmallPair:
    covered = Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8))
    shares = covered.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    pixels = small(picture).reshape(THUMBNAIL, THUMBNAIL, -1)
    return SmallPair(pixels, np.array(shares) >= _COVERED)


def _equals_target(record: Record, image: Decoded, channels: int) -> bool:
    """Returns whether an image and its target are one picture; False without a target."""
    if record.read_target is None:
        return False
    target = record.read_target().pixels
    check_target(record.id, image.pixels, target, channels)
    return are_equal(image.pixels, target)


def _mask(record: Record, image: Decoded) -> Mask | None:
    """Returns the mask of an image; None if the source has none."""
    if record.read_mask is None:
        return None
    mask = record.read_mask()
    (height, width), size = mask.shape, image.pixels.shape[:2]
    if mask.shape != size:
        raise UserError(
            f"The mask of {record.id} has {width}x{height} pixels, its image {size[1]}x{size[0]};"
            " make them equal."
        )
    return mask
