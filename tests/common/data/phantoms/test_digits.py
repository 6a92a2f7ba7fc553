"""Specification of the digits that stand in for MNIST."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from common.data.phantoms import DIGITS, Phantoms, digits
from common.data.sources.arrays import open_idx


@pytest.fixture(scope="module")
def written() -> Phantoms:
    return digits(0, 2000, 28)


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


def test_image_i_shows_i_modulo_10(written: Phantoms) -> None:
    assert "".join(DIGITS) == "0123456789"
    np.testing.assert_array_equal(written.labels, np.arange(2000) % 10)


@pytest.mark.parametrize("model", [KNeighborsClassifier(3), LogisticRegression(max_iter=300)])
def test_a_simple_classifier_reads_them(written: Phantoms, model) -> None:
    others = digits(1, 500, 28)
    model.fit(flat(written.images), written.labels)
    assert model.score(flat(others.images), others.labels) > 0.95


def test_strokes_are_white_on_black_and_stay_off_the_border(written: Phantoms) -> None:
    assert written.images.max(axis=(1, 2, 3)).min() > 200
    assert np.median(written.images) == 0
    ink = (written.images > 64).mean(axis=(1, 2, 3))
    assert ink.min() > 0.02
    assert ink.max() < 0.4
    edge = np.concatenate(
        [written.images[:, [0, -1]].ravel(), written.images[:, :, [0, -1]].ravel()]
    )
    assert np.mean(edge > 64) < 1e-3


@pytest.mark.parametrize("digit", range(10))
def test_no_two_are_written_alike(written: Phantoms, digit: int) -> None:
    same = flat(written.images[written.labels == digit])
    assert same.std(axis=0).max() > 0.25


def test_who_learned_from_them_reads_much_of_mnist(shared_data, written: Phantoms) -> None:
    records = open_idx(shared_data / "mnist").splits["test"][:1000]
    images = np.stack([record.read().pixels for record in records])
    labels = np.array([record.label for record in records])
    model = KNeighborsClassifier(3).fit(flat(written.images), written.labels)
    assert model.score(flat(images), labels) > 0.6
