"""Images of any size: windows show no seams, and neither batch nor neighbours change a result."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.networks.unet import UNet
from configs.unet_brain_mri import get_config
from unet.config import UNetSettings
from unet.segment import Windows, segment
from unet.state import make_segmenter

SIZE = 16
CLASSES = ("background", "tumour")
CARD = DataCard("test", ("a",), {"train": 8}, SIZE, 3, "0", False, 0, mask_classes=CLASSES)
RNG = np.random.default_rng(0)


class Pointwise(UNet):
    """Its logit at a pixel is that of the pixel's first channel, wherever the pixel is."""

    @nn.compact
    def __call__(self, images, *, train):
        self.param("unused", nn.initializers.zeros_init(), (1,))
        return 8 * images[..., :1] - 4


def segmenter_of(network=None, **model):
    config = get_config("tiny")
    config.model.update(depth=2, width=4, **model)
    made = make_segmenter(UNetSettings.of(config), CARD)
    return replace(made, network=network) if network else made


def windows_of(segmenter, batch=4):
    images = jnp.zeros((1, SIZE, SIZE, 3))
    init = jax.jit(lambda rng: segmenter.network.init(rng, images, train=True))
    variables = init(jax.random.key(0))
    return Windows([(segmenter, variables)], CARD, batch)


@pytest.fixture(scope="module")
def pointwise():
    return windows_of(segmenter_of(Pointwise(1)))


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "shape", [(16, 16), (17, 16), (100, 70), (16, 100), (5, 40), (1, 1), (33, 3)]
)
def test_windows_put_together_are_the_image(pointwise, shape):
    image = noise(*shape)
    (shares,) = segment([image], pointwise)
    expected = 1 / (1 + np.exp(4 - 8.0 * image[..., 0] / 255))
    assert shares.shape == (*shape, 2)
    np.testing.assert_allclose(shares[..., 1], expected, atol=1e-5)
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("batch", [3, 8])
def test_results_do_not_depend_on_the_batch_or_on_the_other_images(batch):
    """Every image alone, against all of them in batches that end anywhere."""
    windows = windows_of(segmenter_of(input="standardised"), batch)
    images = [noise(16, 16), noise(40, 25), noise(7, 16), noise(16, 16), noise(31, 32)]
    alone = [next(segment([image], windows)) for image in images]
    together = list(segment(iter(images), windows))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_image_of_the_training_size_is_seen_whole():
    """The same numbers as the network itself gives."""
    segmenter = segmenter_of()
    image = noise(16, 16)
    images = jnp.zeros((1, 16, 16, 3))
    init = jax.jit(lambda rng: segmenter.network.init(rng, images, train=True))
    variables = init(jax.random.key(0))
    logits = segmenter.network.apply(variables, jnp.asarray(image[None] / 255.0), train=False)
    (shares,) = segment([image], windows_of(segmenter))
    np.testing.assert_allclose(shares[..., 1], jax.nn.sigmoid(logits[0, ..., 0]), atol=1e-5)


def test_no_image_gives_nothing(pointwise):
    assert list(segment([], pointwise)) == []
