"""Another image of the same patient for each of some images, as a function of (seed, step)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_STREAM = 2**31  # tells these draws from those of `epochs`, which has the epoch in its place

Indices = Int[np.ndarray, " some"]


class Partners:
    """Who may stand beside whom: the images of each patient, one after another."""

    def __init__(self, owners: Sequence[str]) -> None:
        """Sorts images by their patients, whose names `owners` are."""
        _, patients = np.unique(owners, return_inverse=True)
        self._order = np.argsort(patients, kind="stable")  # the images, patient by patient
        counts = np.bincount(patients)
        self._number = counts[patients]  # of images of the same patient
        self._first = (counts.cumsum() - counts)[patients]  # where these begin in the order
        places = np.empty(len(patients), np.int64)
        places[self._order] = np.arange(len(patients))
        self._rank = places - self._first  # among the patient's images

    def of(self, images: Indices, seed: int, step: int) -> Indices:
        """Returns a random other image of each one's patient; the image itself if it has no other.

        Args:
          images: indices.
          seed: of the run.
          step: of training.
        """
        number = self._number[images]
        random = np.random.default_rng([seed, _STREAM, step])
        further = 1 + random.integers(0, np.maximum(number - 1, 1))
        partners: Indices = self._order[
            self._first[images] + (self._rank[images] + further) % number
        ]
        return partners
