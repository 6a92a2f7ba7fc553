"""The settings of a config by their names, and a config as JSON."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar, cast

from ml_collections import ConfigDict

Fields: TypeAlias = ConfigDict | Mapping[str, Any]
OfSection = TypeVar("OfSection", bound="Section")


@dataclass(frozen=True)
class Section:
    """A section of a config, or a whole one; a class derived from it has the settings as fields.

    Every field has a default, and may be a section itself. A mapping is a section of any settings.
    """

    @classmethod
    def of(cls: type[OfSection], section: Fields) -> OfSection:
        """Reads a section, once.

        A setting that it lacks has its default; one that the class lacks is passed over.
        """
        return cls().changed(section)

    def changed(self: OfSection, section: Fields) -> OfSection:
        """Returns these settings with those of a section in their place: see `of`."""
        names = [field.name for field in fields(self) if field.name in section]
        return replace(self, **{name: _read(section[name], getattr(self, name)) for name in names})

    @property
    def section(self) -> ConfigDict:
        """Returns the section of a config with these values."""
        names = [field.name for field in fields(self)]
        return ConfigDict({name: _written(getattr(self, name)) for name in names})


def _read(value: object, default: object) -> object:
    if isinstance(default, Section):
        return default.changed(cast(Fields, value))
    if type(value) is int and isinstance(default, float):
        return float(value)  # as JSON may have it
    if isinstance(value, list) and isinstance(default, tuple):
        return tuple(value)  # likewise
    return value.to_dict() if isinstance(value, ConfigDict) else value


def _written(value: object) -> object:
    return value.section if isinstance(value, Section) else value


def flatten(config: Fields, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("data.batch_size", 32) for every field, sorted by name."""
    for key in sorted(config):
        value = config[key]
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nearest(name: str, known: list[str]) -> str:
    """Returns " Did you mean 'a' or 'b'?" for the known names nearest to `name`, else ""."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    last: dict[str, str] = {}  # for a key in the wrong section: config.batch_size
    for other in known:
        last.setdefault(other.rsplit(".", 1)[-1], other)
    for tail in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(last), n=2, cutoff=0.7):
        close.append(last[tail])
    unique = list(dict.fromkeys(close))[:3]
    return f" Did you mean {' or '.join(repr(item) for item in unique)}?" if unique else ""


def no_setting(name: str, known: list[str]) -> str:
    """Returns a sentence about a setting that a config lacks, with those that may be meant."""
    return f"config.{name} is not a setting of this config.{nearest(name, known)}"


def to_json(config: ConfigDict) -> str:
    """Returns the config as indented JSON."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_fields(parsed: Mapping[str, object]) -> ConfigDict:
    """Returns the locked config that `to_json` wrote, from its parsed JSON."""
    return ConfigDict(dict(parsed)).lock()
