"""The second image of a pair is another one of the same patient, whatever the step and the feed."""

from dataclasses import replace

import numpy as np
import pytest

from common.training.feed import Order
from common.training.partners import Partners
from common.training.task import Batches, Pairs
from tests.memory_split import split_of

OWNERS = ("b", "a", "b", "c", "b", "a")
IMAGES = np.arange(len(OWNERS))


def test_everybody_else_of_the_patient_is_drawn_and_nobody_of_another():
    partners = Partners(OWNERS)
    drawn = np.array([partners.of(IMAGES, 0, step) for step in range(64)])
    expected = [{2, 4}, {5}, {0, 4}, {3}, {0, 2}, {1}]
    assert [set(column) for column in drawn.T.tolist()] == expected


def test_they_follow_from_seed_and_step():
    partners, many = Partners(["a"] * 50), np.arange(50)
    np.testing.assert_array_equal(partners.of(many, 3, 7), partners.of(many, 3, 7))
    for seed, step in ((4, 7), (3, 8)):
        assert (partners.of(many, 3, 7) != partners.of(many, seed, step)).any()


@pytest.mark.parametrize("step", [0, 5])
def test_a_step_takes_images_as_ever_and_then_their_partners(step):
    split = split_of([{"image": np.full((1, 1, 1), row, np.uint8)} for row in IMAGES])
    split = replace(split, groups=OWNERS)
    pairs = Order(split, Pairs.of(3), [1], shuffle=True)
    alone = Order(split, Batches(1, 3), [1], shuffle=True)
    first, second = pairs.indices(step)[0]
    np.testing.assert_array_equal(first, alone.indices(step)[0, 0])
    assert [OWNERS[row] for row in first] == [OWNERS[row] for row in second]
    assert {OWNERS[row] for row in first[first == second]} <= {"c"}
