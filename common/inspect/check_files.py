"""Findings about single images: broken, empty, of another size, mode or depth than expected."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from common.data.sources.listing import TABLE
from common.inspect.facts import Facts, Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, percent, some

_MANY_FLAT = 0.05
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_NOTES = (".csv", ".htm", ".html", ".json", ".md", ".pdf", ".rst", ".txt", ".xml", ".yaml", ".yml")
_SAME_ASPECT = 1.1  # largest over smallest aspect ratio without noticeable distortion
_LEAST_USED = 0.25  # of the window: below it fewer than 64 of 256 grey levels remain


def check_files(survey: Survey) -> Iterator[Finding]:
    """Yields findings on the files themselves."""
    if survey.synthetic:
        yield Finding(
            Level.NOTE,
            f"These are {survey.name}: drawings, not patients.",
            "For your own images, set --config.data.dir=FOLDER",
        )
    yield from _broken(survey)
    yield from _unread(survey)
    yield from _flat(survey)
    yield from _sizes(survey)
    yield from _colours(survey)
    yield from _depths(survey)


def _broken(survey: Survey) -> Iterator[Finding]:
    if not survey.broken:
        return
    total = len(survey.images) + len(survey.broken)
    what = f"{len(survey.broken):,} of {counted(total, 'image')} can't be used"
    first = f"the first: {survey.broken[0].why}"
    if survey.settings.on_bad_image == "skip":
        yield Finding(Level.LOOK, f"{what} and are left out; {first}", "Replace or remove them.")
    else:
        few = len(survey.broken) < total / 2
        yield Finding(
            Level.MEND,
            f"{what}, so training stops; {first}",
            "Replace or remove them, or skip them with --config.data.on_bad_image=skip"
            if few
            else "Fix what they have in common: without them most of the data would be missing.",
        )


def _unread(survey: Survey) -> Iterator[Finding]:
    if not survey.unread:
        return
    notes = all(
        name.lower().endswith(_NOTES) and PurePosixPath(name).name.lower() != TABLE
        for name in survey.unread
    )
    verb = "is" if len(survey.unread) == 1 else "are"
    yield Finding(
        Level.NOTE if notes else Level.LOOK,
        f"{counted(len(survey.unread), 'file')} beside the images {verb} not read:"
        f" {some(survey.unread)}.",
        ""
        if notes
        else "Images are recognised by ending, DICOM files by marker; convert or rename images,"
        " list them in labels.csv if there is one, and remove the rest.",
    )


def _flat(survey: Survey) -> Iterator[Finding]:
    flat = [image.record.id for image in survey.images if image.flat]
    if flat:
        share = len(flat) / len(survey.images)
        deep = any(image.bits > 8 for image in survey.images if image.flat)
        yield Finding(
            Level.LOOK if share >= _MANY_FLAT else Level.NOTE,
            f"{counted(len(flat), 'image shows', 'images show')} hardly anything but one grey level"
            f" ({percent(share)}):  {some(flat)}.",
            "Show a smaller range of values with --config.data.window=LOW,HIGH"
            if deep
            else "Remove unwanted ones; such images were not compared for copies.",
        )


def _sizes(survey: Survey) -> Iterator[Finding]:
    settings, images = survey.settings, survey.images
    sizes = Counter((image.width, image.height) for image in images)
    aspects = np.array([image.width / image.height for image in images])
    low, high = aspects.min(), aspects.max()
    if settings.fit == "stretch" and high / low > _SAME_ASPECT:
        yield Finding(
            Level.LOOK,
            f"The images have {counted(len(sizes), 'size')}, width by height from {low:.2f} to"
            f" {high:.2f}, and all are stretched to a square, which distorts shapes.",
            "Keep the shapes with --config.data.fit=pad or --config.data.fit=crop",
        )
    small = sum(min(image.width, image.height) < settings.image_size for image in images)
    if small > len(images) / 2:
        (width, height), _ = sizes.most_common(1)[0]
        yield Finding(
            Level.NOTE,
            f"{percent(small / len(images))} of the images are smaller than the"
            f" {settings.image_size} pixels that they are enlarged to (most often"
            f" {width}x{height}); that adds pixels, not detail.",
            f"A smaller size does as well: --config.data.image_size={min(width, height)}",
        )


def _colours(survey: Survey) -> Iterator[Finding]:
    coloured = sum(image.coloured for image in survey.images)
    total = len(survey.images)
    channels = survey.settings.channels or (3 if 2 * coloured > total else 1)
    if coloured and channels == 1:
        yield Finding(
            Level.NOTE,
            f"{coloured:,} of {counted(total, 'image')} are in colour and become grey.",
            "Keep the colours with --config.data.channels=3",
        )
    elif channels == 3 and not coloured:
        yield Finding(
            Level.NOTE,
            "No image is in colour, but three equal channels are used.",
            "Use one with --config.data.channels=1",
        )
    transparent = sum(image.mode in _TRANSPARENT for image in survey.images)
    if transparent:
        yield Finding(
            Level.NOTE,
            f"{counted(transparent, 'image has', 'images have')} a transparency channel;"
            " transparent pixels become black.",
        )


def _depths(survey: Survey) -> Iterator[Finding]:
    deep = [image for image in survey.images if image.bits > 8]
    if len({image.window for image in deep}) != 1:
        return
    low, high = _value_range(deep)
    black, white = deep[0].window
    used = (high - low) / abs(white - black)
    if used < _LEAST_USED:
        yield Finding(
            Level.LOOK,
            f"The images of more than 8 bits hold values from {low:g} to {high:g}, but"
            f" {black:g} to {white:g} are shown as black to white, so only"
            f" {max(1, round(256 * used))} of 256 grey levels are used.",
            f"Set the range to show: --config.data.window={low:g},{high:g}",
        )


def _value_range(images: list[Facts]) -> tuple[float, float]:
    return (
        min(image.value_range[0] for image in images),
        max(image.value_range[1] for image in images),
    )
