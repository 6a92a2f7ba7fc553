"""Measures of sets of images against references, closed forms and sets whose faults are known."""

from dataclasses import astuple
from functools import partial

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from common.program.errors import UserError
from gan.quality import measures
from gan.quality.measures import (
    disjoint_halves,
    frechet_distance,
    kernel_distance,
    manifold_scores,
    moments,
)

NAMES = ("precision", "recall", "density", "coverage")


def normal(seed, n, d, spread=1.0, shift=0.0):
    """Features that depend on each other, of unequal scales."""
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return spread * np.random.default_rng(seed).normal(size=(n, d)) @ mixing + shift


def modes(seed, n, number):
    """Features of n images, each of one of the first modes of eight that lie far apart."""
    rng = np.random.default_rng(seed)
    return 30 * np.eye(8)[rng.integers(number, size=n)] + rng.normal(size=(n, 8))


def frechet_by_roots(x, y):
    """Returns the distance by its formula, with the root of a matrix."""
    first, second = np.cov(x.T), np.cov(y.T)
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return shift + np.trace(first + second - 2 * sqrtm(first @ second).real)


def frechet_by_eigenvalues(x, y):
    """Returns it by S_x^(1/2) S_y S_x^(1/2), which is symmetric whatever its rank."""
    first, second = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return shift + np.trace(first + second) - 2 * overlap


def kernel_by_definition(x, y):
    m, n, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    apart_x, apart_y = (matrix[~np.eye(len(matrix), dtype=bool)] for matrix in (xx, yy))
    return apart_x.sum() / (m * (m - 1)) + apart_y.sum() / (n * (n - 1)) - 2 * xy.mean()


def manifolds_by_definition(real, generated, k):
    """The definitions of Naeem et al. on distances that no expansion of the square has rounded."""
    real_radii, generated_radii = (np.sort(cdist(x, x))[:, k] for x in (real, generated))
    distances = cdist(real, generated)
    in_real, in_generated = distances < real_radii[:, None], distances < generated_radii
    return (
        in_real.any(0).mean(),
        in_generated.any(1).mean(),
        in_real.sum(0).mean() / k,
        (distances.min(1) < real_radii).mean(),
    )


def scores(real, generated, k=5):
    return tuple(manifold_scores(real, generated, k))


class TestFrechetDistance:
    @pytest.mark.parametrize(("m", "n", "d"), [(300, 200, 30), (64, 64, 16)])
    def test_is_scipys_where_the_covariances_have_full_rank(self, m, n, d):
        x, y = normal(0, m, d), normal(1, n, d, spread=1.5, shift=0.2)
        assert frechet_distance(x, y) == pytest.approx(frechet_by_roots(x, y), rel=1e-9)

    @pytest.mark.parametrize(("m", "n", "d"), [(20, 30, 100), (12, 300, 50), (300, 12, 50)])
    def test_is_the_symmetric_forms_where_there_are_more_features_than_images(self, m, n, d):
        x, y = normal(0, m, d), normal(1, n, d, spread=1.5, shift=0.2)
        assert frechet_distance(x, y) == pytest.approx(frechet_by_eigenvalues(x, y), rel=1e-6)
        assert frechet_distance(x, y) == pytest.approx(frechet_by_roots(x, y), rel=1e-6)

    def test_closed_forms_of_any_rank(self):
        for n, d in ((10, 40), (40, 10)):
            x = normal(0, n, d)
            variance = x.var(0, ddof=1).sum()
            assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-12 * variance)
            assert frechet_distance(x, x + 3) == pytest.approx(9 * d, rel=1e-12)
            assert frechet_distance(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(
                4 * variance, rel=1e-12
            )
            empty = np.zeros_like(x)  # of the features that the other set has
            apart = np.hstack([x, empty]), np.hstack([empty, x])
            expected = 2 * (x.mean(0) ** 2).sum() + 2 * variance
            assert frechet_distance(*apart) == pytest.approx(expected, rel=1e-12)

    def test_a_reference_sets_moments_stand_for_it(self):
        for n in (20, 100):
            x, y = normal(0, n, 40), normal(1, 50, 40)
            kept = moments(x)
            assert kept.root.shape == (min(n, 40), 40)
            np.testing.assert_allclose(kept.root.T @ kept.root, np.cov(x.T), atol=1e-12)
            assert frechet_distance(kept, y) == frechet_distance(x, y)
            assert frechet_distance(y, kept) == pytest.approx(frechet_distance(x, y), rel=1e-12)

    def test_single_precision_features_far_from_the_origin_lose_nothing(self):
        x, y = (normal(seed, 60, 20, shift=1000).astype(np.float32) for seed in (0, 1))
        expected = frechet_by_roots(x.astype(np.float64), y.astype(np.float64))
        assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


class TestKernelDistance:
    @pytest.mark.parametrize(("m", "n", "d"), [(50, 50, 10), (30, 80, 100), (3, 4, 2)])
    def test_is_its_definition(self, m, n, d):
        x, y = normal(0, m, d, shift=1), normal(1, n, d, spread=1.2, shift=1)
        assert kernel_distance(x, y).value == pytest.approx(kernel_by_definition(x, y), rel=1e-9)

    def test_its_standard_error_is_the_jackknifes(self):
        x, y = normal(0, 12, 5), normal(1, 9, 5, spread=1.5)
        variance = 0.0
        for n, without in (
            (12, [kernel_by_definition(np.delete(x, i, 0), y) for i in range(12)]),
            (9, [kernel_by_definition(x, np.delete(y, i, 0)) for i in range(9)]),
        ):
            variance += (n - 1) * np.var(without)
        found = kernel_distance(x, y).standard_error
        assert found == pytest.approx(np.sqrt(variance), rel=1e-9)

    @pytest.mark.parametrize(("shift", "excess"), [(0.0, np.sqrt(2)), (0.7, 1.0)])
    def test_it_is_unbiased_and_its_standard_error_is_as_stated(self, shift, excess):
        """Of normal features in one dimension the distance is known, a sum over moments."""
        rng = np.random.default_rng(0)
        drawn = [
            astuple(kernel_distance(rng.normal(size=(60, 1)), shift + rng.normal(size=(40, 1))))
            for _ in range(600)
        ]
        values, errors = np.array(drawn).T
        means = np.array([shift, 1 + shift**2, 3 * shift + shift**3])  # E y, E y^2, E y^3
        truth = ((means - [0, 1, 0]) ** 2 * [3, 3, 1]).sum()
        spread = values.std()
        assert abs(values.mean() - truth) < 3 * spread / np.sqrt(len(values))
        assert np.sqrt((errors**2).mean()) / spread == pytest.approx(excess, rel=0.12)


class TestManifoldScores:
    @pytest.mark.parametrize("k", [1, 3, 5])
    @pytest.mark.parametrize(("m", "n", "d"), [(100, 150, 4), (200, 60, 64)])
    def test_are_their_definitions(self, m, n, d, k):
        x, y = normal(0, m, d), normal(1, n, d, shift=0.2)
        expected = manifolds_by_definition(x, y, k)
        assert all(value > 0 for value in expected)
        assert scores(x, y, k) == pytest.approx(expected, rel=1e-14)

    def test_are_those_of_the_prdc_package(self):
        compute_prdc = pytest.importorskip("prdc").compute_prdc
        for n, d in ((200, 8), (150, 256)):
            x, y = normal(0, 180, d), normal(1, n, d, shift=0.1)
            expected = compute_prdc(x, y, nearest_k=5)
            assert scores(x, y) == pytest.approx([expected[name] for name in NAMES], rel=1e-14)

    def test_float32_features_far_from_the_origin_are_told_apart(self):
        x, y = (normal(seed, 100, 8, shift=1e4).astype(np.float32) for seed in (0, 1))
        assert scores(x, y) == pytest.approx(manifolds_by_definition(x, y, 5), rel=1e-14)

    def test_copies_of_all_real_images_score_1_and_the_edge_of_a_ball_is_outside(self):
        """Each copy lies at the very edge of the balls whose k-th neighbour its original is."""
        for d in (2, 300):
            x = normal(0, 333, d, shift=100)
            assert scores(x, x[np.random.default_rng(0).permutation(333)]) == (1, 1, 1, 1)

    def test_where_images_repeat_balls_without_extent_are_empty(self):
        x, y = normal(0, 50, 300), normal(1, 50, 300)
        same = np.repeat(x[:5], 10, axis=0)
        assert scores(same, same) == (0, 0, 0, 0)
        collapsed = np.repeat(x[:1], 50, axis=0)
        precision, recall, density, coverage = scores(x, collapsed)
        assert precision == 1 and recall == 0 and density >= 1 / 5 and 1 / 50 <= coverage < 1
        assert scores(np.zeros((9, 2)), np.zeros((9, 2))) == (0, 0, 0, 0)
        assert scores(same, y)[0] == 0

    def test_of_two_real_sets_are_as_published(self):
        """Naeem et al. (2020), section 3.3: density 1 and coverage 1 - 2^-k."""
        found = [scores(normal(i, 200, 16), normal(i + 100, 200, 16), 3) for i in range(20)]
        _, _, density, coverage = np.mean(found, axis=0)
        assert density == pytest.approx(1, abs=0.05)
        assert coverage == pytest.approx(1 - 2**-3, abs=0.02)

    @pytest.mark.parametrize("k", [0, -1])
    def test_no_neighbour_is_refused(self, k):
        with pytest.raises(ValueError, match="k is"):
            manifold_scores(normal(0, 9, 2), normal(1, 9, 2), k)


class TestKnownFaults:
    """What each measure says of sets that are wrong in one known way."""

    real = modes(0, 240, 4)

    def test_another_real_set_lies_at_the_floor_and_a_wrong_one_above(self):
        x, y, wrong = normal(0, 800, 16), normal(1, 400, 16), normal(1, 400, 16, spread=1.3)
        halves = [disjoint_halves([str(i) for i in range(800)], seed) for seed in range(5)]
        for measure in (frechet_distance, lambda a, b: 1 - manifold_scores(a, b).coverage):
            best = [measure(x[first], x[second]) for first, second in halves]
            assert measure(x[:400], y) < 1.3 * np.mean(best)
            assert measure(x[:400], wrong) > 2 * np.max(best)
        first, second = halves[0]
        for estimate in (kernel_distance(x[:400], y), kernel_distance(x[first], x[second])):
            assert abs(estimate.value) < 2 * estimate.standard_error
        estimate = kernel_distance(x[:400], wrong)
        assert estimate.value > 3 * estimate.standard_error

    def test_all_but_recall_become_worse_with_noise(self):
        real, found = normal(0, 240, 8), []
        for noise in (0, 0.5, 1, 2):
            generated = normal(1, 240, 8) + noise * np.random.default_rng(2).normal(size=(240, 8))
            precision, _, density, coverage = scores(real, generated)
            distances = frechet_distance(real, generated), kernel_distance(real, generated).value
            found.append((1 - precision, 1 - density, 1 - coverage, *distances))
        assert (np.diff(found, axis=0) > 0).all()

    def test_missing_modes_cost_recall_and_coverage_but_no_precision(self):
        whole, half = (scores(self.real, modes(1, 240, number)) for number in (4, 2))
        assert half[0] > whole[0] - 0.05 and half[2] > whole[2] - 0.15
        share = (self.real[:, :2] > 15).any(1).mean()
        assert half[1] == pytest.approx(share * whole[1], abs=0.05)
        assert half[3] == pytest.approx(share * whole[3], abs=0.05)
        for measure in (frechet_distance, lambda a, b: kernel_distance(a, b).value):
            dropped, kept = (measure(self.real, modes(1, 240, number)) for number in (2, 4))
            assert dropped > 10 * abs(kept)

    def test_invented_modes_cost_precision_and_density_but_no_recall(self):
        good = modes(1, 240, 4)
        whole, more = (scores(self.real, x) for x in (good, np.vstack([good, 30 + good])))
        assert more[0] == whole[0] / 2 and more[2] == whole[2] / 2
        assert more[1] == whole[1] and more[3] == whole[3]

    def test_repeating_a_few_good_images_costs_recall_and_coverage_but_no_precision(self):
        fresh = modes(1, 240, 4)
        few = np.repeat(fresh[::20], 20, axis=0)
        few += 1e-3 * np.random.default_rng(2).normal(size=few.shape)
        whole, poor = (scores(self.real, x) for x in (fresh, few))
        assert poor[0] > 0.7 and poor[1] == 0 and poor[3] < 0.5 * whole[3]

    def test_one_odd_real_image_flatters_precision_more_than_density(self):
        generated = modes(1, 240, 4) + 30
        assert scores(self.real, generated)[0] == 0
        with_odd = np.vstack([self.real, np.full((1, 8), 50.0)])
        precision, _, density, coverage = scores(with_odd, generated)
        assert precision == 1 and density == pytest.approx(1 / 5) and coverage == 1 / 241

    def test_as_many_of_each_mode_by_design_pull_the_kernel_distance_below_0(self):
        first, second = (
            30 * np.eye(8)[np.arange(240) % 4] + np.random.default_rng(seed).normal(size=(240, 8))
            for seed in (0, 1)
        )
        whole, one = kernel_distance(first, second), kernel_distance(first[::4], second[::4])
        assert whole.value < -4 * whole.standard_error
        assert abs(one.value) < 2 * one.standard_error


class TestDisjointHalves:
    def test_no_owner_is_in_both_and_they_are_about_equal(self):
        owners = np.repeat([f"patient {i}" for i in range(30)], np.arange(30) + 1)
        for seed in range(10):
            first, second = disjoint_halves(owners.tolist(), seed)
            assert sorted([*first, *second]) == list(range(len(owners)))
            assert not set(owners[first]) & set(owners[second])
            assert abs(len(first) - len(second)) <= 2

    def test_are_a_function_of_the_seed(self):
        owners = [str(i) for i in range(40)]
        drawn = [disjoint_halves(owners, seed)[0].tolist() for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]
        assert set(drawn[0]) & set(drawn[2]), "they overlap as random halves do"

    def test_one_owner_has_no_halves(self):
        with pytest.raises(ValueError, match="have one owner"):
            disjoint_halves(["a", "a"], 0)


@pytest.mark.parametrize(
    ("measure", "least"),
    [
        (frechet_distance, 2),
        (kernel_distance, 3),
        (manifold_scores, 6),
        (partial(manifold_scores, k=2), 3),
    ],
)
class TestEveryMeasure:
    def test_too_few_images_are_refused_and_just_enough_are_not(self, measure, least):
        x, y = normal(0, least, 4), normal(1, 10, 4)
        for pair in ((x, y), (y, x)):
            measure(*pair)
        for pair in ((x[1:], y), (y, x[1:])):
            with pytest.raises(
                UserError, match=f"has {least - 1} images?, .* needs {least} or more"
            ):
                measure(*pair)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_features_that_are_not_finite_are_refused(self, measure, least, value):
        x, y = normal(0, 10, 4), normal(1, 10, 4)
        y[[2, 7], 3] = value
        with pytest.raises(UserError, match="2 of 10 images have features that are not finite"):
            measure(x, y)

    def test_features_of_two_networks_are_refused(self, measure, least):
        with pytest.raises(UserError, match="have 4 features and generated ones 1;"):
            measure(normal(0, 10, 4), normal(1, 10, 1))

    def test_neither_the_order_nor_the_blocks_of_images_matter(self, measure, least, monkeypatch):
        x, y = normal(0, 50, 4), normal(1, 40, 4, spread=1.2)
        whole = measure(x, y)
        monkeypatch.setattr(measures, "_ROWS", 7)
        parts, turned = measure(x, y), measure(x[::-1], y[::-1])
        for other in (parts, turned):
            if isinstance(whole, tuple):
                assert other == pytest.approx(whole, rel=1e-12)
            elif isinstance(whole, float):
                assert other == pytest.approx(whole, rel=1e-9)
            else:
                assert astuple(other) == pytest.approx(astuple(whole), rel=1e-9)
