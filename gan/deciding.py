"""What the discriminator says of images in training, and how it sees them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from common.data.transforms import augment_images
from common.devices.axis import AXIS
from common.learning.network import NetworkState, Variables
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from common.program.errors import UserError
from gan.controls import AUGMENT_PROBABILITY
from gan.drawing import Classes, Images
from gan.losses import Losses, class_loss, data_to_data
from gan.networks import Decision
from gan.state import GAN, GANState

Positions = Int[Array, " batch"]


class Looks(NamedTuple):
    """The keys by which the discriminator looks at each image: its dropout, and how it is varied.

    A generated image is varied alike in both players' updates. The second are drawn only if images
    are varied: with a probability, or all if it is None.
    """

    dropout: Key[Array, " batch"]
    seen: Callable[[], Key[Array, " batch"]]
    probability: Float[Array, ""] | None

    @classmethod
    def of(
        cls, state: GANState, rng: Key[Array, ""], dropout: int, seen: int, position: Positions
    ) -> "Looks":
        """Returns the keys for two purposes."""
        return cls(
            example_keys(rng, dropout, position),
            lambda: example_keys(rng, seen, position),
            state.controls.get(AUGMENT_PROBABILITY),
        )


class Seen(NamedTuple):
    """A batch as the discriminator sees it: images in [-1, 1], their classes, and its keys."""

    images: Images
    labels: Classes
    looks: Looks


def decide_on(
    gan: GAN, network: NetworkState, params: Variables, batch_stats: Variables, *batches: Seen
) -> tuple[Decision, Variables]:
    """Returns the decision in training mode and the running statistics after it.

    Of two batches, the first is real, the second generated, and one decision is of both.
    """
    images, labels, dropout = _varied(gan, batches[0] if len(batches) == 1 else _beside(*batches))
    discriminator = gan.networks.discriminator
    if len(batches) > 1:
        discriminator = discriminator.clone(num_real=len(batches[0].images))
    decided, changed = discriminator.apply(
        network.applied(params, batch_stats),
        narrow(images, gan.dtype),
        labels,
        train=True,
        dropout_keys=dropout,
        mutable=["batch_stats"],
    )
    return jax.tree.map(widen, decided), changed.get("batch_stats", {})


def class_losses(gan: GAN, decided: Decision, labels: Classes) -> Losses | None:
    """Returns the class loss of each image; None if the discriminator predicts no class.

    Where some images have no label, the mean over the whole batch is that of the others.

    Raises:
      UserError: the discriminator gives no embeddings, but they are asked for, or the reverse.
    """
    compared = gan.class_loss == "data_to_data"
    if compared and decided.embeddings is None:
        raise UserError(
            "config.loss.class_loss is 'data_to_data', but the discriminator gives no embeddings;"
            " set config.model.discriminator.embedding_size (of acgan, or projected with its"
            " classifier), or take 'cross_entropy'."
        )
    if decided.embeddings is not None and not compared:
        raise UserError(
            "config.model.discriminator.embedding_size is for the class loss 'data_to_data', but"
            f" config.loss.class_loss is {gan.class_loss!r}; set one of them anew."
        )
    if decided.class_logits is None:
        return None
    if decided.embeddings is None:
        return class_loss(decided.class_logits, labels) / share_of_labelled(labels)
    everyone = [jax.lax.all_gather(x, AXIS, tiled=True) for x in (decided.embeddings, labels)]
    return data_to_data(decided.class_logits, decided.embeddings, labels, *everyone)


def share_of_labelled(labels: Classes) -> Float[Array, ""]:
    """Returns the share of the whole batch that has a label, or a number near 0 if none has."""
    share: Array = jax.lax.pmean((labels >= 0).mean(), AXIS)
    return jnp.maximum(share, jnp.finfo(share.dtype).eps)


def _beside(real: Seen, fake: Seen) -> Seen:
    """Returns two batches as one, the first first."""
    looks, others = real.looks, fake.looks
    return Seen(
        jnp.concatenate([real.images, fake.images]),
        jnp.concatenate([real.labels, fake.labels]),
        Looks(
            jnp.concatenate([looks.dropout, others.dropout]),
            lambda: jnp.concatenate([looks.seen(), others.seen()]),
            looks.probability,
        ),
    )


def _varied(gan: GAN, seen: Seen) -> tuple[Images, Classes, Key[Array, " batch"]]:
    """Returns images as they are shown, labels and keys of dropout."""
    images, labels, looks = seen
    if gan.augmentation.is_on:
        images = augment_images(images, looks.seen(), gan.augmentation, looks.probability)
    return images, labels, looks.dropout


def decide_both(
    gan: GAN, network: NetworkState, params: Variables, real: Seen, fake: Seen
) -> tuple[Decision, Decision, Variables]:
    """Returns the decisions of real and generated images and the running statistics after both."""
    decide = partial(decide_on, gan, network, params)
    if not gan.networks.discriminator.joint:
        of_real, stats = decide(network.batch_stats, real)
        of_fake, stats = decide(stats, fake)
        return of_real, of_fake, stats
    decided, stats = decide(network.batch_stats, real, fake)
    num_real = len(real.images)
    of_real = jax.tree.map(lambda x: x[:num_real], decided)
    return of_real, jax.tree.map(lambda x: x[num_real:], decided), stats
