"""Thresholds: against scikit-learn's curve, brute force, and where nothing can be chosen."""

import numpy as np
import pytest
from sklearn import metrics as reference

from classify.operating_point import SCORES, Wanted, best_threshold, read_wanted, scores_at
from common.program.errors import UserError
from common.scores.classification import Predicted

RNG = np.random.default_rng(0)


def measures(truth, shares, threshold):
    called = shares >= threshold
    return called[truth].mean(), (~called[~truth]).mean()


def cases():
    """Images that differ, that tie, and that are all alike."""
    for digits in (9, 1, 0):
        for images in (2, 7, 40):
            truth = RNG.permutation(np.arange(images) % 3 == 0)
            shares = np.clip(0.3 * truth + RNG.random(images), 0, 1)
            yield truth, np.round(shares, digits)


def test_youdens_index_is_the_best_of_scikit_learns_roc_curve():
    for truth, shares in cases():
        threshold = best_threshold(truth, shares, Wanted())
        false, true, _ = reference.roc_curve(truth, shares, drop_intermediate=False)
        assert sum(measures(truth, shares, threshold)) - 1 == pytest.approx((true - false).max())


@pytest.mark.parametrize("measure", ["sensitivity", "specificity"])
@pytest.mark.parametrize("least", [0.5, 0.9, 1.0])
def test_a_wanted_measure_is_reached_and_the_other_is_best(measure, least):
    for truth, shares in cases():
        threshold = best_threshold(truth, shares, Wanted(measure, least))
        place = ("sensitivity", "specificity").index(measure)
        found = measures(truth, shares, threshold)
        all_of_them = [measures(truth, shares, t) for t in (*shares, 0.0, 2.0)]
        others = [one[1 - place] for one in all_of_them if one[place] >= least]
        assert found[place] >= least and found[1 - place] == pytest.approx(max(others))


def test_a_threshold_lies_in_the_middle_and_mirrors_for_the_other_class():
    truth, shares = np.array([False, False, True, True]), np.array([0.1, 0.2, 0.6, 0.9])
    assert best_threshold(truth, shares, Wanted()) == pytest.approx(0.4)
    assert best_threshold(~truth, 1 - shares, Wanted()) == pytest.approx(0.6)
    neighbours = np.array([0.5, np.nextafter(0.5, 1)])
    threshold = best_threshold(np.array([False, True]), neighbours, Wanted())
    assert measures(np.array([False, True]), neighbours, threshold) == (1.0, 1.0)


def test_images_of_one_class_choose_no_threshold():
    assert best_threshold(np.ones(3, bool), RNG.random(3), Wanted()) is None
    assert best_threshold(np.zeros(3, bool), RNG.random(3), Wanted()) is None


def test_scores_at_a_threshold_agree_with_scikit_learn():
    labels, share = RNG.integers(0, 2, 50), RNG.random(50)
    names = tuple(map(str, range(50)))
    one = Predicted(names, ("",) * 50, labels, np.stack([1 - share, share], 1))
    truth, called = labels == 1, share >= 0.3
    wanted = {
        "sensitivity": reference.recall_score(truth, called),
        "specificity": reference.recall_score(~truth, ~called),
        "ppv": reference.precision_score(truth, called),
        "npv": reference.precision_score(~truth, ~called),
        "accuracy": reference.accuracy_score(truth, called),
        "f1": reference.f1_score(truth, called),
    }
    found = scores_at(one, 1, 0.3)
    assert tuple(found) == SCORES
    for name, entry in found.items():
        assert entry.value == pytest.approx(wanted[name])
        assert 0 <= entry.low < entry.value < entry.high <= 1


def test_the_goal_of_a_threshold_is_read():
    assert read_wanted("") == read_wanted("youden") == Wanted("youden", 0.0)
    assert read_wanted("sensitivity=0.95") == Wanted("sensitivity", 0.95)
    for text in ("sensitivity", "specificity=2", "sensitivity=0", "f1=0.5", "youden=1", "=0.5"):
        with pytest.raises(UserError, match="--operating_point is"):
            read_wanted(text)
