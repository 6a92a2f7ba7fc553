"""How many planted faults the inspection finds, and its false alarms.

    python bench/planted_faults.py --input=covid_ct
    python bench/planted_faults.py --input=brain_mri --group='(.+)_'

A copy of the data gets --num copies of each kind in other splits and as many in other classes, of
pictures that are not flat (a black slice has no copies), and if it has masks and groups, as many
wrong masks and patients. Then it is inspected like any other data. A fault counts as found if the
inspection names it, as whatever kind; a false alarm is named only after planting and was not
planted.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataclasses import replace

from common.config.defaults import default_config
from common.data.copies.find import same_pictures
from common.data.copies.look import look_at
from common.data.prepared.splits import Table, assign_splits, groups_of
from common.data.records import Record
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.inspect.check_splits import owners_by_split
from common.inspect.findings import Level
from common.inspect.inspection import Inspection, inspect

_SPOILS = ("swapped", "inverted", "shifted", "emptied")
_LEAST_SHARE = 0.003  # of an image, covered by a mask to corrupt: less is not judged

Change = Callable[[Image.Image, Image.Resampling], Image.Image]


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
      kind: "turned by 3 degrees".
      where: "across splits".
      names: ids of the image and its copy, or of the image with the wrong mask, or a patient.
    """

    kind: str
    where: str
    names: tuple[str, ...]


def _cut(picture: Image.Image, _: Image.Resampling) -> Image.Image:
    """Cuts 5 % off; the picture's bytes decide how much of each side, so that all cases occur."""
    width, height = picture.size
    share = sum(picture.resize((16, 16)).tobytes()) % 6 / 5
    left, top = round(0.05 * share * width), round(0.05 * (1 - share) * height)
    return picture.crop((left, top, left + round(0.95 * width), top + round(0.95 * height)))


def _turned(degrees: float, picture: Image.Image, method: Image.Resampling) -> Image.Image:
    return picture.rotate(degrees, method)


CHANGES: dict[str, Change] = {
    "exact": lambda picture, _: picture,
    "JPEG of quality 80": lambda picture, _: picture,
    "70 % of the size": lambda picture, method: picture.resize(
        (round(0.7 * picture.width), round(0.7 * picture.height)), method
    ),
    "5 % cut off": _cut,
    "mirrored": lambda picture, _: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 3 degrees": partial(_turned, 3.0),
    "turned by 10 degrees": partial(_turned, -10.0),
    "darker": lambda picture, method: (
        picture
        if method == Image.Resampling.NEAREST
        else picture.point(lambda value: 0.7 * value + 20)
    ),
}


def plant(data: ConfigDict, num: int, random: np.random.Generator) -> list[Fault]:
    """Plants faults in the folder `config.data.dir` and returns them."""
    source = open_source(data)
    listed = [(split, record) for split, records in source.splits.items() for record in records]
    pool = [listed[place] for place in random.permutation(len(listed))]
    return [
        *_plant_copies(Path(data.dir), source.classes, pool, num),
        *(_plant_masks(pool, num) if source.mask_classes else ()),
        *(_plant_patients(pool, data, num) if data.group else ()),
    ]


def _plant_copies(
    root: Path, classes: Sequence[str], pool: list[tuple[str, Record]], num: int
) -> Iterator[Fault]:
    splits = sorted({split for split, _ in pool})
    for kind, change in CHANGES.items():
        for number in range(2 * num):
            split, record = pool.pop()
            while _is_flat(record):
                split, record = pool.pop()
            place, where = _file(record).parent, "in one split"
            across_labels = number % 2 and len(classes) > 1
            if across_labels:
                other, where = classes[(record.label + 1) % len(classes)], "across labels"
                place = place.parent / other
            elif len(splits) > 1:
                other, where = (
                    splits[(splits.index(split) + 1 + number) % len(splits)],
                    "across splits",
                )
                other = other if other != split else splits[splits.index(split) - 1]
                place = root / other / place.relative_to(root / split)
            name = f"planted{len(pool)}_0"  # a patient of its own
            copy = place / (f"{name}.jpg" if "JPEG" in kind else f"{name}.png")
            with Image.open(_file(record)) as picture:
                change(picture, Image.Resampling.BICUBIC).save(copy, quality=80)
            if record.read_mask:
                with Image.open(_mask_of(record)) as mask:
                    changed = change(mask, Image.Resampling.NEAREST)
                    changed.save(place.parent / "masks" / f"{name}.png")
            yield Fault(kind, where, (record.id, copy.relative_to(root).as_posix()))


def _is_flat(record: Record) -> bool:
    with Image.open(_file(record)) as picture:
        return look_at(np.array(picture.convert("RGB"))).flat


def _plant_masks(pool: list[tuple[str, Record]], num: int) -> Iterator[Fault]:
    filled: list[Record] = []
    while pool and len(filled) < len(_SPOILS) * num + num:
        _, record = pool.pop()
        if record.read_mask and (record.read_mask() > 0).mean() >= _LEAST_SHARE:
            filled.append(record)
    for kind in (kind for kind in _SPOILS for _ in range(num)):
        file = _mask_of(filled[-1])
        with Image.open(file) as picture:
            mask = np.array(picture)
        if kind == "swapped":
            other = _mask_of(filled[-2])
            shutil.copyfile(other, file)
            Image.fromarray(mask).save(other)
            yield Fault(kind, "masks", (filled.pop().id,))
        elif kind == "inverted":
            Image.fromarray(mask.max() - mask if mask.dtype != bool else ~mask).save(file)
        elif kind == "shifted":
            height, width = mask.shape
            Image.fromarray(np.roll(mask, (height // 8, -width // 8), (0, 1))).save(file)
        else:
            Image.fromarray(np.zeros_like(mask)).save(file)
        yield Fault(kind, "masks", (filled.pop().id,))


def _plant_patients(pool: list[tuple[str, Record]], data: ConfigDict, num: int) -> Iterator[Fault]:
    """Moves an image of each of some patients to another split."""
    ids = tuple(record.id for _, record in pool)
    table = Table(ids, (0,) * len(ids), ("",) * len(ids), ("train",) * len(ids))
    groups = groups_of(table, data.group)
    several = {group for group, count in Counter(groups).items() if count > 1}
    splits = sorted({split for split, _ in pool})
    for (split, record), group in zip(pool, groups, strict=True):
        if group in several and num and len(splits) > 1:
            several.remove(group)
            num -= 1
            other = next(each for each in splits if each != split)
            for file in (_file(record), *([_mask_of(record)] if record.read_mask else ())):
                file.rename(Path(data.dir) / other / file.relative_to(Path(data.dir) / split))
            yield Fault("a patient in two splits", "patients", (group,))


def _file(record: Record) -> Path:
    if record.path is None:
        raise ValueError(f"{record.id} has no file of its own")
    return record.path


def _mask_of(record: Record) -> Path:
    image = _file(record)
    return image.parent.parent / "masks" / f"{image.stem}.png"


def is_found(fault: Fault, inspection: Inspection) -> bool:
    """Returns whether the inspection names a fault."""
    images = inspection.survey.images
    if fault.where == "masks":
        return any(images[odd.row].record.id == fault.names[0] for odd in inspection.odd)
    if fault.where == "patients":
        splits = owners_by_split(inspection.survey, [image.group for image in images])
        return len(splits[fault.names[0]]) > 1
    return any(set(fault.names) <= names for names in pictures(inspection))


def pictures(inspection: Inspection) -> list[frozenset[str]]:
    """Returns the names of the copies of each picture."""
    survey = inspection.survey
    return [
        frozenset(survey.images[row].record.id for row in group.rows) for group in survey.copies
    ]


def false_copies(
    found: Sequence[frozenset[str]],
    known: Sequence[frozenset[str]],
    planted: Sequence[frozenset[str]],
) -> tuple[frozenset[str], ...]:
    """Returns the found groups of copies with two that are not known or planted copies."""
    joined: list[frozenset[str]] = []
    for group in (*known, *planted):
        touched = [other for other in joined if other & group]
        joined = [other for other in joined if not other & group]
        joined.append(group.union(*touched))
    return tuple(names for names in found if not any(names <= group for group in joined))


def parted(faults: Sequence[Fault], inspection: Inspection, data: ConfigDict) -> int:
    """Returns the number of planted copies that are in another split once splits are made."""
    images = inspection.survey.images
    ids = tuple(image.record.id for image in images)
    labels = tuple(image.record.label for image in images)
    groups = tuple(image.group for image in images)
    same = same_pictures(inspection.survey.copies, len(ids))
    table = Table(ids, labels, groups, tuple(image.split for image in images), same)
    settings = replace(DataSettings.of(data), splits="70,15,15")
    made = assign_splits(table, groups, inspection.survey.classes, settings)
    split_of = {ids[row]: split for split, rows in made.items() for row in rows.tolist()}
    copies = [fault.names for fault in faults if len(fault.names) == 2]
    return sum(split_of[one] != split_of[other] for one, other in copies)


@dataclass(frozen=True)
class Measured:
    """The results for the planted faults.

    Attributes:
      faults: each with whether it was found.
      false_copies: pictures that are named as copies but are not known ones.
      false_masks: number of correct masks that are named.
      right_masks: number of correct masks, empty or full ones included.
      parted: planted copies that are in two splits once splits are made.
      mend: what the inspection says must be fixed in the untouched data.
    """

    faults: tuple[tuple[Fault, bool], ...]
    false_copies: tuple[frozenset[str], ...]
    false_masks: int
    right_masks: int
    parted: int
    mend: tuple[str, ...]


def measure(data: ConfigDict, num: int, seed: int = 0) -> Measured:
    """Plants faults in a copy of the data and inspects both."""
    untouched = inspect(data)
    with tempfile.TemporaryDirectory() as folder:
        spoilt = ConfigDict({**data.to_dict(), "dir": f"{folder}/data"})
        shutil.copytree(data.dir, spoilt.dir, copy_function=shutil.copyfile)
        for each in Path(spoilt.dir).rglob("*"):
            each.chmod(0o755 if each.is_dir() else 0o644)
        Path(spoilt.dir).chmod(0o755)
        faults = plant(spoilt, num, np.random.default_rng(seed))
        inspection = inspect(spoilt)
    planted = {name for fault in faults for name in fault.names}
    survey = inspection.survey
    odd = {survey.images[each.row].record.id for each in inspection.odd}
    return Measured(
        faults=tuple((fault, is_found(fault, inspection)) for fault in faults),
        false_copies=false_copies(
            pictures(inspection),
            pictures(untouched),
            [frozenset(fault.names) for fault in faults],
        ),
        false_masks=len(odd - planted),
        right_masks=sum(
            bool(image.mask_pixels) and image.record.id not in planted for image in survey.images
        ),
        parted=parted(faults, inspection, spoilt),
        mend=tuple(f.sentence for f in untouched.findings if f.level == Level.MEND),
    )


def main() -> None:
    """Prints how many faults of each kind were found, and the false alarms."""
    parser = argparse.ArgumentParser(description="How many planted faults the inspection finds.")
    parser.add_argument("--input", required=True, help="a folder of classes or of pairs")
    parser.add_argument("--group", default="", help="config.data.group")
    parser.add_argument("--num", type=int, default=20, help="faults of each kind and place")
    parser.add_argument("--seed", type=int, default=0, help="which images get faults")
    args = parser.parse_args()
    data = default_config().data
    data.update(dir=args.input, group=args.group, channels=3)
    measured = measure(data, args.num, args.seed)
    planted = Counter((fault.where, fault.kind) for fault, _ in measured.faults)
    found = Counter((fault.where, fault.kind) for fault, is_found in measured.faults if is_found)
    print("| where | kind | planted | found |\n|---|---|---|---|")
    for (where, kind), count in sorted(planted.items()):
        print(f"| {where} | {kind} | {count} | {found[where, kind]} |")
    total = sum(planted.values())
    print(f"| all | | {total} | {found.total()} ({found.total() / total:.1%}) |\n")
    print(f"false copies: {len(measured.false_copies)} {[*map(sorted, measured.false_copies)]}")
    print(f"correct masks called odd: {measured.false_masks} of {measured.right_masks}")
    print(f"planted copies in two splits once these are made: {measured.parted}")
    print(f"to be fixed in the untouched data: {measured.mend or 'nothing'}")


if __name__ == "__main__":
    main()
