"""EfficientNet-Lite0's trunk: its size and its names, which are those of older checkpoints."""

import jax
import jax.numpy as jnp

from classify.networks.efficientnet_lite0 import Network
from common.networks.efficientnet_lite import STAGES, EfficientNetLite0

IMAGES = jnp.zeros((1, 64, 64, 3))


def shapes_of(network):
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), IMAGES, train=True))
    return {name: dict(variables[name]) for name in ("params", "batch_stats")}


def test_the_trunk_has_the_parameters_of_the_publication_but_for_the_classes():
    params = shapes_of(EfficientNetLite0())["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4_652_008 - 1_281_000
    assert {name.partition("_block")[0].removesuffix("_conv") for name in params} >= set(STAGES)


def test_a_classifiers_layers_stand_beside_its_head():
    """Not within a trunk of their own, so that a checkpoint serves both."""
    trunk, classifier = shapes_of(EfficientNetLite0()), shapes_of(Network(7))
    assert classifier["params"].pop("classes")["kernel"].shape == (1280, 7)
    assert classifier == trunk


def test_maps_are_a_thirty_second_of_the_image():
    variables = shapes_of(EfficientNetLite0())
    maps = jax.eval_shape(lambda v: EfficientNetLite0().apply(v, IMAGES, train=False), variables)
    assert maps.shape == (1, 2, 2, 1280)
