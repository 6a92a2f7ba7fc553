"""The statistics of an ablation: equal to SciPy's, and right as often as they claim."""

import math

import numpy as np
import pytest
from scipy import stats

from common.config.declaration import Compared
from studies.ablation.summary import (
    ERROR,
    Measure,
    detectable,
    holm,
    mean_and_interval,
    measured,
    summarise,
)
from studies.ablation.sweep import Place

SCORE = Measure("score", "highest")


def study(values, measure=SCORE):
    """Returns the rows of a study: values[arm][repetition], the arms named "0", "1", ..."""
    cells = {
        Place(str(arm), seed, None): value
        for arm, row in enumerate(values)
        for seed, value in enumerate(row)
        if not math.isnan(value)
    }
    return summarise({measure: cells}, [str(arm) for arm in range(len(values))])


def test_means_and_differences_are_those_of_scipy():
    values = np.random.default_rng(0).normal(size=(3, 6))
    rows = study(values)
    for row, own in zip(rows, values, strict=True):
        low, high = stats.t.interval(0.95, 5, own.mean(), stats.sem(own))
        assert (row.n, row.mean, row.deviation) == pytest.approx((6, own.mean(), own.std(ddof=1)))
        assert (row.low, row.high) == pytest.approx((low, high))
    assert rows[0].difference is None
    tests = [stats.ttest_rel(own, values[0]) for own in values[1:]]
    for row, test in zip(rows[1:], tests, strict=True):
        low, high = test.confidence_interval(0.95)
        found = row.difference
        assert (found.p, found.low, found.high) == pytest.approx((test.pvalue, low, high))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, math.nan, 0.9, 0.6])[:1] == pytest.approx([0.06])
    assert math.isnan(holm([math.nan])[0]) and holm([]) == []


def test_pairs_are_the_repetitions_that_both_have():
    rows = study([[1.0, 2.0, 4.0], [math.nan, 2.5, 5.0]])
    assert rows[1].difference.n == 2 and rows[1].difference.value == pytest.approx(0.75)


def test_one_repetition_has_no_interval_and_no_p():
    rows = study([[1.0], [2.0]])
    assert math.isnan(rows[1].low) and math.isnan(rows[1].difference.p_corrected)
    assert not rows[1].difference.significant and not rows[1].best
    same = study([[1.0, 2.0], [1.0, 2.0]])[1].difference
    assert same.value == 0 and math.isnan(same.p) and math.isnan(same.detectable)


def test_the_best_is_marked_only_beyond_chance():
    clear = [[1.0, 1.1, 0.9, 1.0], [2.0, 2.2, 1.9, 2.1], [0.1, 0.0, 0.2, 0.1]]
    assert [row.best for row in study(clear)] == [False, True, False]
    lowest = study(clear, Measure("loss", "lowest"))
    assert [row.best for row in lowest] == [False, False, True]
    chance = [[1.0, 1.4, 0.9, 1.0], [2.0, 0.2, 1.9, 1.1]]
    assert not any(row.best for row in study(chance))
    base = [[3.0, 3.1, 2.9, 3.0], *clear[1:]]
    assert [row.best for row in study(base)] == [True, False, False]


def test_a_study_of_nothing_marks_something_at_most_one_time_in_twenty():
    rng = np.random.default_rng(1)
    marked = 0
    for _ in range(1000):
        noise = rng.normal(size=(2, 4, 5))
        cells = {
            Measure(f"score {number}", "highest"): {
                Place(str(arm), seed, None): value
                for (arm, seed), value in np.ndenumerate(noise[number])
            }
            for number in range(2)
        }
        rows = summarise(cells, ["0", "1", "2", "3"])
        marked += any(row.best or (row.difference and row.difference.significant) for row in rows)
    assert marked / 1000 <= 0.07


@pytest.mark.parametrize("repetitions", [3, 5, 10])
def test_a_difference_of_the_detectable_size_is_found_three_times_in_four(repetitions):
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(400):
        values = rng.normal(size=(2, repetitions))
        values[1] += detectable(values[1] - values[0], 1)
        found += study(values)[1].difference.significant
    assert found / 400 >= 0.75


def test_the_detectable_size_is_that_of_the_strictest_comparison():
    pairs = np.random.default_rng(3).normal(size=4)
    error = stats.sem(pairs)
    expected = (stats.t.ppf(1 - ERROR / 6 / 2, 3) + stats.t.ppf(0.8, 3)) * error
    assert detectable(pairs, 6) == pytest.approx(expected)
    assert mean_and_interval(pairs)[0] == pytest.approx(pairs.mean())


def test_numbers_are_chosen_by_pattern_with_what_real_data_have():
    found = {
        Place("a", seed, None): {
            "quality.all.frechet_r_425.value": 9.0 + seed,
            "quality.all.frechet_r_425.floor": 2.0,
            "scores.tumour.dice.value": 0.5,
            "scores.edema.dice.value": 0.25,
            "other": 1.0,
        }
        for seed in (0, 1)
    }
    compared = (
        Compared("Fréchet", "quality.all.frechet_*.value", "lowest", "floor"),
        Compared("Dice", "scores.*.dice.value"),
        Compared("absent", "absent"),
    )
    values = measured(found, compared)
    assert [(one.name, one.best) for one in values] == [
        ("Fréchet", "lowest"),
        ("Dice (tumour)", "highest"),
        ("Dice (edema)", "highest"),
    ]
    first, of_first = next(iter(values.items()))
    assert first.reference == 2.0 and list(of_first.values()) == [9.0, 10.0]
