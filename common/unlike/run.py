"""What a run keeps of its training images, to measure how far outside new ones are.

A prediction for an image unlike all that a network was trained on is worthless, however confident
the network is. So training saves statistics of its images in WORKDIR/training_images.npz, and every
table of new images has the column "unlike": the distance of each from the training images, in units
of the limit that few images like these exceed. More than 1 is outside.
"""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from common.data.prepared.prepared import Prepared, Split
from common.program.errors import UserError
from common.program.files import regular_file, sealed, unsealed, write_atomically
from common.program.log import log
from common.runs.evaluation import Unseen
from common.runs.workdir import Run
from common.unlike.reference import Reference, make_reference
from common.unlike.statistics import Statistics, image_statistics

COLUMN = "unlike"
FILE = "training_images.npz"
_MOST = 2048  # images used: more add hardly anything
_AT_ONCE = 64
_USUAL = 0.05  # share outside among images like those of training


def keep_reference(run: Run, prepared: Prepared) -> None:
    """Saves the reference of the training images, unless the run has it.

    Raises:
      UserError: an image can't be read.
    """
    file = run.workdir / FILE
    if _is_of(file, run.card.fingerprint):
        return
    reference = reference_of(prepared.splits["train"], prepared.splits.get("val"))
    stream = io.BytesIO()
    np.savez(
        stream,
        fingerprint=np.array(run.card.fingerprint),
        mean=reference.mean,
        factor=reference.factor,
        limit=np.array(reference.limit),
    )
    write_atomically(file, sealed(stream.getvalue()))


def reference_of(train: Split, validation: Split | None) -> Reference:
    """Returns the reference of training images, with a limit from held-out ones."""
    places, owners = _some(train), train.owners
    return make_reference(
        _statistics_of(train, places),
        [owners[place] for place in places],
        None if validation is None else _statistics_of(validation, _some(validation)),
    )


def known_reference(run: Run) -> Reference | None:
    """Returns the reference of the run's training images; None, with a warning, if it has none.

    Raises:
      UserError: the file is damaged.
    """
    (run, *_) = run.members  # of an ensemble, the first member's images
    file = run.workdir / FILE
    again = "the command that trained the run adds it, without training again"
    if not file.exists():
        log.warning(
            "%s has no %s, so it is unknown how far these images are outside what the run was"
            " trained on; %s.",
            *(run.workdir, FILE, again),
        )
        return None
    arrays = _read(file)
    if arrays is None:
        raise UserError(f"{file} is damaged; remove it: {again}.")
    return Reference(arrays["mean"], arrays["factor"], float(arrays["limit"]))


def distance_of(
    reference: Reference | None, image: UInt8[np.ndarray, "height width channels"]
) -> float:
    """Returns an image's distance from the reference, NaN if unknown."""
    if reference is None:
        return math.nan
    return float(reference.distances(image_statistics(image[None]))[0])


def distances_of(reference: Reference | None, split: Split) -> Float[np.ndarray, " images"]:
    """Returns the distances of a split's images from the reference, NaN if unknown."""
    if reference is None:
        return np.full(len(split), math.nan)
    return reference.distances(_statistics_of(split, range(len(split))))


def distances_to_training(parts: Sequence[Unseen]) -> Float[np.ndarray, " images"]:
    """Returns how far images lie outside those of the runs that score them, NaN if unknown."""
    return np.concatenate([distances_of(known_reference(run), split) for split, run in parts])


def cell(distance: float) -> str:
    """Returns a distance as a table cell: empty if unknown."""
    return "" if math.isnan(distance) else f"{distance:.3f}"


def with_distances(
    rows: Iterable[Mapping[str, object]], ids: Iterable[str], distances: Iterable[float]
) -> Iterator[dict[str, object]]:
    """Yields table rows with the column added; their column "image" has the images' ids."""
    cells = {name: cell(distance) for name, distance in zip(ids, distances, strict=True)}
    for row in rows:
        yield {**row, COLUMN: cells[str(row["image"])]}


@dataclass(frozen=True)
class Unlike:
    """How far images lie outside a run's training images.

    Attributes:
      images: whose distance is known.
      outside: how many have a distance above 1.
      median: distance.
      largest: distance.
    """

    images: int
    outside: int
    median: float
    largest: float

    @classmethod
    def of(cls, distances: Iterable[float]) -> "Unlike | None":
        """Returns what a report says about all images; None if nothing is known."""
        known = np.array([x for x in distances if not math.isnan(x)])
        if not len(known):
            return None
        return cls(
            images=len(known),
            outside=int((known > 1).sum()),
            median=round(float(np.median(known)), 3),
            largest=round(float(known.max()), 3),
        )


def unlike_sentence(found: Unlike | None) -> str:
    """Returns the result of `Unlike.of` as a sentence."""
    if found is None:
        return "how far these images are outside what this run was trained on is unknown"
    number, outside = found.images, found.outside
    lie = "image lies" if number == 1 else "images lie"
    sentence = f"{outside} of {number} {lie} outside what this run was trained on"
    if outside <= _USUAL * number:
        return f"{sentence}, as expected for images like those of its training"
    return (
        f"{sentence} (column {COLUMN!r} above 1; the median is {found.median:.2f}): treat its"
        " results for them with care"
    )


def _some(split: Split) -> list[int]:
    """Returns indices spread over a split."""
    return list(map(int, np.linspace(0, len(split) - 1, min(len(split), _MOST), dtype=int)))


def _statistics_of(split: Split, places: Iterable[int]) -> Statistics:
    chosen = list(places)
    parts = [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
    with ThreadPoolExecutor() as pool:
        return np.concatenate(
            list(pool.map(lambda part: image_statistics(split.read(part)["image"]), parts))
        )


def _is_of(file: Path, fingerprint: str) -> bool:
    """Returns whether a file is intact and of the data with this fingerprint."""
    if not file.exists():
        return False
    arrays = _read(file)
    return arrays is not None and str(arrays["fingerprint"]) == fingerprint


def _read(file: Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays in a file, None if they are damaged."""
    try:
        content = unsealed(regular_file(file).read_bytes())
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}.") from error
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
