"""The networks: one file per GAN, found by its name, config.model.name = "acgan".

Without a name it is the AC-GAN, which draws a given class, or the DCGAN if all images are of one.

A file defines two Linen modules, a `Generator` and a `Discriminator`, that fill the frames below;
docs/new_gan.md makes one. config.model.generator and config.model.discriminator set their other
fields.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from common.data.prepared.prepared import DataCard
from common.learning.network import Variables
from common.networks.layers import BatchNorm, Conv, Dense, UpsampleConv, in_one_dtype
from common.program.errors import UserError
from gan.config import GANModel

Latents: TypeAlias = Float[Array, "batch latent"]
Images: TypeAlias = Float[Array, "batch height width channels"]
DropoutKeys: TypeAlias = Key[Array, " batch"] | None
NoiseKeys: TypeAlias = Key[Array, " batch"] | None
# Noise that is given instead of drawn, by the height of its maps.
Noise: TypeAlias = Mapping[int, Float[Array, "batch _rows _columns 1"]]
Logits: TypeAlias = Float[Array, "batch *_patches"]
# Class labels, or the share of each class, which also draws images between two classes.
Labels: TypeAlias = Int[Array, " batch"] | Float[Array, "batch classes"]

_FEWEST = 16  # maps of a decoder


class Keys(NamedTuple):
    """The random keys of a network's examples, one per example, or None: see `Generator`."""

    dropout: DropoutKeys = None
    noise: NoiseKeys | Noise = None


class Decision(NamedTuple):
    """A discriminator's output.

    Attributes:
      logits: positive for "real": one of each image, or many, such as one of each patch; a tuple of
        such arrays for several scales. Losses are averaged over those of an image.
      class_logits: of each class; None if the discriminator predicts no class.
      embeddings: unit vectors; class_logits are then their cosines with those of the classes. None
        if it gives none; see `class_head`.
      decoding_error: of images that it decodes from its maps, beside those that it sees; None if it
        decodes none; see `decoding_error`.
      features: what its last layer sees; None if it does not say.
    """

    logits: Logits | tuple[Logits, ...]
    class_logits: Float[Array, "batch classes"] | None
    embeddings: Float[Array, "batch size"] | None = None
    decoding_error: Float[Array, " batch"] | None = None
    features: Float[Array, "batch features"] | None = None

    @property
    def logit(self) -> Float[Array, " batch"]:
        """Returns the mean logit of each image."""
        return per_image(self.logits)


def per_image(values: Logits | Sequence[Logits]) -> Float[Array, " batch"]:
    """Returns the mean of each image's values; several scales count equally."""
    scales = [x if x.ndim == 1 else x.reshape(len(x), -1).mean(1) for x in jax.tree.leaves(values)]
    return scales[0] if len(scales) == 1 else jnp.stack(scales).mean(0)


class Player(nn.Module):
    """What generators and discriminators share."""

    def load_frozen(self) -> Variables:
        """Returns the collection "frozen", weights that do not learn, from the files they are in.

        A module reads each with `self.variable("frozen", name, jnp.zeros, shape)`; most have none.
        """
        return {}


class Generator(Player):
    """The frame of a generator; a network fills in `draw` and adds the fields that it needs.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: of the data.
      latent_size: of the latent.
      truncation: 1 draws each image; 0 draws the middle of its class instead, and what is between
        is nearer to it. StyleGAN's truncation: Karras et al., "A Style-Based Generator
        Architecture" (2019), section B.
    """

    noisy: ClassVar[bool] = False  # whether it draws noise of its own, beside the latent
    image_size: int
    channels: int
    num_classes: int
    latent_size: int = 100
    truncation: float = field(default=1.0, kw_only=True)

    @property
    def conditional(self) -> bool:
        """Returns whether it draws the class that it is given."""
        return False

    @property
    def noise_sizes(self) -> tuple[int, ...]:
        """Returns the heights of the square maps of noise that it draws."""
        return ()

    def normalised(self, latents: Latents) -> Latents:
        """Returns latents as `draw` takes them: of any length, around a mean of 0."""
        return latents

    @nn.compact
    def __call__(
        self,
        latents: Latents,
        labels: Labels,
        *,
        train: bool,
        dropout_keys: DropoutKeys = None,
        noise_keys: NoiseKeys | Noise = None,
    ) -> Images:
        """Draws images in [-1, 1].

        Args:
          latents: what the images are drawn from.
          labels: which classes are drawn, for conditional networks.
          train: whether BatchNorm uses the statistics of this batch.
          dropout_keys: one per example; None: nothing is dropped.
          noise_keys: one per example, for a network that is `noisy`, also at sampling; or the noise
            itself.
        """
        latents = self.normalised(latents)
        if self.truncation != 1:
            latents = self.truncation * latents
        return self.draw(latents, labels, train, Keys(dropout_keys, noise_keys))

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]; see `__call__`."""
        raise NotImplementedError


class Discriminator(Player):
    """The frame of a discriminator; a network fills in `decide` and adds the fields that it needs.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: of the data.
      num_real: how many images, the first ones, are real, if the rest are generated; see `joint`.
    """

    image_size: int
    channels: int
    num_classes: int
    num_real: int = field(default=0, kw_only=True)

    @property
    def joint(self) -> bool:
        """Returns whether in training real and generated images pass as one batch.

        BatchNorm then takes its statistics of both; otherwise they pass one after the other. The
        generator's update then needs real images, too.
        """
        return False

    @property
    def classifies(self) -> bool:
        """Returns whether its decision is that of a classifier: see `decision_of_classes`."""
        return False

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels, *, train: bool, dropout_keys: DropoutKeys = None
    ) -> Decision:
        """Decides whether images in [-1, 1], said to be of classes, are real.

        The rest as for a generator.
        """
        return self.decide(images, labels, train, Keys(dropout_keys))

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real; see `__call__`."""
        raise NotImplementedError


def class_head(
    features: Float[Array, "batch features"], num_classes: int, embedding_size: int
) -> tuple[Float[Array, "batch classes"], Float[Array, "batch size"] | None]:
    """Returns the class logits of a discriminator, and its embeddings.

    Args:
      features: what it knows of the images.
      num_classes: of the data.
      embedding_size: of the embeddings; 0: there are none, and logits are not bounded.
    """
    if not embedding_size:
        return Dense(num_classes, name="classes")(features), None
    embeddings = _unit(Dense(embedding_size, name="class_embedding")(features))
    classes = nn.Embed(num_classes, embedding_size, name="embeddings_of_classes").embedding
    embeddings, classes = in_one_dtype(embeddings, _unit(classes))
    return embeddings @ classes.T, embeddings


def _unit(vectors: Float[Array, "n size"]) -> Float[Array, "n size"]:
    return vectors * jax.lax.rsqrt((vectors**2).sum(-1, keepdims=True) + 1e-12)


def decision_of_classes(
    class_logits: Float[Array, "batch classes"], features: Float[Array, "batch features"]
) -> Decision:
    """Returns the decision of a classifier of K + 1 classes, the last of them "generated".

    The logit of that class is 0, so an image is real with the probability `D = Z / (Z + 1)`, `Z`
    the sum of `exp(logit)` over the other classes: D's own logit is `log Z`. Salimans et al.,
    "Improved Techniques for Training GANs" (2016), section 5.
    """
    return Decision(jax.nn.logsumexp(class_logits, -1), class_logits, features=features)


def decoding_error(
    maps: Float[Array, "batch rows columns maps"], images: Images
) -> Float[Array, " batch"]:
    """Returns the mean absolute difference of images from what a small decoder makes of maps.

    It doubles the maps until they have half the images' size, at which it compares. A discriminator
    whose maps tell what an image looks like can't know it by heart by a detail: Liu et al.,
    "Towards Faster and Stabilized GAN Training for High-Fidelity Few-Shot Image Synthesis" (2021),
    section 3.2, where the difference is that of a pretrained network's features.
    """
    x = maps
    while 4 * x.shape[1] <= images.shape[1]:
        x = UpsampleConv(max(_FEWEST, x.shape[-1] // 2), name=f"decode_{x.shape[1]}")(x)
        x = nn.leaky_relu(x, 0.2)
    decoded = jnp.tanh(Conv(images.shape[-1], name="decoded")(x))
    seen = jax.image.resize(images, decoded.shape, "linear")
    return jnp.abs(decoded - seen).mean((1, 2, 3))


def normalise(
    player: Any,
    x: Float[Array, "batch ..."],
    name: str,
    train: bool,
    epsilon: float = 1e-3,
    scale_init: Callable[..., Array] = nn.initializers.ones,
) -> Float[Array, "batch ..."]:
    """Normalises within a player that has the fields `momentum` and `axis_name`.

    Args:
      player: the module.
      x: what is normalised.
      name: of the BatchNorm.
      train: whether with the statistics of this batch; otherwise with running ones.
      epsilon: the default of Keras, in which most of the originals were written.
      scale_init: initial value of the scale.
    """
    norm = BatchNorm(player.momentum, epsilon, player.axis_name, scale_init, name=name)
    return norm(x, use_running_average=not train)


class Networks(NamedTuple):
    """The two players.

    Attributes:
      generator: has `latent_size`, and `conditional`, whether it draws the class that it is given.
      discriminator: decides whether images are real.
    """

    generator: Any  # modules with fields that nn.Module does not declare
    discriminator: Discriminator


def network_name(model: GANModel, card: DataCard) -> str:
    """Returns config.model.name, or without one the default for the number of classes."""
    return model.name or ("acgan" if len(card.classes) > 1 else "dcgan")


def find_networks(name: str) -> dict[str, type[Any]]:
    """Returns the classes in a network's file: "generator" and "discriminator".

    Raises:
      UserError: there is no such file.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise UserError(f"config.model.name is {name!r}; it must be one of {known}.")
    module = importlib.import_module(f"{__name__}.{name}")
    return {"generator": module.Generator, "discriminator": module.Discriminator}


def make_networks(model: GANModel, card: DataCard) -> Networks:
    """Builds the networks that config.model names, for images of this size and these classes.

    Raises:
      UserError: there is no such file, or a setting that its networks do not have.
    """
    shape = {
        "image_size": card.image_size,
        "channels": card.channels,
        "num_classes": len(card.classes),
    }
    parts = {}
    for part, kind in find_networks(network_name(model, card)).items():
        try:
            parts[part] = kind(**shape, **getattr(model, part))
        except TypeError as error:
            raise UserError(f"config.model.{part}: {error}.") from error
    return Networks(**parts)
