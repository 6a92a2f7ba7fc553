"""How alike the images of a class are, pair by pair, beside real ones.

A generator that draws one good picture again and again has a good Fréchet distance for that; only
pairs show it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from common.data.prepared.prepared import Split
from common.networks import lpips
from common.networks.vgg16 import weights_are_bundled
from common.scores import ssim
from gan.quality.figures import ALL
from gan.quality.reference import Images, Labels, Reference

_MOST = 100  # images of a class
_LEAST_SSIM, _LEAST_LPIPS = 11, 16  # pixels

Units = Float[np.ndarray, "images height width channels"]  # in [0, 1]
MeasureOfPairs = Callable[[Units], float]


@dataclass(frozen=True)
class Diversity:
    """How alike (MS-SSIM) or how different (LPIPS) images of one class are, on average of pairs."""

    name: str
    generated: float
    real: float

    @property
    def share(self) -> float:
        """Returns how much generated pairs differ, as a share of real ones: 0 if all are equal."""
        if self.name == "ms_ssim":
            return (1 - self.generated) / max(1 - self.real, np.finfo(float).tiny)
        return self.generated / max(self.real, np.finfo(float).tiny)


def measures_of_pairs(size: int) -> dict[str, MeasureOfPairs]:
    """Returns the measures that images of a size can have.

    "ms_ssim" is the mean MS-SSIM of 100 random pairs, 1 if all images are equal; "lpips" the mean
    LPIPS distance of all pairs, then 0. One is left out if the images are too small for it or its
    weights are missing.
    """
    found: dict[str, MeasureOfPairs] = {}
    if size >= _LEAST_SSIM:
        found["ms_ssim"] = ssim.mean_pairwise
    if size >= _LEAST_LPIPS and weights_are_bundled():
        found["lpips"] = lpips.mean_pairwise
    return found


class Pairs:
    """Compares the pairs of generated images of each class with those of real ones."""

    def __init__(
        self, split: Split, reference: Reference, measures: Mapping[str, MeasureOfPairs]
    ) -> None:
        """Prepares the comparison; real images are read and measured on first use.

        Args:
          split: of the real images.
          reference: which of them are compared.
          measures: of pairs, by name.
        """
        self._split, self._reference, self._measures = split, reference, measures
        self._real: dict[str, dict[str, float]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes; "all" of an unconditional generator."""
        return self._reference.classes or (ALL,)

    def compare(self, images: Images, labels: Labels) -> dict[str, tuple[Diversity, ...]]:
        """Returns the diversity of up to 100 generated images of each class.

        A class with fewer than two images of either kind is left out.

        Args:
          images: generated ones.
          labels: their classes; 0 of an unconditional generator.
        """
        found = {}
        for label, name in enumerate(self.classes):
            made, real = images[labels == label][:_MOST], self._of_real(label, name)
            if len(made) > 1 and real is not None:
                found[name] = tuple(
                    Diversity(measure, of(_unit(made)), real[measure])
                    for measure, of in self._measures.items()
                )
        return found

    def _of_real(self, label: int, name: str) -> dict[str, float] | None:
        reference = self._reference
        rows = reference.rows
        if reference.classes:
            rows = rows[reference.labels == label]
        if len(rows) < 2:
            return None
        if name not in self._real:
            some = np.random.default_rng(0).permutation(rows)[:_MOST].tolist()
            units = _unit(self._split.read(some)["image"])
            self._real[name] = {measure: of(units) for measure, of in self._measures.items()}
        return self._real[name]


def _unit(images: Images) -> Units:
    return images.astype(np.float32) / 255
