"""The bootstrap: draws that do not depend on how many are made at a time, and their percentiles."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from common.scores.bootstrap import Score, drawn_as_counts, drawn_one_by_one, intervals

DRAWS = [drawn_one_by_one, drawn_as_counts]


@pytest.mark.parametrize("drawn", DRAWS)
def test_draws_have_as_many_groups_as_there_are_however_many_are_made_at_a_time(drawn):
    whole, pieces = (np.concatenate(list(drawn(7, 50, at_once))) for at_once in (50, 3))
    np.testing.assert_array_equal(whole, pieces)
    assert whole.shape == (50, 7) and (whole.sum(1) == 7).all()


@pytest.mark.parametrize("drawn", DRAWS)
def test_the_interval_of_a_mean_is_that_of_the_normal_distribution(drawn):
    values = np.random.default_rng(0).normal(size=200)
    found = intervals(
        lambda draws: {"mean": draws @ values / draws.sum(1)}, 200, drawn(200, 4000, 500)
    )["mean"]
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_draws_without_a_value_are_left_out_and_where_none_has_one_there_is_no_interval():
    values = np.array([1.0, 3.0])

    def measure(draws):
        first = draws[:, 0] > 0
        return {"some": np.where(first, 2.0, np.nan), "none": np.full(len(draws), np.nan)} | {
            "all": draws @ values
        }

    found = intervals(measure, 2, drawn_one_by_one(2, 40, 40))
    assert found["some"] == Score(2.0, 2.0, 2.0)
    assert all(map(math.isnan, astuple(found["none"])))
    assert found["all"] == Score(4.0, 2.0, 6.0)
