"""Tests of memorisation: closed forms, brute force, generators known to copy and known not to."""

from dataclasses import astuple, replace
from math import comb

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from common.data.phantoms import KINDS
from common.program.errors import UserError
from gan.quality import measures
from gan.quality.measures import Estimate
from gan.quality.memorization import (
    LEVEL,
    membership_auc,
    memorization,
    nearest,
    precedence_p_value,
    ratios,
    repeating,
    suspicious_picture,
    verdict,
)

N, M, G, D = 300, 60, 200, 8


def real(rng, n, d=D):
    """Features of new patients: two groups of unequal spread, features of unequal scales."""
    spread = np.where(rng.random((n, 1)) < 0.3, 0.4, 1.0)
    return spread * rng.normal(size=(n, d)) * np.linspace(0.5, 2, d) + 3 * (spread < 1)


def copies(rng, training, n, noise=0.0):
    chosen = training[rng.integers(len(training), size=n)]
    return chosen + noise * rng.normal(size=chosen.shape)


def flagged(generator, seeds, m=M, g=G):
    """Returns the share of seeds of which a generator, made of a training set, is flagged."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        training, held_out = real(rng, N), real(rng, m)
        found.append(memorization(generator(rng, training, g), training, held_out).memorized)
    return np.mean(found)


def example(seed=0, copied=0):
    rng = np.random.default_rng(seed)
    training, held_out, generated = real(rng, N), real(rng, M), real(rng, G)
    generated[:copied] = training[:copied]
    return generated, training, held_out


class TestNearest:
    @pytest.mark.parametrize("d", [1, 5, 300])
    def test_is_brute_force(self, d):
        x, y = np.random.default_rng(0).normal(size=(2, 80, d))
        distances, rows = nearest(x[:50], y)
        apart = cdist(x[:50], y)
        np.testing.assert_array_equal(rows, apart.argmin(1))
        np.testing.assert_allclose(distances, apart.min(1), rtol=1e-13)

    def test_excluding_self_an_image_is_no_neighbour_of_its_own_but_its_copy_is(self, monkeypatch):
        monkeypatch.setattr(measures, "_ROWS", 7)
        x = np.random.default_rng(0).normal(size=(30, 3))
        x[20] = x[3]
        apart = cdist(x, x) + np.diag(np.full(30, np.inf))
        distances, rows = nearest(x, x, excluding_self=True)
        np.testing.assert_array_equal(rows, apart.argmin(1))
        np.testing.assert_allclose(distances, apart.min(1), rtol=1e-13)
        assert rows[3] == 20 and rows[20] == 3 and distances[3] == 0
        with pytest.raises(ValueError, match="29 and 30 images are not one set"):
            nearest(x[1:], x, excluding_self=True)

    def test_copies_are_at_0_whatever_rounding_does(self):
        x = (1000 + np.random.default_rng(0).normal(size=(50, 99))).astype(np.float32)
        distances, rows = nearest(x[::-1], x)
        assert (distances == 0).all() and (rows == np.arange(50)[::-1]).all()


class TestRatios:
    @pytest.mark.parametrize("n", [5, 10, 80])
    def test_are_their_definition_also_of_fewer_than_ten_training_images(self, n):
        x, y = np.random.default_rng(0).normal(size=(2, 80, 4))
        near = np.sort(cdist(x, y[:n]), 1)[:, :10]
        np.testing.assert_allclose(ratios(x, y[:n]), near[:, 0] / near.mean(1), rtol=1e-12)

    def test_closed_forms(self):
        line = np.arange(1.0, 21)[:, None]
        assert ratios(np.zeros((1, 1)), line) == pytest.approx(1 / 5.5)
        assert ratios(np.zeros((1, 30)), 7 * np.eye(30)) == pytest.approx(1)

    def test_a_copy_is_0_even_if_all_training_images_are_the_same(self):
        same = np.full((20, 3), 0.1)
        assert ratios(same[:2], same).tolist() == [0, 0]
        assert ratios(same[:2] + 1, same) == pytest.approx(1)


class TestPValue:
    @pytest.mark.parametrize(("g", "m", "rank"), [(200, 60, 3), (20, 20, 1), (37, 119, 6)])
    def test_is_the_sum_of_the_negative_hypergeometric_distribution(self, g, m, rank):
        ways = [comb(k + rank - 1, k) * comb(m - rank + g - k, g - k) for k in range(g + 1)]
        assert sum(ways) == comb(m + g, g)
        for k in range(g + 1):
            expected = sum(ways[k:]) / comb(m + g, g)
            assert precedence_p_value(k, g, m) == pytest.approx(expected, rel=1e-9)

    def test_a_new_image_is_suspicious_with_a_chance_of_5_percent_or_what_is_next_below(self):
        for m in (20, 60, 99, 139):
            assert 0.05 - 1 / (m + 1) < precedence_p_value(1, 1, m) <= 0.05 + 1e-12


class TestCalibration:
    def test_under_every_level_lies_at_most_this_share_of_sets_of_new_images(self):
        p = np.array([memorization(*example(seed)).p_value for seed in range(150)])
        assert (p < LEVEL).mean() < 0.05
        for level in (0.05, 0.2, 0.5):
            assert level / 4 < (p < level).mean() < level + 3 * np.sqrt(level * (1 - level) / 150)

    @pytest.mark.parametrize(("m", "g"), [(100, 100), (20, 20)])
    def test_new_images_are_rarely_flagged(self, m, g):
        assert flagged(lambda rng, _, g: real(rng, g), 100, m, g) < 0.05

    @pytest.mark.parametrize("noise", [0, 0.1])
    def test_copies_are_always_flagged(self, noise):
        assert flagged(lambda rng, x, g: copies(rng, x, g, noise), 100) == 1

    def test_so_are_copies_when_few_images_are_held_out_and_few_generated(self):
        assert flagged(copies, 50, m=20, g=20) == 1

    @pytest.mark.parametrize("noise", [0, 0.02])
    def test_so_is_a_generator_of_which_a_fifth_are_copies(self, noise):
        def fifth(rng, training, g):
            return np.vstack([copies(rng, training, g // 5, noise), real(rng, g - g // 5)])

        assert flagged(fifth, 100) == 1

    @pytest.mark.parametrize("noise", [0, 0.02])
    def test_so_is_a_generator_of_which_a_twentieth_are_copies(self, noise):
        def twentieth(rng, training, g):
            return np.vstack([copies(rng, training, g // 20, noise), real(rng, g - g // 20)])

        assert flagged(twentieth, 30) == 1

    def test_new_images_of_few_dimensions_are_no_copies(self):
        rng = np.random.default_rng(0)
        sets = (rng.normal(size=(3, 300, 5)) for _ in range(30))
        assert not any(memorization(*some).copied for some in sets)

    def test_images_of_less_spread_are_no_copies_though_near_to_training_images(self):
        """Blurred images lie in the midst of all."""

        def blurred(rng, training, g):
            return training.mean(0) + 0.6 * (real(rng, g) - training.mean(0))

        assert flagged(blurred, 60) < 0.05

    def test_training_images_that_are_there_twice_hide_no_copies_of_theirs(self):
        def twice(rng, training, g):
            training[N // 2 :] = training[: N // 2]
            return copies(rng, training, g, noise=0.02)

        assert flagged(twice, 30) == 1

    def test_more_training_images_than_held_out_ones_flag_nothing(self):
        rng = np.random.default_rng(0)
        found = [memorization(real(rng, 100), real(rng, 1000), real(rng, 20)) for _ in range(15)]
        assert sum(x.memorized for x in found) <= 1


class TestMemorization:
    def test_figures_are_their_definitions(self):
        generated, training, held_out = example(copied=30)
        found = memorization(generated, training, held_out)
        own, unseen = ratios(generated, training), ratios(held_out, training)
        assert (found.training, found.held_out, found.generated) == (N, M, G)
        assert found.threshold == pytest.approx(np.sort(unseen)[2], rel=1e-12)
        assert found.suspicious == (own < np.sort(unseen)[2]).sum() >= 30
        assert found.copies == (own < np.sort(unseen)[2] / 3).sum()
        assert found.p_value == precedence_p_value(found.suspicious, G, M)
        assert found.median == pytest.approx(np.median(own), rel=1e-12)
        assert found.median_held_out == pytest.approx(np.median(unseen), rel=1e-12)
        apart = np.sort(cdist(training, training), 1)[:, 1]
        for images, share in (
            (generated, found.authenticity),
            (held_out, found.authenticity_held_out),
        ):
            to_training = cdist(images, training)
            expected = to_training.min(1) > apart[to_training.argmin(1)]
            assert share == expected.mean()

    @pytest.mark.parametrize(("d", "reflexive"), [(1, 2 / 3), (2, 0.6215)])
    def test_authenticity_of_new_images_is_the_chance_that_neighbours_are_not_mutual(
        self, d, reflexive
    ):
        """Pickard, "Isolated nearest neighbors" (1982): 6 pi / (8 pi + 3^(3/2)) in the plane."""
        new, training, held_out = np.random.default_rng(0).random((3, 2000, d))
        found = memorization(new, training, held_out)
        assert found.authenticity == pytest.approx(1 - reflexive, abs=0.035)
        assert found.authenticity_held_out == pytest.approx(1 - reflexive, abs=0.035)
        assert memorization(training, training, held_out).authenticity == 0

    def test_pairs_are_the_nearest_one_of_each_training_image(self):
        generated, training, held_out = example()
        generated[[5, 50, 100]] = training[[7, 7, 9]]
        found = memorization(generated, training, held_out)
        assert [pair[:2] for pair in found.pairs[:2]] in ([(5, 7), (100, 9)], [(50, 7), (100, 9)])
        values = [pair.ratio for pair in found.pairs]
        assert values[:2] == [0, 0] and values == sorted(values) and len(values) == 8
        assert len({pair.training for pair in found.pairs}) == 8
        for pair in found.pairs:
            assert pair.training == cdist(generated[[pair.generated]], training).argmin()
            assert pair.held_out == cdist(generated[[pair.generated]], held_out).argmin()

    def test_neither_scale_nor_origin_nor_order_nor_blocks_matter(self, monkeypatch):
        sets = example(copied=30)
        found = memorization(*sets)
        monkeypatch.setattr(measures, "_ROWS", 7)
        moved = memorization(*(1e-3 * x + 5 for x in sets))
        generated, training, held_out = sets
        turned = memorization(generated, training[::-1], held_out[::-1])
        for other in (moved, turned):
            for name in ("threshold", "median", "median_held_out"):
                assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-6)
            for name in ("suspicious", "p_value", "authenticity", "authenticity_held_out"):
                assert getattr(other, name) == getattr(found, name)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_too_few_or_unusable_images_are_refused(self, place):
        names, sets = ("generated", "training", "held-out"), list(example())
        sets[place] = sets[place][:20]
        memorization(*sets)
        sets[place] = sets[place][:19]
        with pytest.raises(UserError, match=f"19 {names[place]} images are too few to tell"):
            memorization(*sets)
        sets = list(example())
        sets[place][[3, 4], 1] = np.nan
        with pytest.raises(UserError, match=r"2 of \d+ images have features that are not finite"):
            memorization(*sets)
        if place != 1:
            sets[place] = sets[place][:, :3]
            with pytest.raises(UserError, match=f"have 8 features and {names[place]} ones 3;"):
                memorization(*sets)


class TestMembershipAUC:
    def test_closed_forms(self):
        low, high = np.arange(4.0), np.arange(10.0, 15)
        assert membership_auc(high, low) == Estimate(1.0, 0.0)
        assert membership_auc(low, high) == Estimate(0.0, 0.0)
        assert membership_auc(np.zeros(5), np.zeros(4)).value == 0.5
        assert membership_auc(np.array([1.0, 2.0]), np.array([1.0, 0.0])).value == 3.5 / 4

    def test_is_the_share_of_pairs_and_scikit_learns(self):
        from sklearn.metrics import roc_auc_score

        rng = np.random.default_rng(0)
        x, y = rng.integers(1, 12, 90).astype(np.float32), rng.integers(0, 10, 40).astype(float)
        pairs = (x[:, None] > y).mean() + (x[:, None] == y).mean() / 2
        found = membership_auc(x, y).value
        assert found == pytest.approx(pairs, rel=1e-14)
        assert found == pytest.approx(roc_auc_score([1] * 90 + [0] * 40, np.r_[x, y]), rel=1e-14)

    def test_its_standard_error_without_signal_is_mann_and_whitneys(self):
        found = membership_auc(np.zeros(70), np.zeros(30))
        assert found.standard_error == pytest.approx(np.sqrt(101 / (12 * 70 * 30)), rel=1e-12)

    @pytest.mark.parametrize(("n", "m"), [(80, 20), (20, 80)])
    def test_its_standard_error_is_the_spread_of_scores_that_are_exponential(self, n, m):
        """Of these the formula is exact; which set is the larger matters, by a factor of 1.4."""
        rng = np.random.default_rng(0)
        drawn = [
            astuple(membership_auc(rng.exponential(6, n), rng.exponential(1, m)))
            for _ in range(800)
        ]
        values, errors = np.array(drawn).T
        assert values.mean() == pytest.approx(6 / 7, abs=0.01)
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.08)

    def test_no_scores_and_scores_that_are_not_finite_are_refused(self):
        with pytest.raises(UserError, match="0 training and 3 held-out images"):
            membership_auc(np.zeros(0), np.zeros(3))
        with pytest.raises(UserError, match="for 2 of 5 real images are not finite"):
            membership_auc(np.array([0, np.nan]), np.array([np.inf, 1, 2]))


class TestVerdict:
    fine, bad = memorization(*example()), memorization(*example(copied=60))

    def test_no_sign(self):
        found = verdict({"pixels": self.fine, "VGG16": replace(self.fine, suspicious=1)})
        count, p = self.fine.suspicious, self.fine.p_value
        assert found == (
            f"No sign of memorisation: {count} of 200 generated images are as near to a training"
            f" image as only 5 % of new patients' are (pixels: p = {p:.2g}, significant from 33),"
            f" 1 of 200 (VGG16: p = {p:.2g}, significant from 33)."
        )

    def test_one_flagged_space_is_enough_and_only_it_is_reported(self):
        found = verdict({"pixels": self.fine, "VGG16": self.bad}, Estimate(0.9, 0.02))
        assert found.startswith(
            f"The generator repeats training images: {self.bad.suspicious} of 200 generated images"
            " are as near to a training image as only 5 % of new patients' are (VGG16:"
            f" {self.bad.copies} of them copied; p = "
        )
        assert "pixels" not in found
        assert found.endswith(
            "; the discriminator tells training images from held-out ones (AUC 0.90 ± 0.02)."
        )

    def test_the_number_from_which_on_it_is_a_sign_is_right(self):
        told = verdict({"pixels": self.fine})
        least = int(told.split("significant from ")[1].split(")")[0])
        assert precedence_p_value(least, G, M) < LEVEL <= precedence_p_value(least - 1, G, M)

    def test_the_level_is_shared_among_spaces(self):
        close = replace(self.fine, p_value=0.6 * LEVEL)
        assert close.memorized and repeating({"pixels": close}) == ("pixels",)
        assert repeating({"pixels": close, "VGG16": self.fine}) == ()
        assert repeating({"pixels": close, "VGG16": self.bad}) == ("VGG16",)

    def test_the_discriminator_decides_nothing(self):
        knowing = verdict({"pixels": self.fine}, Estimate(1.0, 0.0))
        assert knowing.startswith("No sign") and "discriminator tells training" in knowing
        assert "does not tell" in verdict({"pixels": self.fine}, Estimate(0.54, 0.03))

    def test_it_is_one_sentence_and_one_image_is(self):
        one = verdict({"pixels": replace(self.fine, suspicious=1)}, Estimate(0.5, 0.1))
        assert "1 of 200 generated images is as near" in one and "\n" not in one

    def test_no_space_is_refused(self):
        with pytest.raises(ValueError, match="no feature space"):
            verdict({})


class TestPhantoms:
    images = KINDS["covid_ct"].draw(0, 260, 32).images
    training, held_out, new = images[:150], images[150:200], images[200:]

    def measure(self, generated):
        return memorization(
            *(x.reshape(len(x), -1) / 255 for x in (generated, self.training, self.held_out))
        )

    def test_noisy_copies_of_drawn_lungs_are_found_and_new_ones_are_not(self):
        assert not self.measure(self.new).memorized
        noise = np.random.default_rng(0).normal(scale=8, size=self.new.shape)
        copied = np.clip(self.training[: len(self.new)] + noise, 0, 255).astype(np.uint8)
        found = self.measure(copied)
        assert found.memorized and found.authenticity < 0.1 < found.authenticity_held_out
        assert all(pair.generated == pair.training for pair in found.pairs)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_picture_shows_each_pair_in_a_column(self, channels):
        sets = [x.repeat(channels, -1) for x in (self.new, self.training, self.held_out)]
        found = self.measure(self.new)
        picture = suspicious_picture(found, *sets)
        tiles = picture[-3 * 66 :, : 8 * 66]  # 64 pixels and a gap of 2
        for column, pair in enumerate(found.pairs):
            for row, (images, number) in enumerate(zip(sets, pair[:3], strict=True)):
                tile = tiles[row * 66 : row * 66 + 64, column * 66 + 2 : column * 66 + 66]
                np.testing.assert_array_equal(tile[::2, ::2], images[number])

    def test_a_picture_of_a_single_pair_still_has_room_for_its_title(self):
        same = np.repeat(self.new[:1], 30, axis=0)
        found = self.measure(same)
        assert len(found.pairs) == 1
        picture = suspicious_picture(found, same, self.training, self.held_out)
        dark = (picture[:40] < 128).any((0, 2)).nonzero()[0]
        assert 300 < dark.max() < picture.shape[1] - 2
