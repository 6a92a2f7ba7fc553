"""A generator with few parameters, and a critic that sees through a pretrained network.

The critic's trunk, ImageNet's EfficientNet-Lite0, never learns. Four of its maps are mixed at
random, across channels and from coarse to fine, and a small network decides at each scale, patch by
patch: Sauer et al., "Projected GANs Converge Faster" (2021). From a few hundred images the trunk
knows what a discriminator would have to learn.

The generator follows Liu et al., "Towards Faster and Stabilized GAN Training for High-Fidelity
Few-Shot Image Synthesis" ("FastGAN", 2021), modulated in each layer by latent and class.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.devices.axis import AXIS
from common.learning.network import Variables
from common.networks.efficientnet_lite import (
    EfficientNetLite,
    folded_variables,
    published_variables,
)
from common.networks.layers import (
    Conv,
    Dense,
    UpsampleConv,
    batch_deviations,
    in_one_dtype,
)
from common.program.errors import UserError
from gan import networks
from gan.networks import (
    Decision,
    Images,
    Keys,
    Labels,
    Latents,
    class_head,
    decoding_error,
    normalise,
)

_LEAK = 0.2
_EPSILON = 1e-5
_SMALLEST = 4
_MOST_MAPS = 256
_SKIPPED = 3  # doublings from a map to the one that it excites, as from 4x4 to 32x32
# The trunk's stages that are seen, a quarter to a thirty-second of the image's size, how many maps
# each has, and how many it is mixed to.
_STAGES = {"stage_2": (24, 64), "stage_3": (40, 64), "stage_5": (112, 128), "stage_7": (320, 256)}
_MIXING_SEED = 0
_SEEN_AT_LEAST = 64
# Maps, kernel and stride of the network that sees the image itself.
_PIXEL_HEAD = ((32, 4, 2), (64, 4, 2), (128, 4, 2))
_STEEP = 16.0  # by which steps from pixel to pixel are multiplied


class Generator(networks.Generator):
    """latent, class -> 4x4 maps -> doublings -> tanh; latent and class modulate each layer.

    From 32x32 on they also say how much noise each map is given, new for each image (Karras et al.,
    "A Style-Based Generator Architecture", 2019): grain need not be drawn out of the latent.

    An image of 200 pixels is cut out of 224, since maps double. For shares of classes it draws from
    the mean of their embeddings, weighted by the shares.

    Attributes:
      width: maps of the last layer; each layer before has twice as many, at most 256.
      class_size: of the embedding of a class.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    latent_size: int = 128
    width: int = 32
    class_size: int = 64
    momentum: float = 0.9
    axis_name: str = AXIS
    noisy: ClassVar[bool] = True

    @property
    def conditional(self) -> bool:
        """Returns whether there are classes to choose from."""
        return self.num_classes > 1

    @property
    def noise_sizes(self) -> tuple[int, ...]:
        """Returns the heights of the square maps of noise that it draws."""
        start, doublings = _doublings(self.image_size)
        return tuple(start << i for i in range(_SKIPPED, doublings + 1))

    def normalised(self, latents: Latents) -> Latents:
        """Returns latents of one length, the root of their size."""
        return latents * jax.lax.rsqrt((latents**2).mean(-1, keepdims=True) + 1e-8)

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""
        style = self._style(latents, labels)

        def activated(x: Array, name: str, grainy: bool = False) -> Array:
            x = normalise(self, x, f"{name}_norm", train, _EPSILON)
            # It grows from nothing: gains and shifts change whole images, and a generator that can
            # do so from the first step on draws black and white ones.
            modulation = Dense(2 * x.shape[-1], nn.initializers.zeros, name=f"{name}_modulation")
            by = modulation(style)
            gain, shift = jnp.split(by[:, None, None], 2, -1)
            x = x * (1 + gain) + shift
            if grainy:
                grain = Dense(x.shape[-1], nn.initializers.zeros, name=f"{name}_grain")(style)
                x = x + grain[:, None, None] * _noise(keys, x).astype(x.dtype)
            x, gate = jnp.split(x, 2, -1)
            return x * nn.sigmoid(gate)

        start, doublings = _doublings(self.image_size)
        maps = [min(_MOST_MAPS, self.width << (doublings - i)) for i in range(doublings + 1)]
        x = Dense(2 * maps[0] * start**2, name="dense")(style)
        x = activated(x.reshape(-1, start, start, 2 * maps[0]), "maps_0")
        levels = [x]
        for i in range(1, doublings + 1):
            x = UpsampleConv(2 * maps[i], name=f"double_{i}")(x)
            x = activated(x, f"maps_{i}", grainy=i >= _SKIPPED)
            if i >= _SKIPPED:
                x = x * _excitation(levels[i - _SKIPPED], maps[i], f"excite_{i}")
            levels.append(x)
        images = jnp.tanh(Conv(self.channels, name="to_image")(x))
        cut = (images.shape[1] - self.image_size) // 2
        drawn: Array = images[:, cut : cut + self.image_size, cut : cut + self.image_size]
        return drawn

    def _style(self, latents: Latents, labels: Labels) -> Float[Array, "batch style"]:
        """Returns latents beside the embeddings of their classes."""
        if not self.conditional:
            return latents
        embedding = nn.Embed(
            self.num_classes,
            self.class_size,
            embedding_init=nn.initializers.normal(1),
            name="class",
        )
        of_labels = embedding(labels) if labels.ndim == 1 else labels @ embedding.embedding
        latents, of_labels = in_one_dtype(latents, of_labels)
        return jnp.concatenate([latents, of_labels], -1)


def _noise(keys: Keys, x: Array) -> Float[Array, "batch rows columns 1"]:
    """Returns normal noise for maps of this size, from each image's own key, or as it is given.

    Raises:
      ValueError: there are no keys.
    """
    if keys.noise is None:
        raise ValueError("this generator draws noise: give noise_keys, one for each image")
    size = x.shape[1:3]
    if isinstance(keys.noise, Mapping):
        return keys.noise[size[0]]
    of_size = jax.vmap(jax.random.fold_in, (0, None))(keys.noise, size[0])
    return jax.vmap(lambda key: jax.random.normal(key, (*size, 1)))(of_size)


def _excitation(x: Array, features: int, name: str) -> Float[Array, "batch 1 1 features"]:
    """Returns gains between 0 and 1 for later maps, from earlier and smaller ones."""
    size = x.shape[1]
    rest = -size % _SMALLEST
    if rest:  # to a multiple of 4, by zeros
        x = jnp.pad(x, ((0, 0), (0, rest), (0, rest), (0, 0)))
    block = x.shape[1] // _SMALLEST
    pooled = nn.avg_pool(x, (block, block), (block, block))
    x = nn.swish(Conv(features, _SMALLEST, 1, "VALID", name=f"{name}_squeeze")(pooled))
    return nn.sigmoid(Conv(features, 1, name=f"{name}_gain")(x))


def _doublings(image_size: int) -> tuple[int, int]:
    """Returns the size of the first maps, 4 to 7, and how often they are doubled."""
    doublings = (image_size // _SMALLEST).bit_length() - 1
    if doublings < 0:
        raise UserError(
            f"config.data.image_size is {image_size}; the projected GAN needs 4 pixels or more."
        )
    return -(-image_size // 2**doublings), doublings


class Discriminator(networks.Discriminator):
    """A pretrained trunk -> random mixing -> one small network a scale -> logits of patches.

    One more network sees the image itself: the trunk was taught to overlook brightness and
    contrast, and begins with every second pixel. BatchNorm takes its statistics of real and
    generated images together: by statistics of their own, generated images would have the mean and
    the contrast of real ones, whatever they look like.

    Attributes:
      scales: how many of the trunk's four maps are seen, from the finest on.
      seen_size: images are resized to this for the trunk; 0: to 64, or as they are if larger.
      projection: whether it asks for the class by a projection: the logit of a patch grows with
        its features' product with the class's embedding (Miyato and Koyama, 2018).
      classifier: whether it also predicts the class (Odena et al., 2017).
      embedding_size: of the classifier's embeddings, which loss.class_loss = "data_to_data"
        compares; 0: none.
      decoder: whether it also decodes the image, for the term loss.decoding.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    joint: ClassVar[bool] = True
    scales: int = len(_STAGES)
    seen_size: int = 0
    projection: bool = True
    classifier: bool = False
    embedding_size: int = 0
    decoder: bool = False
    momentum: float = 0.9
    axis_name: str = AXIS

    def load_frozen(self) -> Variables:
        """Returns ImageNet's weights and the random mixing.

        Raises:
          UserError: the weights' package is not installed.
        """
        trunk = published_variables(0)
        return {"folded_trunk": folded_variables(trunk), "mixing": _mixing(_deviations(trunk))}

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        parts = jnp.split(images, [self.num_real] if self.num_real else [])
        if self.num_real:  # no gradient goes back to real images beside generated ones
            parts[0] = jax.lax.stop_gradient(parts[0])
        scales = [
            self._activated(maps, maps.shape[-1], 3, 1, f"decide_{i}", train)
            for i, maps in enumerate(self._features(parts))
        ]
        images = jnp.concatenate(parts)
        x = jnp.concatenate([images, *_steps(images)], -1)
        for i, layer in enumerate(_PIXEL_HEAD):
            x = self._activated(x, *layer, f"pixels_{i}", train)
        judged = [*scales, x]
        deviations = self._deviations(judged, train)
        logits = tuple(
            self._logits(maps, deviation, labels, i)
            for i, (maps, deviation) in enumerate(zip(judged, deviations, strict=True))
        )
        head: tuple[Array | None, Array | None] = None, None
        if self.classifier and self.num_classes > 1:
            features = jnp.concatenate([maps.mean((1, 2)) for maps in scales], -1)
            head = class_head(features, self.num_classes, self.embedding_size)
        error = decoding_error(x, images) if self.decoder else None
        return Decision(logits, *head, error)

    def _activated(
        self, x: Array, maps: int, size: int, stride: int, name: str, train: bool
    ) -> Float[Array, "batch rows columns maps"]:
        conv = Conv(maps, size, stride, use_bias=False, name=f"{name}_conv")
        x = self._limited(conv, train)(x)
        return nn.leaky_relu(normalise(self, x, f"{name}_norm", train, _EPSILON), _LEAK)

    def _logits(
        self, x: Array, deviation: Float[Array, " batch"], labels: Labels, scale: int
    ) -> Float[Array, "batch patches"]:
        """Returns a logit of each place of a scale's maps, which also sees a deviation.

        These layers are as large as they learn to be. With a norm of 1 the critic cannot be sure of
        small differences, and the generator is never told of them.
        """
        beside = jnp.broadcast_to(deviation[:, None, None, None], (*x.shape[:3], 1))
        x = jnp.concatenate([x, beside], -1)
        logits = Conv(1, 1, name=f"logits_{scale}")(x)[..., 0]
        if self.projection and self.num_classes > 1:
            embedding = nn.Embed(self.num_classes, x.shape[-1], name=f"class_{scale}")
            x, of_class = in_one_dtype(x, embedding(labels))
            logits += (x * of_class[:, None, None]).sum(-1)
        patches: Array = logits.reshape(len(logits), -1)
        return patches

    def _deviations(
        self, scales: list[Float[Array, "batch _ _ _"]], train: bool
    ) -> list[Float[Array, " batch"]]:
        """Returns, for each scale, how far the images of a batch differ.

        One number, for real and generated images by themselves (Karras et al., "Progressive Growing
        of GANs", 2018); 0 outside training, where there is no batch to compare with.
        """
        batch, dtype = len(scales[0]), scales[0].dtype
        if not train:
            return [jnp.zeros(batch, dtype)] * len(scales)
        axis_name = "" if self.is_initializing() else self.axis_name
        # As many real images as generated ones, and the places of all scales: one computation, and
        # two exchanges between devices instead of ten.
        kinds = 2 if 0 < self.num_real < batch else 1
        flat = [x.reshape(kinds, batch // kinds, -1) for x in scales]
        wide = jnp.concatenate(flat, -1).astype(jnp.promote_types(dtype, jnp.float32))
        of_places = jax.vmap(partial(batch_deviations, axis_name=axis_name))(wide)
        ends = np.cumsum([x.shape[-1] for x in flat])[:-1]
        return [
            jnp.repeat(places.mean(-1), batch // kinds).astype(dtype)
            for places in jnp.split(of_places, ends, -1)
        ]

    def _features(
        self, parts: list[Float[Array, "_ height width channels"]]
    ) -> list[Float[Array, "batch rows columns maps"]]:
        """Returns the trunk's mixed maps, from fine to coarse.

        The trunk sees one part of the images after the other, so that a part to which no gradient
        goes back takes no time on the way back.
        """
        size = self.seen_size or max(_SEEN_AT_LEAST, self.image_size)
        trunk, seen = EfficientNetLite(folded=True, parent=None), list(_STAGES)[: self.scales]
        weights = self._frozen("folded_trunk", trunk, parts[0])
        of_parts = [_stages(weights, part, size, seen[-1]) for part in parts]
        found = {name: jnp.concatenate([of[name] for of in of_parts]) for name in seen}
        kernels: Any = self.variable("frozen", "mixing", _mixing, dict.fromkeys(_STAGES, 1.0)).value
        mixed: list[Array] = []
        for name in reversed(seen):
            x = _product(found[name], kernels[f"{name}_channels"])
            if mixed:
                coarse = _product(mixed[0], kernels[f"{name}_scales"])
                x = (x + jax.image.resize(coarse, x.shape, "linear")) / np.sqrt(2)
            mixed.insert(0, x)
        return mixed

    def _frozen(self, name: str, module: nn.Module, images: Images) -> Any:
        """Returns a module's weights that do not learn."""

        def shapes() -> Variables:
            made = jax.eval_shape(lambda: module.init(jax.random.key(0), images[:1], train=False))
            zeros: Variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), made)
            return zeros

        return self.variable("frozen", name, shapes).value

    def _limited(self, layer: nn.Module, train: bool) -> Any:
        """Returns a layer whose kernel's largest singular value is 1 (Miyato et al., 2018)."""
        spectral = nn.SpectralNorm(layer, name=f"{layer.name}_spectral")
        return lambda x: spectral(x, update_stats=train)


@partial(jax.jit, static_argnames=("size", "last"))  # so that it is traced once, not at each call
def _stages(weights: Variables, images: Images, size: int, last: str) -> dict[str, Array]:
    """Returns the trunk's maps of images in [-1, 1] that are resized for it, up to a stage."""
    seen = jax.image.resize(images, (len(images), size, size, images.shape[-1]), "linear")
    trunk, unit = EfficientNetLite(folded=True), (seen + 1) / 2
    found: Any = trunk.apply(weights, unit, train=False, last=last, method="stages")
    maps: dict[str, Array] = found
    return maps


def _steps(images: Images) -> list[Images]:
    """Returns the steps to the next pixel, below and to the right, small ones enlarged.

    Noise in flat places is small beside edges; here it is not.
    """
    down = jnp.diff(images, axis=1, append=images[:, -1:])
    right = jnp.diff(images, axis=2, append=images[:, :, -1:])
    return [jnp.tanh(_STEEP * step) for step in (down, right)]


def _product(x: Array, kernel: Array | np.ndarray) -> Array:
    x, kernel = in_one_dtype(x, kernel)
    return x @ kernel


def _deviations(trunk: Variables) -> dict[str, float]:
    """Returns how far the values of each stage spread, from its BatchNorms' scales.

    A stage is the sum of its blocks, and each block ends in a BatchNorm, whose outputs have the
    deviation of its scale on the images that the trunk learned from.
    """
    found = {}
    for stage in _STAGES:
        scales = [
            np.square(layer["scale"])
            for name, layer in trunk["params"].items()
            if name.startswith(f"{stage}_block") and name.endswith("_narrow_norm")
        ]
        found[stage] = float(np.sqrt(np.sum(scales, 0).mean()))
    return found


def _mixing(deviations: dict[str, float]) -> Variables:
    """Returns random products: of each stage's channels, and from a stage to the finer one."""
    generator = np.random.default_rng(_MIXING_SEED)

    def drawn(inputs: int, outputs: int, deviation: float = 1.0) -> np.ndarray:
        kernel = generator.normal(0, 1 / (deviation * np.sqrt(inputs)), (inputs, outputs))
        return kernel.astype(np.float32)

    kernels, coarser = {}, 0
    for name, (maps, mixed) in reversed(_STAGES.items()):
        kernels[f"{name}_channels"] = drawn(maps, mixed, deviations[name])
        if coarser:
            kernels[f"{name}_scales"] = drawn(coarser, mixed)
        coarser = mixed
    return kernels
