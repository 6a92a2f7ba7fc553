"""What both ways of training are made of: to translate, to judge, to update the judge.

The generators move first, then the discriminators, which see the same translations.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from common.data.transforms import from_signed_unit, to_signed_unit
from common.learning.network import NetworkState, Variables, updated
from common.learning.precision import narrow, widen
from translate.state import Translator

Images = Float[Array, "batch height width channels"]
OfImages = Float[Array, " batch"]
Logits = Float[Array, "batch rows columns 1"]
Outputs = dict[str, Float[Array, ""] | OfImages]


def translated(
    translator: Translator, params: Variables, batch_stats: Variables, images: Images
) -> tuple[Images, Variables]:
    """Returns translations, as in training, and the running statistics after them.

    With `translator.difference` they may leave [-1, 1]: cut off there, nothing would learn.
    """
    values, changed = translator.generator.apply(
        {"params": params, "batch_stats": batch_stats},
        narrow(images, translator.dtype),
        train=True,
        mutable=["batch_stats"],
    )
    return _image(translator, images, widen(values)), changed.get("batch_stats", {})


def translate(translator: Translator, variables: Variables, images: Images) -> Images:
    """Returns translations in [-1, 1], each of its image alone, as after training."""
    values: Any = translator.generator.apply(variables, images, train=False)
    return jnp.clip(_image(translator, images, values), -1, 1)


def drawn(
    translator: Translator,
    variables: Variables,
    images: UInt8[Array, "batch height width channels"],
) -> UInt8[Array, "batch height width channels"]:
    """Returns translations of stored images, 0..255, as images to store."""
    return from_signed_unit(translate(translator, variables, to_signed_unit(images)))


def _image(translator: Translator, images: Images, values: Images) -> Images:
    """Returns what the generator's values stand for: a translation, or its difference."""
    return images + values if translator.difference else jnp.tanh(values)


def fooling(
    translator: Translator, discriminator: NetworkState, images: Images
) -> tuple[OfImages, OfImages]:
    """Returns the generator's adversarial loss on its translations, and D of them."""
    logits, _ = _judged(translator, discriminator, discriminator.params, images)
    adversarial = translator.adversarial
    return _mean(adversarial.generator(logits)), _mean(adversarial.output(logits))


def discriminator_step(
    translator: Translator, network: NetworkState, real: Images, fake: Images
) -> tuple[NetworkState, Outputs]:
    """Updates a discriminator by the mean of its losses on real and translated images."""
    adversarial = translator.adversarial

    def loss(params: Variables) -> tuple[Float[Array, ""], tuple[Variables, Outputs]]:
        of_real, stats = _judged(translator, network, params, real)
        of_fake, _ = _judged(translator, network, params, fake)
        each = (_mean(adversarial.real(of_real)) + _mean(adversarial.fake(of_fake))) / 2
        outputs: Outputs = {
            "discriminator_loss": each,
            "discriminator_output_real": _mean(adversarial.output(of_real)),
            "discriminator_output_fake": _mean(adversarial.output(of_fake)),
        }
        return each.mean(), (stats, outputs)

    gradients, (stats, outputs) = jax.grad(loss, has_aux=True)(network.params)
    network, norm = updated(network, translator.discriminator_optimizer, gradients, stats)
    return network, outputs | {"discriminator_gradient_norm": norm}


def distance(images: Images, others: Images) -> OfImages:
    """Returns the mean absolute difference of each image to its counterpart."""
    return jnp.abs(images - others).mean((1, 2, 3))


def _judged(
    translator: Translator, network: NetworkState, params: Variables, images: Images
) -> tuple[Logits, Variables]:
    """Returns the logits and what is remembered of the kernels' singular values."""
    logits, changed = translator.discriminator.apply(
        network.applied(params, network.batch_stats),
        narrow(images, translator.dtype),
        train=True,
        mutable=["batch_stats"],
    )
    return widen(logits), changed.get("batch_stats", {})


def _mean(values: Logits) -> OfImages:
    return values.mean((1, 2, 3))
