"""What is taken of each image, and which image is its target: `config.data.take`.

| take           | image                          | target                         |
|----------------|--------------------------------|--------------------------------|
| ""             | the image                      | its target, if it has one      |
| "target>image" | the target of each image       | the image                      |
| "R"            | one channel of a colour image  | none                           |
| "R>G"          | one channel of a colour image  | another channel of it          |

Channels are R, G and B; a grey image has three equal ones. Images that have targets of their own
are no colour images of several scans: of them all is taken, as with "".
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import NamedTuple

from common.data.fit import to_channels
from common.data.records import Contents, Decoded, Record
from common.program.errors import UserError
from common.program.log import log
from common.program.rules import choice

_BACK = "target>image"
_CHANNELS = "RGB"
TAKES = ("", *_CHANNELS, *map(">".join, permutations(_CHANNELS, 2)), _BACK)


class Take(NamedTuple):
    """`config.data.take`, read; "" for the whole image, or for its own target."""

    image: str = ""
    target: str = ""


def parse_take(setting: str) -> Take:
    """Reads the setting.

    Raises:
      UserError: it is none of those above.
    """
    choice(*TAKES).check("config.data.take", setting)
    return Take(*setting.split(">"))


def take_of(contents: Contents, setting: str) -> Contents:
    """Returns the images and targets that the setting takes of those of a source.

    Raises:
      UserError: the setting is invalid, or there are no targets to exchange with the images.
    """
    take = parse_take(setting)
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
