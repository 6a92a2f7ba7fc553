"""Intervals of scores over patients and seeds: closed forms, and how often they are right."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import norm

from common.scores.classification import Predicted, scores
from studies.statistics import (
    Interval,
    Measured,
    Spread,
    corrected_level,
    interval,
    measure,
    measure_folds,
    spread,
)

CLASSES = ("a", "b")


def predicted(rng, labels, skill, of_seed=0.0, of_image=None):
    """What a classifier says whose logits are 0 or `skill` apart, and noise of images and seeds."""
    noise = rng.normal(size=len(labels)) * 0.5 + (0 if of_image is None else of_image)
    shift = skill + of_seed
    chance = norm.cdf((labels * 2 - 1) * shift / 2 + noise)
    ids = tuple(map(str, range(len(labels))))
    return Predicted(ids, ("",) * len(ids), labels, np.stack([1 - chance, chance], 1))


def experiment(rng, differ, seeds=3, images=80, seed_noise=0.0):
    """Returns the difference of areas of two arms, and of the area of one of them."""
    labels = np.arange(images) % 2
    hard = rng.normal(size=images)  # images that are hard are hard for both arms
    arms = [
        [predicted(rng, labels, skill, rng.normal() * seed_noise, hard) for _ in range(seeds)]
        for skill in (1.0, 1.0 + differ)
    ]
    one, two = (measure(arm, CLASSES, 200)["roc_auc_macro"] for arm in arms)
    return two - one, one, two


@pytest.mark.parametrize(
    "seed_noise",
    [pytest.param(0.0, id="patients"), pytest.param(0.8, id="seeds")],
)
@pytest.mark.slow  # ablation/test_summary.py counts the findings of studies of nothing
def test_no_difference_is_called_none_about_95_times_in_100(seed_noise):
    rng = np.random.default_rng(0)
    found = [interval(experiment(rng, 0.0, seed_noise=seed_noise)[0]) for _ in range(100)]
    right = np.mean([not one.excludes_zero for one in found])
    assert right >= 0.92


@pytest.mark.slow  # minutes; the same of normal effects is a fast test below
@pytest.mark.parametrize("seeds", [3, 8])
def test_studies_of_areas_find_a_gain_as_often_as_is_said_beforehand(seeds):
    """Two images of each of 90 patients, an AUC of 0.75, and 0, 0.03 or 0.06 more."""
    rng = np.random.default_rng(0)
    labels, who = np.repeat(np.arange(90) % 2, 2), np.repeat(np.arange(90), 2)
    ids, groups = tuple(map(str, range(len(labels)))), tuple(map(str, who))
    own, noise = 0.6, 0.5  # deviations of what is common to both arms, and of a training's own

    def arm(area, hard):
        distance = norm.ppf(area) * math.sqrt(4 * own**2 + 4 * noise**2)
        for _ in range(seeds):
            of_patients = rng.normal(scale=noise, size=90)[who]
            logits = (labels - 0.5) * (distance + rng.normal(scale=0.1)) + hard + of_patients
            chance = norm.cdf(logits + rng.normal(scale=noise, size=len(labels)))
            yield Predicted(ids, groups, labels, np.stack([1 - chance, chance], 1))

    for gain in (0.0, 0.03, 0.06):
        studies = []
        for _ in range(300):
            hard = rng.normal(scale=own, size=90)[who] + rng.normal(scale=own, size=len(labels))
            one, two = (
                measure(list(arm(0.75 + more, hard)), CLASSES, 200)["roc_auc_macro"]
                for more in (0.0, gain)
            )
            studies.append(two - one)
        parts = np.mean([astuple(spread(one))[:3] for one in studies], 0).tolist()
        stated = Spread(*parts, 90, seeds).power(gain, 0.95)
        found = np.mean([interval(one).low > 0 for one in studies])
        assert found == pytest.approx(stated, abs=0.03 + 2 * math.sqrt(0.25 / len(studies)))


def test_the_variance_of_seeds_alone_gives_students_interval():
    """All patients alike: mean +- t * s / sqrt(k), of three seeds with two degrees of freedom."""
    observed = np.array([0.7, 0.8, 0.85])
    found = interval(Measured(observed, np.tile(observed, (100, 1)), 50))
    half = 4.302653 * observed.std(ddof=1) / math.sqrt(3)
    assert found.value == pytest.approx(observed.mean())
    assert found.high - found.value == pytest.approx(half, rel=1e-6)


def four_of_five(number):
    """What a classifier says that is right of four of five images."""
    labels = np.arange(number) % 2
    right = np.arange(number) % 5 > 0
    sure = np.where(right == labels, 0.9, 0.1)
    ids = tuple(map(str, labels + 2 * np.arange(number)))
    return Predicted(ids, ("",) * number, labels, np.stack([1 - sure, sure], 1))


@pytest.mark.parametrize("folds", [1, 4])
def test_the_variance_of_patients_alone_is_that_of_a_proportion(folds):
    """The accuracy of one training on n patients, in folds or not: sqrt(p (1 - p) / n)."""
    found = interval(measure_folds([[four_of_five(400 // folds)] * folds], CLASSES)["accuracy"])
    assert found.value == pytest.approx(0.8)
    half = 1.966 * math.sqrt(0.8 * 0.2 / 400)
    assert found.high - found.value == pytest.approx(half, rel=0.05)


def test_a_score_of_folds_is_their_mean_and_one_fold_is_as_none():
    rng, labels = np.random.default_rng(5), np.arange(40) % 2
    seeds = [[predicted(rng, labels, skill) for skill in (0.5, 1.5)] for _ in range(3)]
    found = measure_folds(seeds, CLASSES, 50)["roc_auc_macro"]
    areas = [
        [scores(x.labels, x.probabilities, CLASSES)["roc_auc_macro"] for x in s] for s in seeds
    ]
    np.testing.assert_allclose(found.observed, np.mean(areas, axis=1))
    assert found.patients == 80 and found.drawn.shape == (50, 3)
    first = [one for one, _ in seeds]
    alone = measure_folds([[one] for one in first], CLASSES, 50)["roc_auc_macro"]
    np.testing.assert_array_equal(alone.drawn, measure(first, CLASSES, 50)["roc_auc_macro"].drawn)


def test_a_large_difference_is_found_and_none_between_equals():
    difference, one, _ = experiment(np.random.default_rng(1), 2.0)
    found = interval(difference, corrected_level(18))
    assert found.low > 0.05 and found.excludes_zero
    assert tuple(interval(one - one)) == (0.0, 0.0, 0.0) and not interval(one - one).excludes_zero


def test_pairing_shrinks_the_interval():
    difference, one, two = experiment(np.random.default_rng(2), 0.2, images=200)
    paired, (first, second) = interval(difference), (interval(x) for x in (one, two))
    apart = math.hypot(first.high - first.low, second.high - second.low)
    assert paired.high - paired.low < 0.8 * apart


def test_more_comparisons_make_wider_intervals():
    difference, _, _ = experiment(np.random.default_rng(3), 0.2)
    widths = [
        found.high - found.low
        for found in (interval(difference, corrected_level(number)) for number in (1, 6, 18))
    ]
    assert corrected_level(1) == 0.95 and corrected_level(10) == pytest.approx(0.995)
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_scores_are_means_over_seeds_on_the_patients_as_they_are():
    rng, labels = np.random.default_rng(4), np.arange(30) % 2
    arm = [predicted(rng, labels, 1.0) for _ in range(3)]
    found = measure(arm, CLASSES, 50)
    for name in ("roc_auc_macro", "f1_macro", "accuracy"):
        each = [scores(one.labels, one.probabilities, CLASSES)[name] for one in arm]
        assert interval(found[name]).value == pytest.approx(np.mean(each))


# Draws of 90 patients, the same in all simulated studies, as in all arms of a study.
SHARES = np.random.default_rng(8).multinomial(90, np.full(90, 1 / 90), 400) / 90


def simulated(rng, parts, count):
    """Returns differences without a true gain: normal effects of patients, seeds and both."""
    patients, seeds = parts.patients, int(parts.seeds)
    for _ in range(count):
        each = rng.normal(0, math.sqrt(parts.of_patients * patients), (patients, 1))
        each = each + rng.normal(0, math.sqrt(parts.of_both * patients), (patients, seeds))
        each += rng.normal(0, math.sqrt(parts.of_seeds), seeds)
        yield Measured(each.mean(0), SHARES @ each, patients)


PARTS = [
    pytest.param(Spread(2e-4, 6e-4, 6e-4, 90, 5), id="all parts"),
    pytest.param(Spread(1e-3, 1e-3, 0.0, 90, 3), id="patients"),
    pytest.param(Spread(2e-4, 0.0, 4e-3, 90, 10), id="seeds"),
]


@pytest.mark.parametrize("parts", PARTS)
def test_the_parts_of_a_variance_are_found(parts):
    rng = np.random.default_rng(5)
    found = [spread(one) for one in simulated(rng, parts, 200)]
    of_means = np.mean([one.variance for one in found])
    assert of_means == pytest.approx(parts.variance, rel=0.15)
    for name in ("of_patients", "of_both", "of_seeds"):
        mean = np.mean([getattr(one, name) for one in found])
        assert mean == pytest.approx(getattr(parts, name), abs=0.15 * parts.variance * parts.seeds)


@pytest.mark.parametrize("parts", PARTS)
def test_studies_find_a_gain_as_often_as_is_said_beforehand(parts):
    lows = np.array([interval(one).low for one in simulated(np.random.default_rng(6), parts, 1000)])
    for gain in (0.0, 0.03, 0.06):  # it moves a score and its interval
        assert np.mean(lows + gain > 0) == pytest.approx(parts.power(gain, 0.95), abs=0.03)


LOOKS = 4, 7, 10


def ended(measured, gain, relevant=0.03):
    """Returns the interval at which a study that looks three times ends, and its seeds."""
    for seeds in LOOKS:
        part = Measured(measured.observed[:seeds], measured.drawn[:, :seeds], measured.patients)
        value, low, high = interval(part, corrected_level(len(LOOKS)))
        found = Interval(value + gain, low + gain, high + gain)
        if found.excludes_zero or found.high < relevant:
            break
    return found, seeds


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(Spread(1e-5, 1e-4, 4e-4, 90, 10), id="seeds"),
        pytest.param(Spread(1e-4, 1e-4, 1e-4, 90, 10), id="patients"),
    ],
)
def test_a_study_that_looks_early_is_wrong_no_more_often_than_it_says(parts):
    """Of 600 studies without a gain at most 5 % find one, of those with 0.06 most end early."""
    some = list(simulated(np.random.default_rng(8), parts, 600))
    of_nothing = [ended(one, 0.0) for one in some]
    assert np.mean([found.excludes_zero for found, _ in of_nothing]) < 0.05 + 0.018  # two errors
    of_gain = [ended(one, 0.06) for one in some]
    assert np.mean([found.high < 0.06 for found, _ in of_gain]) < 0.05 + 0.018
    for ends in (of_nothing, of_gain):
        assert np.mean([seeds for _, seeds in ends]) < 8


def test_the_smallest_gain_is_found_with_the_power_asked_for():
    parts = Spread(2e-4, 6e-4, 6e-4, 90, 5)
    gain = parts.smallest_gain(0.95)
    assert parts.power(gain, 0.95) == pytest.approx(0.8)
    assert parts.smallest_gain(0.95, 0.9) > gain
    gains = [parts.with_seeds(n).smallest_gain(0.95) for n in (3, 5, 20, math.inf)]
    assert gains == sorted(gains, reverse=True)
    of_patients = Spread(2e-4, 0.0, 0.0, 90, 1)  # what is left of however many seeds
    assert gains[-1] == pytest.approx(of_patients.smallest_gain(0.95))
    assert Spread(0.0, 0.0, 0.0, 90, 5).smallest_gain(0.95) == 0


def test_where_a_score_has_no_value_neither_has_its_interval():
    missing = Measured(np.array([math.nan]), np.full((10, 1), math.nan), 5)
    assert all(map(math.isnan, interval(missing)))
