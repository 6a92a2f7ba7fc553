"""Small regions are removed, and validation says which are too small."""

import numpy as np
import pytest

from common.program.errors import UserError
from unet.decision import Decision
from unet.flags import UNetOptions
from unet.regions import best_smallest, without_small
from unet.segmented import Segmented
from unet.threshold import to_mask

RNG = np.random.default_rng(0)


def shares_of(mask):
    """Returns probabilities of 0.9 where a mask is, of 0.2 elsewhere."""
    foreground = np.where(mask, 0.9, 0.2).astype(np.float32)
    return np.stack([1 - foreground, foreground], -1)


def test_regions_of_fewer_pixels_become_background():
    mask = np.zeros((12, 12), bool)
    mask[0, 0] = mask[1, 1] = True  # two that touch at a corner
    mask[4:6, 4:6] = True
    mask[8:11, 8:11] = True
    shares = shares_of(mask)
    for smallest, left in ((0, 15), (1, 15), (2, 15), (3, 13), (4, 13), (5, 9), (10, 0)):
        cleaned = without_small(shares, 0.5, smallest)
        assert to_mask(cleaned, 0.5).sum() == left
        np.testing.assert_array_equal(cleaned[3, 3], shares[3, 3])
        np.testing.assert_allclose(cleaned.sum(-1), 1, rtol=1e-6)
    assert to_mask(without_small(shares, 0.1, 4), 0.1).all()  # all is one region


def test_the_best_size_has_the_best_mean_dice_of_patients():
    patients, found = ["a", "a", "b", "b", "c"], []
    for _ in patients:
        truth = np.zeros((24, 24), np.uint8)
        truth[4:12, 6:15] = 1
        noise = RNG.random(truth.shape) < 0.06
        predicted = noise | (truth > 0) & (RNG.random(truth.shape) < 0.9)
        found.append(Segmented(truth[..., None], truth, shares_of(predicted)))

    def dice(smallest):
        each = []
        for name in set(patients):
            own = [one for one, owner in zip(found, patients, strict=True) if owner == name]
            masks = np.stack([Decision(0.5, smallest).mask(one.probabilities) for one in own])
            truth = np.stack([one.truth for one in own])
            each.append(2 * (masks & truth).sum() / (masks.sum() + truth.sum()))
        return np.mean(each)

    best = best_smallest(found, patients, 0.5)
    sizes = [0, *(2**n for n in range(1, 13))]
    assert dice(best) == max(map(dice, sizes)) > dice(0)
    assert best == next(size for size in sizes if dice(size) == dice(best))


def test_nothing_is_removed_if_that_does_not_help():
    truth = np.zeros((8, 8), np.uint8)
    truth[2, 2] = truth[5, 5] = 1
    assert best_smallest([Segmented(truth[..., None], truth, shares_of(truth))], ["a"], 0.5) == 0


def test_a_size_is_a_number_or_chosen():
    assert str(Decision(0.4, 8)) == "threshold 0.4, without regions of fewer than 8 pixels"
    with pytest.raises(UserError, match="--smallest is 'few'; it must be a whole number"):
        UNetOptions(smallest="few")
