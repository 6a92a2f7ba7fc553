"""What is taken of each image, and which image is its target: `config.data.take`.

| take           | image                          | target                         |
|----------------|--------------------------------|--------------------------------|
| ""             | the image                      | its target, if it has one      |
| "target>image" | the target of each image       | the image                      |
| "R"            | one channel of a colour image  | none                           |
| "R>G"          | one channel of a colour image  | another channel of it          |
| "+mask"        | the grey image and its mask    | none                           |
| "R+mask"       | one channel and the mask       | none                           |

An image and its mask are one RGB picture, so that a GAN draws both: red and green are the image,
blue is 255 inside the mask.

Channels are R, G and B; a grey image has three equal ones. Images that have targets of their own
are no colour images of several scans: of them all is taken, as with "".
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import NamedTuple

import numpy as np

from common.data.fit import to_channels
from common.data.records import Contents, Decoded, Pixels, Record
from common.program.errors import UserError
from common.program.log import log
from common.program.rules import choice

_BACK = "target>image"
_CHANNELS = "RGB"
_WITH_MASK = "+mask"
TAKES = ("", *_CHANNELS, *map(">".join, permutations(_CHANNELS, 2)), _BACK)
TAKES_WITH_MASK = tuple(name + _WITH_MASK for name in ("", *_CHANNELS))


class Take(NamedTuple):
    """`config.data.take`, read; "" for the whole image, or for its own target."""

    image: str = ""
    target: str = ""
    with_mask: bool = False


def parse_take(setting: str) -> Take:
    """Reads the setting.

    Raises:
      UserError: it is none of those above.
    """
    choice(*TAKES, *TAKES_WITH_MASK).check("config.data.take", setting)
    if setting in TAKES_WITH_MASK:
        return Take(setting.removesuffix(_WITH_MASK), with_mask=True)
    image, _, target = setting.partition(">")
    return Take(image, target)


def take_of(contents: Contents, setting: str) -> Contents:
    """Returns the images and targets that the setting takes of those of a source.

    Raises:
      UserError: the setting is invalid, there are no targets to exchange with the images, or no
        masks of two classes.
    """
    take = parse_take(setting)
    if take.with_mask:
        return _with_masks(contents, setting, take.image)
    first = next(iter(contents.splits.values()))[0]
    has_targets = first.read_target is not None
    if setting == _BACK and not has_targets:
        raise UserError(
            f"config.data.take is '{setting}', but the images have no targets, such as"
            " targets/a.png for images/a.png; see docs/translation.md."
        )
    if setting != _BACK and has_targets:
        log.warning(
            "The images have targets of their own: config.data.take=%s is not used.", setting
        )
        return contents
    splits = {
        split: [_taken(record, take) for record in records]
        for split, records in contents.splits.items()
    }
    return replace(contents, splits=splits)


def channel_of(decoded: Decoded, name: str) -> Decoded:
    """Returns a channel of an image: R, G or B; "" for the whole image."""
    if not name or name not in _CHANNELS:
        return decoded
    place = _CHANNELS.index(name)
    return replace(decoded, pixels=to_channels(decoded.pixels, 3)[..., place : place + 1])


def _taken(record: Record, take: Take) -> Record:
    if take.image == "target":
        assert record.read_target is not None
        return replace(record, read=record.read_target, read_target=record.read)
    read_target = partial(_channel, record.read, take.target) if take.target else None
    return replace(record, read=partial(_channel, record.read, take.image), read_target=read_target)


def _channel(read: Callable[[], Decoded], name: str) -> Decoded:
    return channel_of(read(), name)


def _with_masks(contents: Contents, setting: str, name: str) -> Contents:
    """Returns images with their masks in them, and no masks beside them."""
    if len(contents.mask_classes) != 2:
        raise UserError(
            f"config.data.take is '{setting}', but the images have no masks of two classes, such as"
            " masks/a.png for images/a.png; see docs/own_data.md."
        )
    splits = {
        split: [
            replace(record, read=partial(_masked, record, name), read_mask=None, read_target=None)
            for record in records
        ]
        for split, records in contents.splits.items()
    }
    return replace(contents, splits=splits, mask_classes=())


def _masked(record: Record, name: str) -> Decoded:
    assert record.read_mask is not None
    decoded, mask = record.read(), record.read_mask()
    grey = to_channels(channel_of(decoded, name).pixels, 1)
    if mask.shape != grey.shape[:2]:
        raise UserError(
            f"The mask of {record.id} has {mask.shape[1]}x{mask.shape[0]} pixels, its image"
            f" {grey.shape[1]}x{grey.shape[0]}; make them equal."
        )
    return replace(decoded, pixels=np.concatenate([grey, grey, 255 * mask[..., None]], -1))


def apart(picture: Pixels) -> tuple[Pixels, Pixels]:
    """Returns the grey image and the mask, 0 or 255, of an RGB picture of both."""
    return picture[..., :1], np.where(picture[..., 2:] < 128, np.uint8(0), np.uint8(255))
