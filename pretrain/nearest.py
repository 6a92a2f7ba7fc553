"""What the nearest images say: a measure of features that learns nothing more."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from common.report.images import Picture, grid, titled, zoom_for

_TEMPERATURE = 0.07  # of the votes
_OWN = 4.0  # makes an image of the same patient less like than any other
_AT_ONCE = 1024  # images that are compared with all others

Features = Float[np.ndarray, "images features"]
Stored = UInt8[np.ndarray, "images height width channels"]


class Nearest(NamedTuple):
    """The images most like each of some others, the nearest first.

    Attributes:
      places: their indices.
      cosines: of the features.
    """

    places: Int[np.ndarray, "images number"]
    cosines: Float[np.ndarray, "images number"]


def nearest(
    features: Features,
    known: Float[np.ndarray, "known features"],
    number: int,
    owners: tuple[Int[np.ndarray, " images"], Int[np.ndarray, " known"]] | None = None,
) -> Nearest:
    """Returns the known images whose features have the largest cosines with those of each image.

    Args:
      features: of the images, of length 1.
      known: of the known images, of length 1.
      number: of nearest ones; all known ones if there are fewer.
      owners: patients of the images and of the known ones: nobody is near to themselves while
        there are others.
    """
    parts = []
    for start in range(0, len(features), _AT_ONCE):
        cosines = features[start : start + _AT_ONCE] @ known.T
        if owners is not None:
            mine = owners[0][start : start + _AT_ONCE, None] == owners[1]
            cosines = cosines - _OWN * mine
        places = np.argsort(-cosines, axis=1, kind="stable")[:, :number]
        parts.append(Nearest(places, np.take_along_axis(cosines, places, 1)))
    return Nearest(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def votes(
    found: Nearest, shown: Bool[np.ndarray, "known classes"]
) -> Float[np.ndarray, "images classes"]:
    """Returns the share of the nearest images that show each class, by their likeness.

    A vote weighs `exp(cosine / 0.07)`. Source: Wu, Xiong, Yu and Lin, "Unsupervised
    Feature Learning via Non-Parametric Instance Discrimination" (2018), section 3.4.

    Args:
      found: the nearest images.
      shown: what each known image shows.
    """
    weights = np.exp((found.cosines - found.cosines[:, :1]) / _TEMPERATURE)
    weights /= weights.sum(1, keepdims=True)
    shares: np.ndarray = np.einsum("in,inc->ic", weights, shown[found.places].astype(float))
    return shares


def picture_of_rows(columns: Sequence[Stored], title: str) -> Picture:
    """Returns a row for each image: its pictures in all columns, side by side."""
    rows = np.stack(columns, 1)
    return titled(grid(rows, zoom_for(rows.shape[2])), title)
