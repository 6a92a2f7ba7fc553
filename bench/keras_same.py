"""Whether our AC-GAN and the one in Keras are equal functions, given equal weights."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from clu.parameter_overview import count_parameters
from jaxtyping import Array, Float
from keras_networks import build_discriminator, build_generator, copy_weights

from common.data.prepared.prepared import DataCard
from configs.acgan_covid import get_config
from gan.config import GANSettings
from gan.networks import Decision
from gan.state import init_state, make_gan

_BATCH = 8

Variables = dict[str, Any]


class Pair(NamedTuple):
    """One network in both frameworks: apply our module to `variables`, or call the model."""

    module: Any
    variables: Variables
    model: Any


class Sameness(NamedTuple):
    """The comparison of the two.

    Attributes:
      parameters: numbers in the generator and in the discriminator, equal in both frameworks.
      difference: the largest between any two outputs in inference, which are in [-1, 1].
    """

    parameters: tuple[int, int]
    difference: float


def make_pairs(
    image_size: int, channels: int, num_classes: int, dropout_rate: float
) -> tuple[Pair, Pair]:
    """Returns generator and discriminator with random weights, biases and running statistics."""
    classes = tuple(str(label) for label in range(num_classes))
    card = DataCard("random", classes, {"train": 1}, image_size, channels, "0", True, 0)
    gan = make_gan(GANSettings.of(get_config()), card)
    state = jax.eval_shape(lambda: init_state(gan, card, jax.random.key(0)))
    latent_size = gan.latent_size
    generator = build_generator(image_size, channels, num_classes, latent_size)
    discriminator = build_discriminator(image_size, channels, num_classes, dropout_rate)
    # Without an axis name BatchNorm works outside the parallel step.
    modules = [module.clone(axis_name="") for module in gan.networks]
    pairs = (
        Pair(modules[0], _random_variables(state.generator), generator),
        Pair(modules[1], _random_variables(state.discriminator), discriminator),
    )
    for pair in pairs:
        copy_weights(pair.variables, pair.model)
    return pairs


def random_inputs(
    pairs: tuple[Pair, Pair],
) -> tuple[Float[np.ndarray, "n latent"], Float[np.ndarray, " n"], Float[np.ndarray, "n ..."]]:
    """Returns latents and labels for the generator and images for the discriminator."""
    numbers = np.random.default_rng(1)
    generator, discriminator = pairs
    latents = numbers.normal(size=(_BATCH, generator.module.latent_size)).astype(np.float32)
    labels = (np.arange(_BATCH) % generator.module.num_classes).astype(np.int32)
    shape = (_BATCH, *discriminator.model.input_shape[1:])
    return latents, labels, numbers.uniform(-1, 1, shape).astype(np.float32)


def probabilities(decided: Decision) -> tuple[Array, Array]:
    """Returns the outputs as the Keras discriminator's: sigmoid [n, 1] and softmax [n, classes]."""
    assert decided.class_logits is not None
    return jax.nn.sigmoid(decided.logit)[:, None], jax.nn.softmax(decided.class_logits)


def compare(image_size: int, channels: int, num_classes: int) -> Sameness:
    """Compares parameter counts, and outputs in inference.

    Raises:
      ValueError: they have different weights, or outputs that hardly depend on the inputs.
    """
    pairs = make_pairs(image_size, channels, num_classes, dropout_rate=0.25)
    generator, discriminator = pairs
    latents, labels, images = random_inputs(pairs)
    draw, decide = (jax.jit(partial(pair.module.apply, train=False)) for pair in pairs)
    ours = [
        draw(generator.variables, latents, labels),
        *probabilities(decide(discriminator.variables, images, labels)),
    ]
    theirs = [
        generator.model([latents, labels[:, None]], training=False),
        *discriminator.model(images, training=False),
    ]
    difference = 0.0
    for our, their in zip(ours, theirs, strict=True):
        if np.std(our, axis=0).max() < 0.01:
            raise ValueError("the outputs hardly depend on the inputs: nothing was compared")
        difference = max(difference, float(np.abs(np.asarray(our) - np.asarray(their)).max()))
    counts = tuple(count_parameters(pair.variables) for pair in pairs)
    if counts != tuple(pair.model.count_params() for pair in pairs):
        raise ValueError("the models in Keras have different parameter counts")
    return Sameness((counts[0], counts[1]), difference)


def _random_variables(network: Any) -> Variables:
    """Returns random values for every variable, away from the initial zeros and ones."""
    random = np.random.default_rng(2)

    def draw(path: Any, like: Any) -> np.ndarray:
        name, numbers = path[-1].key, random.normal(size=like.shape)
        if name == "kernel":
            numbers *= np.sqrt(2 / np.prod(like.shape[:-1]))
        elif name != "embedding":
            numbers = (name in ("scale", "var")) + 0.1 * numbers
        return np.asarray(numbers, np.float32)

    variables: Variables = jax.tree_util.tree_map_with_path(draw, network.variables)
    return variables
