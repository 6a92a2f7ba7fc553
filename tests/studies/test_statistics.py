"""Intervals of scores over patients and seeds: closed forms, and how often they are right."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from common.scores.classification import Predicted, scores
from studies.statistics import Measured, corrected_level, interval, measure

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


def test_the_variance_of_seeds_alone_gives_students_interval():
    """All patients alike: mean +- t * s / sqrt(k), of three seeds with two degrees of freedom."""
    observed = np.array([0.7, 0.8, 0.85])
    found = interval(Measured(observed, np.tile(observed, (100_000, 1)), 50))
    half = 4.302653 * observed.std(ddof=1) / math.sqrt(3)
    assert found.value == pytest.approx(observed.mean())
    assert found.high - found.value == pytest.approx(half, rel=0.01)


def test_the_variance_of_patients_alone_is_that_of_a_proportion():
    """The accuracy of one training on n patients: sqrt(p (1 - p) / n)."""
    labels = np.arange(400) % 2
    right = np.arange(400) % 5 > 0
    sure = np.where(right == labels, 0.9, 0.1)
    one = Predicted(
        tuple(map(str, labels + 2 * np.arange(400))),
        ("",) * 400,
        labels,
        np.stack([1 - sure, sure], 1),
    )
    found = interval(measure([one], CLASSES)["accuracy"])
    assert found.value == 0.8
    half = 1.966 * math.sqrt(0.8 * 0.2 / 400)
    assert found.high - found.value == pytest.approx(half, rel=0.05)


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


def test_where_a_score_has_no_value_neither_has_its_interval():
    missing = Measured(np.array([math.nan]), np.full((10, 1), math.nan), 5)
    assert all(map(math.isnan, interval(missing)))
