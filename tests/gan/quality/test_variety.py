"""Pairs of generated images beside pairs of real ones, class by class."""

import numpy as np
import pytest

from gan.quality.figures import ALL
from gan.quality.reference import Reference
from gan.quality.variety import Diversity, Pairs, measures_of_pairs
from tests.memory_split import split_of

LABELS = np.array([0] * 6 + [1] * 6 + [2])


def images_of(labels, seed):
    """Returns images of noise."""
    size = (len(labels), 16, 16, 1)
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def pairs_of(classes, measures):
    real = images_of(LABELS, 0)
    examples = [{"image": image, "label": label} for image, label in zip(real, LABELS, strict=True)]
    rows = np.arange(len(LABELS))
    owners = tuple(map(str, rows))
    reference = Reference("train", rows, LABELS, owners, classes, {}, {})
    return Pairs(split_of(examples), reference, measures), real


def deviation(units):
    return float(units.std(0).mean())


def test_a_share_is_of_the_difference():
    assert Diversity("lpips", 0.1, 0.4).share == 0.25
    assert Diversity("ms_ssim", 0.8, 0.2).share == pytest.approx(0.25)
    assert Diversity("ms_ssim", 1.0, 0.2).share == 0


def test_each_class_is_compared_with_its_own_real_images():
    """Class B repeats one picture; class C, of one real image, has no pairs."""
    pairs, real = pairs_of(("A", "B", "C"), {"deviation": deviation})
    made = images_of(LABELS, 1)
    made[6:12] = made[6]
    found = pairs.compare(made, LABELS)
    assert set(found) == {"A", "B"}
    (of_a,), (of_b,) = found["A"], found["B"]
    assert of_a.generated == pytest.approx(deviation(made[:6] / np.float32(255)))
    assert of_a.real == pytest.approx(deviation(real[:6] / np.float32(255)))
    assert of_b.generated < 1e-6 and of_b.real > 0.1


def test_without_classes_all_images_are_one():
    pairs, _ = pairs_of((), {"deviation": deviation})
    assert set(pairs.compare(images_of(LABELS, 1), np.zeros(len(LABELS), int))) == {ALL}


def test_equal_images_have_an_ms_ssim_of_one():
    pairs, _ = pairs_of(("A", "B", "C"), {"ms_ssim": measures_of_pairs(16)["ms_ssim"]})
    made = images_of(LABELS, 1)
    made[:] = made[0]
    assert pairs.compare(made, LABELS)["A"][0].share == pytest.approx(0, abs=1e-5)


def test_images_too_small_for_a_measure_do_without_it():
    assert "ms_ssim" not in measures_of_pairs(10) and measures_of_pairs(1) == {}
