"""Spelling: missing labels, different spellings of one name, numbers in names."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

from common.program.words import counted

# What pandas reads as missing in a table, in lower case.
_MISSING = frozenset(
    (
        *("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan"),
        *("<na>", "n/a", "na", "nan", "none", "null"),
    )
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")


def is_missing(text: str) -> bool:
    """Returns whether a field means a missing value: nan, NA, n/a, None, null, empty."""
    return text.strip().casefold() in _MISSING


def natural_order(name: str) -> list[str | int]:
    """Returns a sort key that orders the numbers in names as numbers: "2" before "10"."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns groups of names that may be meant as one; each group and the list are sorted.

    They differ only in case, in spaces, hyphens and underscores, in letters that look the same in
    Unicode, or in how they write a number: "COVID" and "covid", "0" and "0.0".
    """
    together: dict[str, set[str]] = {}
    for name in names:
        together.setdefault(_essence(name), set()).add(name)
    return sorted(tuple(sorted(group)) for group in together.values() if len(group) > 1)


def doubts(counts: Mapping[str, int]) -> list[str]:
    """Returns a sentence for classes that may be one, and for one that may be a missing label.

    Args:
      counts: number of images of each class.
    """
    sentences = []
    for names in alike(counts):
        listed = " and ".join(f"{name!r} ({counted(counts[name], 'image')})" for name in names)
        sentences.append(f"The classes {listed} may be one: their names differ only in spelling.")
    sentences += [
        f"The class {name!r} ({counted(counts[name], 'image')}) has the name of a missing label."
        for name in sorted(filter(is_missing, counts))
    ]
    return sentences


def meant(name: str, known: Iterable[str]) -> str:
    """Returns " (did you mean 'COVID'?)" if a known name is similar, else ""."""
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
