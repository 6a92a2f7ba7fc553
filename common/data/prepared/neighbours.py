"""The slices before and after an image, which are seen as its channels: `config.data.neighbours`.

Slices of one volume, frames of one DICOM file, and pictures of one patient (`data.group`) whose
names differ in their last number alone are a stack, in the order of that number; missing numbers
are passed over. At either end of a stack the last slice stands for those beyond it. An image has
the channels of the slices before it, its own, and those of the slices after it.

Phantoms are no stacks: their neighbours are themselves.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import UInt8

from common.data.files.kinds import PICTURES, stem
from common.data.fit import fit_image
from common.data.grouping import Grouping
from common.data.prepared.splits import Table, groups_of
from common.data.records import Contents, Once, Pixels, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.program.errors import UserError

_ONE_OF_SEVERAL = re.compile(r"#\d+$")  # how the id of an image in a file of several ends


def with_neighbours(source: Source, data: DataSettings) -> Source:
    """Returns a source whose records know the slices around them, as many as the setting says.

    Opening its contents raises UserError if some image is in no stack, or no stack has two images.
    """
    if not data.neighbours:
        return source
    return replace(
        source,
        fingerprint=fingerprint(source.fingerprint, "neighbours", data.neighbours, data.group),
        contents=Once(partial(_contents, source, data)),
    )


def _contents(source: Source, data: DataSettings) -> Contents:
    alone = source.contents()
    places = {
        split: _places_of(records, source.synthetic, data)
        for split, records in alone.splits.items()
    }
    if not source.synthetic and not any(map(are_stacks, places.values())):
        raise UserError(
            f"config.data.neighbours is {data.neighbours}, but no two images of {source.name} are"
            " of one patient and have names that differ in their last number alone; set it to 0."
        )
    splits = {
        split: [
            replace(record, around=tuple(records[i].read for i in _without_middle(around)))
            for record, around in zip(records, places[split], strict=True)
        ]
        for split, records in alone.splits.items()
    }
    return replace(alone, splits=splits)


def _places_of(
    records: Sequence[Record], synthetic: bool, data: DataSettings
) -> list[tuple[int, ...]]:
    if synthetic:
        return [(place,) * (1 + 2 * data.neighbours) for place in range(len(records))]
    in_names = Grouping.of(data.group).expression
    stated = [
        "" if in_names or _ONE_OF_SEVERAL.search(record.id) else record.read_group()
        for record in records
    ]
    return stacks_of([record.id for record in records], stated, data)


def stacks_of(
    ids: Sequence[str], stated: Sequence[str], data: DataSettings
) -> list[tuple[int, ...]]:
    """Returns the places of each image's slices: those before it, its own, those after it.

    Args:
      ids: paths of the images, with "#" and a number where a file holds several.
      stated: the groups that files state, "" for none.
      data: `neighbours` and `group`.

    Raises:
      UserError: some image has no patient or no number.
    """
    stacks: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for place, (name, owner) in enumerate(zip(ids, _owners(ids, stated, data), strict=True)):
        before, index, after = _parts(name, data)
        if not owner:
            raise UserError(
                f"config.data.neighbours is {data.neighbours}, but whose image {name} is, is"
                " unknown; name the patient with --config.data.group, see docs/own_data.md."
            )
        stacks.setdefault((owner, before, after), []).append((index, place))
    found: list[tuple[int, ...]] = [()] * len(ids)
    steps = range(-data.neighbours, data.neighbours + 1)
    for stack in stacks.values():
        order = [place for _, place in sorted(stack)]
        for i, place in enumerate(order):
            found[place] = tuple(order[min(max(i + step, 0), len(order) - 1)] for step in steps)
    return found


def _owners(ids: Sequence[str], stated: Sequence[str], data: DataSettings) -> list[str]:
    """Returns what each image is of: its file if that holds several, else its patient."""
    owners = [_ONE_OF_SEVERAL.sub("", name) for name in ids]
    alone = [place for place, name in enumerate(ids) if owners[place] == name]
    if alone:
        names, groups = zip(*((ids[place], stated[place]) for place in alone), strict=True)
        table = Table(names, (0,) * len(alone), groups, ("",) * len(alone))
        for place, group in zip(alone, groups_of(table, data.group), strict=True):
            owners[place] = group
    return owners


def _parts(name: str, data: DataSettings) -> tuple[str, int, str]:
    """Returns what stands before the last number of an image's name, the number, and the rest."""
    ordered = _ONE_OF_SEVERAL.search(name) or name.lower().endswith(PICTURES)
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", stem(name), re.DOTALL) if ordered else None
    if match is None:
        raise UserError(
            f"config.data.neighbours is {data.neighbours}, but {name} has no place in a stack; it"
            " needs slices of NIfTI volumes, frames of DICOM files, or pictures with a number in"
            " their names."
        )
    return match[1], int(match[2]), match[3]


def are_stacks(places: Sequence[tuple[int, ...]]) -> bool:
    """Returns whether some image has another one beside it."""
    return any(len(set(around)) > 1 for around in places)


def _without_middle(around: tuple[int, ...]) -> tuple[int, ...]:
    middle = len(around) // 2
    return around[:middle] + around[middle + 1 :]


def fit_slices(
    slices: Sequence[Pixels], image_size: int, channels: int, fit: str
) -> UInt8[np.ndarray, "{image_size} {image_size} _channels"]:
    """Returns slices as one image of the network's size, each with so many channels."""
    return np.concatenate([fit_image(one, image_size, channels, fit) for one in slices], -1)


def stacked(slices: Sequence[Pixels]) -> Pixels:
    """Returns slices with equal channels as one image, in their own size.

    Raises:
      UserError: they differ in size.
    """
    sizes = {one.shape[:2] for one in slices}
    if len(sizes) > 1:
        shown = " and ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise UserError(f"Slices that follow each other have {shown} pixels; make them equal.")
    return np.concatenate(slices, -1)


def own_slice(images: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns images [..., channels] without the channels of the slices around them."""
    channels = images.shape[-1] // (1 + 2 * neighbours)
    return images[..., neighbours * channels : (neighbours + 1) * channels]
