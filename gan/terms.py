"""Terms that a player's loss may have beside the adversarial and the class loss.

A term is a function of what it is shown and a line in `TERMS`; `config.loss.NAME` is its weight,
and a weight of 0 computes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from common.devices.axis import AXIS
from common.learning.network import Variables
from common.program.errors import UserError
from gan.losses import Images, Losses, gradient_penalty, r1
from gan.networks import Decision, per_image

_COARSE, _PLACES = 16, 8  # pixels
_SAME = 1e-3  # a difference in brightness that is none
_FAINT = 0.05  # the size of the steps of an image that differs half as much as they say


Value: TypeAlias = Losses | Float[Array, ""]  # per image, or of the whole batch


@dataclass(frozen=True)
class Shown:
    """What a term is shown of a player's update.

    Attributes:
      logit_of: images -> the discriminator's logit of each, with the labels of the images that the
        player learns by: real ones for the discriminator, its own for the generator.
      fake_logit_of: the same with the labels of the generated images.
      judged: the decisions of this update on real images, None if it looks at none, and on
        generated ones.
      judge_varied: returns such decisions on the same images varied by config.consistency_augment;
        None in a generator's update.
      images: real ones; None in a generator's update that is given none.
      labels: of the real images.
      fakes: generated images.
      fake_labels: of the generated images.
      latents: of the generated images; None in a discriminator's update.
      keys: returns a random key of each image of this device.
      controls: those of the state, see gan/controls.py.
      params: of the player.
    """

    logit_of: Callable[[Images], Losses]
    fake_logit_of: Callable[[Images], Losses]
    judged: tuple[Decision | None, Decision]
    judge_varied: Callable[[], tuple[Decision, Decision]] | None
    images: Float[Array, "_real height width channels"] | None
    labels: Int[Array, " _real"] | None
    fakes: Images
    fake_labels: Int[Array, " batch"]
    latents: Float[Array, "batch latent"] | None
    keys: Callable[[], Key[Array, " batch"]]
    controls: Variables
    params: Variables


@dataclass(frozen=True)
class Term:
    """A part of a player's loss.

    Attributes:
      player: whose loss it is in.
      value: what is averaged, weighted and added.
      lazy: whether it is computed only every `config.loss.penalty_every` steps, and counts as many
        times more (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020).
      whole_batch: whether it is shown the images of all devices, in the order of the batch.
      averages: the outputs of the discriminator whose moving averages it needs, which are then
        among `Shown.controls`, such as "average_logit_real".
    """

    player: Literal["generator", "discriminator"]
    value: Callable[[Shown], Value]
    lazy: bool = False
    whole_batch: bool = False
    averages: tuple[str, ...] = ()


def averages_of(weights: Mapping[str, float]) -> tuple[str, ...]:
    """Returns the outputs whose moving averages terms need, by the weights of the terms."""
    return tuple(name for term in weights for name in TERMS[term].averages)


def added(
    player: str,
    weights: Mapping[str, float],
    shown: Shown,
    position: Int[Array, " batch"],
    due: Callable[[], Array],
    every: int,
) -> dict[str, tuple[float, Value]]:
    """Returns weight and value of each of a player's terms by name.

    Args:
      player: "generator" or "discriminator".
      weights: of the terms that are used; those of the other player are passed over.
      shown: what the terms are shown.
      position: of the images in the global batch.
      due: returns whether lazy terms are computed in this step, equal on all devices.
      every: how many steps apart they are; their value is as many times larger, and 0 between.
    """
    found = {}
    for name, weight in weights.items():
        if (term := TERMS[name]).player != player:
            continue
        seen = _of_all_devices(shown, position) if term.whole_batch else shown
        if term.lazy and every > 1:
            found[name] = weight, _every(term.value, seen, due(), every)
        else:
            found[name] = weight, term.value(seen)
    return found


def _every(value: Callable[[Shown], Value], shown: Shown, due: Array, every: int) -> Value:
    like = jax.eval_shape(lambda: value(shown))
    found: Value = jax.lax.cond(
        due, lambda: every * value(shown), lambda: jnp.zeros(like.shape, like.dtype)
    )
    return found


def _of_all_devices(shown: Shown, position: Int[Array, " batch"]) -> Shown:
    """Returns the same of the images of all devices.

    Half batches have fewer real images than positions; no term asks for the order of these.
    Every device computes a term of all images, and the gradients of all of them arrive at each
    image, so that their mean over devices is the gradient of the term itself.
    """
    order = jnp.argsort(jax.lax.all_gather(position, AXIS, tiled=True))
    names = ("images", "labels", "fakes", "fake_labels", "latents")

    def gather(rows: Array) -> Array:
        gathered: Array = jax.lax.all_gather(rows, AXIS, tiled=True)
        return gathered[order] if len(gathered) == len(order) else gathered

    gathered = {name: jax.tree.map(gather, getattr(shown, name)) for name in names}
    return replace(shown, **gathered)


def mode_seeking(
    images: Float[Array, "batch height width channels"],
    latents: Float[Array, "batch latent"],
    labels: Int[Array, " batch"],
) -> Float[Array, ""]:
    """`1 / (r + 1e-5)`, `r` the mean of `|G(z) - G(z')| / |z - z'|`; absolute means of entries.

    Small where other latents give other images: it keeps a generator from drawing few modes. Each
    image is paired with the next one of its class in the batch, in a circle; an image that is alone
    in its class counts for nothing, and the term is 0 if all are. Mao et al., "Mode Seeking
    Generative Adversarial Networks for Diverse Image Synthesis" (2019), equation 3, in the form of
    their program.
    """
    index = jnp.arange(len(labels))
    ahead = (index[None] - index[:, None] - 1) % len(labels)
    next_one = jnp.where(labels[:, None] == labels[None], ahead, len(labels)).argmin(1)
    paired = next_one != index
    moved = jnp.abs(images - images[next_one]).mean((1, 2, 3))
    apart = jnp.where(paired, jnp.abs(latents - latents[next_one]).mean(1), 1.0)
    ratio = jnp.where(paired, moved / apart, 0.0).sum() / jnp.maximum(paired.sum(), 1)
    return jnp.where(paired.any(), 1 / (ratio + 1e-5), 0.0)


def diversity(
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    real: Float[Array, "real height width channels"],
    real_labels: Int[Array, " real"],
) -> Float[Array, ""]:
    """`max(0, a - a_real)`, averaged over generated images: how much more alike they are.

    `a` is how alike the generated images of a class are, `a_real` the real ones of this class in
    the batch: the mean of `max(0, 1 - d / m)^2` over pairs, `d` the difference of a pair, and `m`
    the mean difference of the real pairs. Among a few images drawn again and again, most pairs
    differ enough; the square makes the others count. A class with fewer than two images of either
    kind counts for nothing.

    The difference is `1 - |cos|` of the steps from pixel to pixel of both images at 16x16: the same
    anatomy brighter, in another contrast, inverted or shaded is no other image, since its edges lie
    where they lay, nor is one with other noise. The less these steps exceed 0.05, the less an image
    differs from any.
    """
    apart, real_apart = _differences(images), _differences(real)
    usual, known = _mean_of_class(real_apart, real_labels, labels)
    real_usual, _ = _mean_of_class(real_apart, real_labels, real_labels)
    alike, paired = _mean_of_class(_alike(apart, usual), labels, labels)
    real_alike, _ = _mean_of_class(_alike(real_apart, real_usual), real_labels, labels)
    return jnp.where(known & paired, jax.nn.relu(alike - real_alike), 0).mean()


def _alike(apart: Float[Array, "n n"], usual: Float[Array, " n"]) -> Float[Array, "n n"]:
    return jax.nn.relu(1 - apart / jnp.where(usual > 0, usual, 1)[:, None]) ** 2


def spread(
    images: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    real: Float[Array, "real height width channels"],
    real_labels: Int[Array, " real"],
) -> Float[Array, ""]:
    """`max(0, d_real - d) / d_real`, averaged over places and generated images.

    `d` is the mean difference in brightness of the pairs of generated images of a class, at one of
    8x8 places, `d_real` that of the real ones of this class in the batch. A class with fewer than
    two images of either kind counts for nothing. Where all real images are nearly the same, the
    generator learns little of how they differ: that air is darker in one scan than in another.
    """
    apart, real_apart = _differences_at_places(images), _differences_at_places(real)
    own, paired = _mean_of_class(apart, labels, labels)
    usual, known = _mean_of_class(real_apart, real_labels, labels)
    missing = jax.nn.relu(usual - own) / jnp.maximum(usual, _SAME)
    return jnp.where(known & paired, missing.mean(-1), 0).mean()


def _mean_of_class(
    values: Float[Array, "n n *places"], labels: Int[Array, " n"], asked: Int[Array, " batch"]
) -> tuple[Float[Array, "batch *places"], Bool[Array, " batch"]]:
    """Returns the mean of all pairs of each class asked for, and whether it has any."""
    pairs = (labels[:, None] == labels) & ~jnp.eye(len(labels), dtype=bool)
    chosen = (asked[:, None] == labels).astype(values.dtype)
    number = chosen @ pairs.sum(1).astype(values.dtype)
    places = (1,) * (values.ndim - 2)
    of_pairs = jnp.where(pairs.reshape(*pairs.shape, *places), values, 0).sum(1)
    total = jnp.tensordot(chosen, of_pairs, 1)
    return total / jnp.maximum(number, 1).reshape(-1, *places), number > 0


def _differences_at_places(images: Float[Array, "n _ _ channels"]) -> Float[Array, "n n places"]:
    flat = _shrunk(images, _PLACES).reshape(len(images), -1)
    return jnp.abs(flat[:, None] - flat)


def _differences(images: Float[Array, "n height width channels"]) -> Float[Array, "n n"]:
    coarse = _shrunk(images, _COARSE)
    edges = jnp.diff(coarse, axis=1), jnp.diff(coarse, axis=2)
    flat = jnp.concatenate([x.reshape(len(images), -1) for x in edges], 1)
    flat = flat * jax.lax.rsqrt((flat**2).mean(1, keepdims=True) + _FAINT**2)
    own = jnp.sqrt((flat**2).mean(1) + 1e-12)
    return own[:, None] * own - jnp.abs(flat @ flat.T) / flat.shape[1]


def _shrunk(images: Float[Array, "n _ _ channels"], most: int) -> Float[Array, "n _ _ channels"]:
    side = min(most, images.shape[1])
    shape = (len(images), side, side, images.shape[-1])
    shrunk: Array = jax.image.resize(images, shape, "linear")
    return shrunk


def lecam(
    real: Decision,
    fake: Decision,
    usual_real: Float[Array, ""],
    usual_fake: Float[Array, ""],
) -> Losses:
    """`max(0, r - f')^2 + max(0, r' - f)^2`, of a real image's logit r and a generated one's f.

    `r'` and `f'` are the logits that are usual, moving averages. It holds the discriminator's
    logits of both kinds together, as a discriminator that knows few images by heart parts them.
    Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data" (2021), in the
    form of their program.
    """
    of_real = jax.tree.map(lambda r: jax.nn.relu(r - usual_fake) ** 2, real.logits)
    of_fake = jax.tree.map(lambda f: jax.nn.relu(usual_real - f) ** 2, fake.logits)
    return per_image(of_real) + per_image(of_fake)


def consistency(decided: Decision, varied: Decision) -> Losses:
    """`(D(x) - D(T(x)))^2`: a change T that leaves an image what it is changes no decision.

    The change is not shown to the generator, so it can't learn to draw it. On real and on generated
    images, with a weight for each: bCR of Zhao et al., "Improved Consistency Regularization for
    GANs" (2021), section 3.1. The logit of an image with several is their mean.
    """
    return (decided.logit - varied.logit) ** 2


def feature_matching(
    fake: Float[Array, "batch features"], real: Float[Array, "_real features"]
) -> Float[Array, ""]:
    """`|mean f(x) - mean f(G(z))|^2`: generated images have the features of real ones on average.

    The means are those of the whole batch; real images are the goal, toward which no gradient goes
    through theirs. Salimans et al., "Improved Techniques for Training GANs" (2016), section 3.1.
    """
    of_fake, of_real = (jax.lax.pmean(x.mean(0), AXIS) for x in (fake, real))
    apart: Array = ((of_fake - jax.lax.stop_gradient(of_real)) ** 2).sum()
    return apart


def orthogonality(params: Variables) -> Float[Array, ""]:
    """`|W^T W - diag(W^T W)|^2`, summed over kernels `W` whose columns make the outputs.

    0 where the columns are orthogonal, whatever their lengths. Brock, Donahue and Simonyan, "Large
    Scale GAN Training for High Fidelity Natural Image Synthesis" (2019), equation 3.
    """
    total = jnp.zeros(())
    for path, kernel in jax.tree.leaves_with_path(params):
        if path[-1] == jax.tree_util.DictKey("kernel"):
            columns = kernel.reshape(-1, kernel.shape[-1])
            products = columns.T @ columns
            total += (jnp.where(jnp.eye(len(products), dtype=bool), 0, products) ** 2).sum()
    return total


def _gradient_penalty(shown: Shown) -> Value:
    assert shown.images is not None
    share = jax.vmap(jax.random.uniform)(shown.keys())
    return gradient_penalty(shown.logit_of, shown.images, shown.fakes, share)


def _r1(shown: Shown) -> Value:
    assert shown.images is not None
    return r1(shown.logit_of, shown.images)


def _r2(shown: Shown) -> Value:
    return r1(shown.fake_logit_of, shown.fakes)


def _lecam(shown: Shown) -> Value:
    real, fake = shown.judged
    assert real is not None
    usual = shown.controls["average_logit_real"], shown.controls["average_logit_fake"]
    return lecam(real, fake, *usual)


def _decoding(shown: Shown) -> Value:
    real, _ = shown.judged
    if real is None or real.decoding_error is None:
        raise UserError(
            "config.loss.decoding has a weight, but the discriminator decodes no images; set"
            " config.model.discriminator.decoder=True (of projected), or the weight to 0."
        )
    return real.decoding_error


def _feature_matching(shown: Shown) -> Value:
    real, fake = shown.judged
    if real is None or real.features is None or fake.features is None:
        raise UserError(
            "config.loss.feature_matching has a weight, but the discriminator gives no features;"
            " set config.model.discriminator.k_plus_one=True (of dcgan), or the weight to 0."
        )
    return feature_matching(fake.features, real.features)


def _consistency(half: Literal[0, 1], shown: Shown) -> Value:
    decided = shown.judged[half]
    assert decided is not None and shown.judge_varied is not None
    return consistency(decided, shown.judge_varied()[half])


def _mode_seeking(shown: Shown) -> Value:
    assert shown.latents is not None
    return mode_seeking(shown.fakes, shown.latents, shown.fake_labels)


def _beside_real(measure: Callable[..., Float[Array, ""]], shown: Shown) -> Value:
    if shown.images is None or shown.labels is None:
        raise ValueError("how generated images differ is measured by how real ones do: give some")
    return measure(shown.fakes, shown.fake_labels, shown.images, shown.labels)


TERMS = {
    "gradient_penalty": Term("discriminator", _gradient_penalty, lazy=True),
    "r1": Term("discriminator", _r1, lazy=True),
    "r2": Term("discriminator", _r2, lazy=True),
    "consistency_real": Term("discriminator", partial(_consistency, 0)),
    "consistency_fake": Term("discriminator", partial(_consistency, 1)),
    "decoding": Term("discriminator", _decoding),
    "lecam": Term("discriminator", _lecam, averages=("logit_real", "logit_fake")),
    "mode_seeking": Term("generator", _mode_seeking, whole_batch=True),
    "diversity": Term("generator", partial(_beside_real, diversity), whole_batch=True),
    "spread": Term("generator", partial(_beside_real, spread), whole_batch=True),
    "feature_matching": Term("generator", _feature_matching),
    "orthogonality": Term("generator", lambda shown: orthogonality(shown.params)),
}
