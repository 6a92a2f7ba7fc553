"""How people spell: missing labels, names that may be meant to be one, numbers in names."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

from common.program.words import counted

# What pandas reads as missing in a table, in small letters.
_MISSING = frozenset(
    (
        *("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan"),
        *("<na>", "n/a", "na", "nan", "none", "null"),
    )
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")


def is_missing(text: str) -> bool:
    """Says whether a field stands for a missing one: nan, NA, n/a, None, null, empty."""
    return text.strip().casefold() in _MISSING


def natural_order(name: str) -> list[str | int]:
    """Returns what sorts names with the numbers in them as numbers: "2" before "10"."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the names that people may mean to be one, together; each set and all are sorted.

    They differ only in capitals, in spaces, hyphens and underscores, in letters that look the same
    in Unicode, or in how they write a number: "COVID" and "covid", "0" and "0.0".
    """
    together: dict[str, set[str]] = {}
    for name in names:
        together.setdefault(_essence(name), set()).add(name)
    return sorted(tuple(sorted(group)) for group in together.values() if len(group) > 1)


def doubts(counts: Mapping[str, int]) -> list[str]:
    """Returns a sentence for the classes that may be one, and for one that may be no class.

    Args:
      counts: how many images each class has.
    """
    said = []
    for names in alike(counts):
        listed = " and ".join(f"{name!r} ({counted(counts[name], 'image')})" for name in names)
        said.append(f"The classes {listed} may be one, differing only in how they are written.")
    said += [
        f"The class {name!r} ({counted(counts[name], 'image')}) has the name of a missing label."
        for name in sorted(filter(is_missing, counts))
    ]
    return said


def meant(name: str, known: Iterable[str]) -> str:
    """Returns " (did you mean 'COVID'?)" where a known name is near to one, else ""."""
    names = {_essence(other): other for other in known}
    close = difflib.get_close_matches(_essence(name), names, n=1)
    return f" (did you mean '{names[close[0]]}'?)" if close else ""


def _essence(name: str) -> str:
    visible = (
        letter
        for letter in unicodedata.normalize("NFKC", name)
        if unicodedata.category(letter) not in ("Cf", "Cc")
    )
    text = unicodedata.normalize("NFKC", "".join(visible).strip().casefold())
    if _NUMBER.fullmatch(text):
        return str(float(text.replace(",", ".")))
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", text)
