"""Areas under curves against scikit-learn, and where there are none."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from common.scores.areas import area_under_curve, areas_of_draws

RNG = np.random.default_rng(0)


def test_the_areas_of_a_draw_are_scikit_learns_with_the_draw_as_weights():
    scores, truth = RNG.integers(0, 10, 80).astype(float), RNG.random(80) < 0.3
    draws = RNG.integers(0, 4, (5, 80))
    for draw, roc, steps in zip(draws, *areas_of_draws(draws, scores, truth), strict=True):
        assert roc == pytest.approx(roc_auc_score(truth, scores, sample_weight=draw))
        assert steps == pytest.approx(average_precision_score(truth, scores, sample_weight=draw))
    assert area_under_curve(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def test_infinite_scores_have_their_place_and_are_tied_with_each_other():
    truth = np.array([True, False, True, False])
    assert area_under_curve(np.array([np.inf, np.inf, 1.0, -np.inf]), truth) == 2.5 / 4


@pytest.mark.parametrize("kind", [True, False])
def test_images_of_one_kind_have_no_area(kind):
    assert math.isnan(area_under_curve(np.arange(3.0), np.full(3, kind)))
    (steps,) = areas_of_draws(np.ones((1, 3)), np.arange(3.0), np.full(3, kind))[1]
    assert math.isnan(steps)
