"""--average: what a network finds in an image does not change when a view becomes the image."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from classify.export import _model
from classify.inference import load_inference
from common.networks.views import views_of
from common.program.errors import UserError
from configs import small_cnn_chest_xray, unet_brain_mri
from tests.untrained import untrained
from unet.flags import UNetOptions
from unet.segment import load_windows, segment

SIZE = 16
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = small_cnn_chest_xray.get_config("tiny").unlock()
    config.model.network.width = 4
    config.data.update(image_size=SIZE, num_phantoms=12)
    return untrained(config.lock(), tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    config = unet_brain_mri.get_config("tiny").unlock()
    config.model.update(depth=2, width=4)
    config.data.update(image_size=SIZE, num_phantoms=12)
    return untrained(config.lock(), tmp_path_factory.mktemp("segmenter"))


def test_all_combinations_of_views_are_taken():
    images = jnp.asarray(RNG.random((2, 32, 32, 1)))
    assert [len(views_of(images, x)) for x in ("", "mirror", "flip,mirror", "scale,flip")] == [
        *(1, 2, 4, 6)
    ]
    own, mirrored, flipped, both = views_of(images, "mirror,flip")
    np.testing.assert_array_equal(own, images)
    np.testing.assert_array_equal(mirrored, images[:, :, ::-1])
    np.testing.assert_array_equal(flipped, images[:, ::-1])
    np.testing.assert_array_equal(both, images[:, ::-1, ::-1])


def test_the_middle_is_magnified_and_stays_in_the_middle():
    ramp = jnp.broadcast_to(jnp.arange(64.0)[:, None], (1, 64, 64))[..., None]
    _, *scaled = views_of(ramp, "scale")
    for view, magnified in zip(scaled, (64 / 60, 64 / 56), strict=True):
        assert view.shape == ramp.shape
        inside = np.asarray(view)[0, 2:-2, 5, 0]
        np.testing.assert_allclose(np.diff(inside), 1 / magnified, rtol=1e-4)
        assert inside.mean() == pytest.approx(31.5, abs=1e-3)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (24, 40)], ids=["one window", "several"])
def test_a_mirrored_image_gives_the_mirrored_mask(segmenter, shape):
    image = RNG.integers(0, 256, (*shape, segmenter.card.channels), np.uint8)
    windows, plain = (load_windows(segmenter, average=x)[0] for x in ("mirror,flip", ""))
    for turned in (np.s_[:, ::-1], np.s_[::-1]):
        found, other = segment([image, image[turned]], windows)
        np.testing.assert_allclose(other, found[turned], atol=1e-6)
        found, other = segment([image, image[turned]], plain)
        assert np.abs(other - found[turned]).max() > 1e-3


def test_a_mirrored_image_has_the_same_class(classifier):
    images = RNG.integers(0, 256, (4, SIZE, SIZE, classifier.card.channels), np.uint8)
    every = load_inference(classifier, "mirror,flip,scale")[0]
    logits = every.logits(images)
    for turned in (images[:, :, ::-1], images[:, ::-1]):
        np.testing.assert_allclose(every.logits(turned), logits, atol=1e-6)
    plain, mirror, scale = (
        load_inference(classifier, x)[0].logits(images) for x in ("", "mirror", "scale")
    )
    assert np.abs(mirror - plain).max() > 1e-4 and np.abs(scale - plain).max() > 1e-4


def test_what_an_evaluation_averaged_over_predictions_and_exports_average_over(classifier):
    images = RNG.integers(0, 256, (4, SIZE, SIZE, classifier.card.channels), np.uint8)
    file = classifier.workdir / "evaluation" / "evaluation.json"
    file.parent.mkdir()
    report = {"checkpoint_step": 1, "average": "mirror", "temperature": 2.0}
    file.write_text(json.dumps(report))
    expected = load_inference(classifier, "mirror")[0].logits(images)
    np.testing.assert_array_equal(load_inference(classifier)[0].logits(images), expected)
    shares = _model(classifier).function(jnp.asarray(images))
    np.testing.assert_allclose(
        np.log(shares[:, 0] / shares[:, 1]),
        (expected[:, 0] - expected[:, 1]) / 2,
        atol=1e-4,
    )
    del report["average"]  # as an earlier version wrote it
    file.write_text(json.dumps(report))
    plain = load_inference(classifier, "")[0].logits(images)
    np.testing.assert_array_equal(load_inference(classifier)[0].logits(images), plain)


def test_an_unknown_view_is_refused():
    with pytest.raises(UserError, match="--average is 'turn'; it must be '' or some of mirror"):
        UNetOptions(average="turn")
