"""What the suite checks at each call of the project's functions, and that it does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError

from common.scores.metrics import confusion_matrix
from tests import checked


@checked
def total(left: Float[np.ndarray, "num"], right: Float[np.ndarray, "num"]) -> int:
    return int(left.sum() + right.sum()) if left[0] else left.sum()


@checked
def square(size: int, rows: int) -> Float[np.ndarray, "{size} {size}"]:
    return np.zeros((rows, size))


@checked
def rows(images: Float[np.ndarray, "num width"]) -> Iterator[Float[np.ndarray, "width"]]:
    yield from images


@checked
def itself(given: "Quoted") -> "Quoted":
    return given


class Quoted(NamedTuple):
    size: int


@checked
@dataclass(frozen=True)
class Fields:
    size: int
    image: Float[np.ndarray, "size size"]


REFUSED = (BeartypeCallHintViolation, TypeCheckError)
ZEROS, ONES = np.zeros(3), np.ones(3)


def test_what_fits_its_hints_passes():
    assert total(ONES, ONES) == 6
    assert square(3, 3).shape == (3, 3)
    assert len(list(rows(np.zeros((5, 3))))) == 5
    assert itself(Quoted(3)).size == Fields(2, np.zeros((2, 2))).size + 1


def test_a_dimension_stands_for_one_size_in_a_call_and_for_another_in_the_next():
    assert (total(ONES, ONES), total(np.ones(2), np.ones(2))) == (6, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: total(ONES, "1"), id="type"),
        pytest.param(lambda: total(ONES, np.ones(3, np.int32)), id="type of elements"),
        pytest.param(lambda: total(ONES, np.ones((3, 3))), id="dimensions"),
        pytest.param(lambda: total(ONES, np.ones(2)), id="size"),
        pytest.param(lambda: total(ZEROS, ONES), id="result"),
        pytest.param(lambda: square(3, 2), id="result's size, computed from an argument"),
        pytest.param(lambda: rows(ONES), id="generator"),
        pytest.param(lambda: itself((3,)), id="quoted hint"),
        pytest.param(lambda: Fields("2", np.zeros((2, 2))), id="field"),
        pytest.param(lambda: Fields(2, np.zeros((2, 3))), id="field's size"),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(REFUSED):
        wrong()


def test_the_projects_functions_are_checked():
    with pytest.raises(REFUSED):
        confusion_matrix("labels", np.zeros(3, np.int32), 2)
