"""Of images like those of the reference few lie outside the limit, of others most."""

import numpy as np
import pytest

from common.unlike.reference import conformal_limit, make_reference

SIZE = 20


def drawn(seed, number, mixing=1.0):
    mixing = mixing * np.eye(SIZE) if np.isscalar(mixing) else mixing
    return np.random.default_rng(seed).normal(size=(number, SIZE)) @ mixing


def each(statistics):
    return [str(i) for i in range(len(statistics))]


@pytest.mark.parametrize(("number", "outside"), [(1, 0), (23, 0), (24, 0), (49, 1), (999, 39)])
def test_the_limit_leaves_four_percent_of_further_distances_outside(number, outside):
    """Of n + 1 that are in any order, the last one is as likely to have each place."""
    distances = np.random.default_rng(0).permutation(number) + 1.0
    assert (distances > conformal_limit(distances)).sum() == outside
    assert number < 24 or (outside + 1) / (number + 1) <= 0.04


def test_at_most_five_percent_of_like_images_are_outside_and_unlike_ones_are():
    mixing = np.random.default_rng(7).normal(size=(SIZE, SIZE))
    shares = []
    for seed in range(4):
        reference = make_reference(drawn(2 * seed, 300, mixing), each(range(300)))
        shares.append((reference.distances(drawn(2 * seed + 1, 500, mixing)) > 1).mean())
    assert np.mean(shares) <= 0.05 and max(shares) <= 0.08
    assert (reference.distances(drawn(99, 100)) > 1).mean() < 0.9  # they vary less
    assert (reference.distances(drawn(99, 100, 3 * mixing)) > 1).mean() >= 0.9


def test_images_of_one_patient_are_held_out_together():
    """Ten slices of a patient are hardly more than one: a stranger is further than they are."""
    patients = drawn(0, 40)
    slices = np.repeat(patients, 10, 0) + 0.05 * drawn(1, 400)
    apart = make_reference(slices, each(slices))
    together = make_reference(slices, np.repeat(each(patients), 10).tolist())
    assert together.limit > 1.1 * apart.limit
    fresh = drawn(2, 200)
    assert (together.distances(fresh) > 1).mean() < (apart.distances(fresh) > 1).mean()


def test_validation_images_from_elsewhere_widen_the_limit():
    statistics, elsewhere = drawn(0, 300), drawn(1, 200, 2.0)
    narrow = make_reference(statistics, each(statistics))
    wide = make_reference(statistics, each(statistics), elsewhere)
    same = make_reference(statistics, each(statistics), drawn(2, 200) / 2)
    assert (narrow.distances(elsewhere) > 1).mean() > 0.5
    assert (wide.distances(elsewhere) > 1).mean() <= 0.04
    assert same.limit == narrow.limit


def test_what_never_varies_is_not_known_to_a_hair():
    statistics = drawn(0, 300)
    statistics[:, 0] = 0.25
    reference = make_reference(statistics, each(statistics))
    image = np.zeros((3, SIZE))
    image[:, 0] = 0.25, 0.25 + 1 / 255, 0.75
    same, nearly, other = reference.distances(image)
    assert same < nearly < 1 < other


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_handful_of_images_make_a_reference(number):
    statistics = drawn(0, number)
    found = make_reference(statistics, each(statistics)).distances(drawn(1, 3, 100.0))
    assert np.isfinite(found).all()
