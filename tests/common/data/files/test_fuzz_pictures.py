"""Pictures of every format and depth, drawn by a seed: as a second reader sees them, or refused."""

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from common.data.files.image import Reading
from common.data.files.slices import images_in
from common.program.errors import UserError
from tests.picture_cases import FORMATS, Case, Window, draw

COUNT, IN_EVERY_RUN = 2000, 100

# Where a second reader differs from what was written, and why: (kind, reader, reason). Ours agrees
# with what was written there, and with the other readers.
SECOND_READERS_ERR: tuple[tuple[str, str, str], ...] = (
    (r"DICOM, \d+ of 32 bits", "SimpleITK", "drops bits of 17 to 32 where it masks or inverts"),
    (r"BMP, 16 bits", "OpenCV", "fills 5 bits up with zeros, so that white is 248"),
    (r"PNM [23], up to \d{1,2}$", "OpenCV", "scales text, not bytes, up to 255"),
    (r"PNM [23], up to 100", "OpenCV", "scales text, not bytes, up to 255"),
)

# What is refused, by kind and by what the sentence says: numbers without a meaning as pixels.
REFUSED: tuple[tuple[str, str], ...] = (
    (r"JPEG 2000, .* signed, [24] channels", "has a transparency outside 0 to 1"),
    (r"TIFF, .* kind [23], extras \[[12]\]", "has a transparency outside 0 to 1"),
    (r"TIFF, photometric [01], .* extras \[0\]", "has 2 channels and does not say what they are"),
)


def read_by_others(case: Case, path: Path) -> dict[str, np.ndarray]:
    found = {}
    for name, read in case.seconds.items():
        try:
            image = read(path)
        except Exception:  # each library has its own; what it does not read, it can't confirm
            continue
        if image is not None:
            found[name] = image.reshape(*image.shape[:2], -1)
    return found


def windows(case: Case) -> list[Window | None]:
    low, high = float(case.stored.min()), float(case.stored.max())
    middle = (low + high) / 2
    some: list[Window | None] = [(low, max(high, low + 1)), (middle - 1, middle + 3)]
    return some if case.white is None else [*some, None]


def outcome(seed: int, folder: Path) -> str:
    """Reads one picture and compares it; says how that ended."""
    case = draw(np.random.default_rng(seed), FORMATS[seed % len(FORMATS)])
    path = folder / case.name
    path.write_bytes(case.content)
    where = f"{case.kind}, seed {seed}"
    references = {"written": case.stored, **read_by_others(case, path)}
    erring = {
        name for kind, name, _ in SECOND_READERS_ERR if re.match(kind, case.kind)
    } & references.keys()
    try:
        for window in windows(case):
            decoded = images_in(path, Reading(window=window))[case.index].read()
            for name in references.keys() - erring:
                shown = case.pixels(references[name], window)
                assert decoded.pixels.shape == shown.shape, (where, name)
                off = np.abs(decoded.pixels.astype(int) - shown).max()
                assert off <= case.tolerance, (where, name, window, decoded)
    except UserError as error:
        assert any(re.match(k, case.kind) and re.search(s, str(error)) for k, s in REFUSED), (
            where,
            str(error),
        )
        return "refused"
    compare_masks(
        case, path, {name: references[name] for name in references.keys() - erring}, where
    )
    if erring:
        return "differs from a second reader, for a stated reason"
    return "agrees with a second reader" if len(references) > 1 else "has no second reader"


def compare_masks(case: Case, path: Path, references: dict[str, np.ndarray], where: str) -> None:
    image = images_in(path, Reading())[case.index]
    masks = {name: case.mask(numbers) for name, numbers in references.items()}
    whole = all(mask is not None and mask.size and not (mask % 1).any() for mask in masks.values())
    if not whole:
        with pytest.raises(UserError, match=r"is a colour mask|whole numbers"):
            image.read_values()
        return
    values = image.read_values()
    for name, mask in masks.items():
        assert values.shape == mask.shape, (where, name)
        assert (values == mask).all(), (where, name, values, mask)


def check(seeds: range, folder: Path) -> Counter[str]:
    return Counter(outcome(seed, folder) for seed in seeds)


def test_a_hundred_pictures_are_read_as_a_second_reader_reads_them(tmp_path):
    found = check(range(IN_EVERY_RUN), tmp_path)
    assert found["agrees with a second reader"] >= 0.8 * IN_EVERY_RUN


@pytest.mark.slow
def test_two_thousand_pictures_are_read_as_a_second_reader_reads_them(tmp_path):
    found = check(range(COUNT), tmp_path)
    assert found["agrees with a second reader"] >= 0.85 * COUNT
    assert found["refused"] <= 0.02 * COUNT
    # GDCM refuses many DICOM files of 8 bits or RLE; they are compared with what was written.
    assert found["has no second reader"] <= 0.03 * COUNT


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cuts a file off, or changes some of its bytes, those of the header above all."""
    data = bytearray(content)
    if rng.random() < 0.3:
        return bytes(data[: int(rng.integers(len(data)))])
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(min(len(data), 400) if rng.random() < 0.7 else len(data)))
        data[at] = int(rng.choice([0, 255, rng.integers(256), data[at] ^ 1 << rng.integers(8)]))
    return bytes(data)


def read_damaged(seeds: range, folder: Path) -> None:
    pictures = [form for form in FORMATS if form not in ("DICOM", "NIfTI")]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        case = draw(rng, pictures[seed % len(pictures)])
        path = folder / case.name
        path.write_bytes(damaged(case.content, rng))
        image = images_in(path, Reading(window=(0.0, 4095.0)))[0]
        for read in (image.read, image.read_values):
            with suppress(UserError):
                read()


def test_a_hundred_damaged_pictures_are_read_or_refused(tmp_path):
    read_damaged(range(IN_EVERY_RUN), tmp_path)


@pytest.mark.slow
def test_two_thousand_damaged_pictures_are_read_or_refused(tmp_path):
    read_damaged(range(COUNT), tmp_path)
