"""Combinations of parameters, of which those that show little that is new are slow tests."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def combinations(*values: Sequence[Any], together: int = 2) -> list[Any]:
    """Returns all combinations, for `pytest.mark.parametrize`; most of them are marked slow.

    The default tests see every `together` values of different parameters side by side, which is
    where faults of combinations nearly always show (pairwise testing).
    """
    places = list(itertools.combinations(range(len(values)), together))

    def shown(indices: tuple[int, ...]) -> set[Any]:
        return {(place, tuple(indices[p] for p in place)) for place in places}

    rest = list(itertools.product(*(range(len(x)) for x in values)))
    missing = set().union(*map(shown, rest))
    chosen = set()
    while missing:
        best = max(rest, key=lambda indices: len(shown(indices) & missing))
        chosen.add(best)
        missing -= shown(best)
    return [
        pytest.param(
            *(of[i] for of, i in zip(values, indices, strict=True)),
            marks=() if indices in chosen else pytest.mark.slow,
        )
        for indices in rest
    ]
