"""Quality during training, and a warning when training goes wrong.

Every `config.train.eval_every` the generator draws `config.quality.num_images` of each class, which
are compared with the training images (figures.py). Two more measures say how varied they are, 1 as
real images, 0 if a class is one picture: "spread", the variance of generated images' features
within their class as a share of the real ones', and the "variety" of each class, the same share of
`1 - MS-SSIM` of its pairs (variety.py).

Four common failures of GANs are watched:

    saturation   the discriminator is sure of every image: the generator no longer learns
    diversity    the spread has fallen below a quarter: distances are half of the real ones
    repetition   the variety of a class has fallen below 0.4
    distance     the Fréchet distance has been more than twice its best, twice in a row; a best
                 below its floor, the distance of two halves of the training images, counts as it

The first evaluation does not judge distances, because hardly anything is learnt before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import jax
import numpy as np

from common.data.prepared.prepared import Prepared
from common.program.errors import UserError
from common.program.words import counted
from common.training.task import Measurement
from gan.config import QualitySettings
from gan.quality.features import Extractor, make_extractors
from gan.quality.figures import ALL, Comparison
from gan.quality.measures import (
    Features,
    disjoint_halves,
    frechet_distance,
    kernel_distance,
    manifold_scores,
)
from gan.quality.reference import Images, Labels, Reference, reference_of
from gan.quality.sample import draw_images
from gan.quality.variety import Pairs, measures_of_pairs
from gan.sampling import Sampler
from gan.state import GAN, GANState

_MOST = 2000  # training images
_ESTIMATION_BATCHES = 4
_SEED = 0
_SURE = 0.95  # of the discriminator's outputs, 0 to 1
_LEAST_SPREAD = 0.25
_LEAST_VARIETY = 0.4
_VARIETY = "quality/variety_"  # how the name of the metric of a class begins
_FACTOR, _IN_A_ROW = 2.0, 2
_MEASURES = ("frechet", "kernel", "precision", "recall", "density", "coverage", "spread")


def measurement(
    gan: GAN, sampler: Sampler, prepared: Prepared, chosen: QualitySettings, cache_dir: str
) -> Measurement[GANState] | None:
    """Returns the measurement of a GAN in training; None if the extractor is "".

    Raises:
      UserError: a setting is invalid.
    """
    if not chosen.extractor:
        return None
    extractor = _only_extractor(prepared, chosen)
    reference = reference_of(prepared, "train", gan.conditional, [extractor], cache_dir, _MOST)
    counts = reference.proportions(chosen.num_images)
    name = extractor.name
    number = len(reference.rows)
    compared = Comparison(name, ALL, "train", number, sum(counts))
    metrics = {measure: f"quality/{compared.name_of(measure)}" for measure in _MEASURES}
    watched = measures_of_pairs(prepared.card.image_size)
    watched.pop("lpips", None)  # it takes minutes
    pairs = Pairs(prepared.splits["train"], reference, watched)
    varieties = {_VARIETY + name: name for name in pairs.classes if watched}

    @cache
    def of_real_images() -> Features:
        return reference.scaled(name, reference.features[name]())

    @cache
    def floor() -> float:
        first, second = disjoint_halves([str(i) for i in range(number)], 0)
        return frechet_distance(of_real_images()[first], of_real_images()[second])

    watch = CollapseWatch(
        metrics["frechet"],
        metrics["spread"],
        varieties,
        floor,
        probabilities=gan.loss.output is jax.nn.sigmoid,
    )

    def measure(state: GANState) -> dict[str, float]:
        variables = sampler.variables(state, _ESTIMATION_BATCHES)
        images, labels = draw_images(sampler, variables, _SEED, counts)
        real, made = of_real_images(), reference.scaled(name, extractor.extract(images))
        values = {
            "frechet": frechet_distance(real, made),
            "kernel": kernel_distance(real, made).value,
            **manifold_scores(real, made, chosen.k)._asdict(),
            "spread": spread(reference, real, made, labels),
        }
        found = {metric: values[measure] for measure, metric in metrics.items()}
        return found | _shares(pairs, images, labels)

    return Measurement(
        names=(*metrics.values(), *varieties),
        measure=measure,
        warnings=watch.warnings,
        stops=chosen.on_collapse == "stop",
    )


def _shares(pairs: Pairs, images: Images, labels: Labels) -> dict[str, float]:
    """Returns the variety of each class by the name of its metric."""
    found = pairs.compare(images, labels)
    return {_VARIETY + name: some[0].share for name, some in found.items() if some}


def _only_extractor(prepared: Prepared, chosen: QualitySettings) -> Extractor:
    """Returns the extractor of config.quality; refuses invalid settings of it."""
    card = prepared.card
    (extractor, *more) = make_extractors(chosen.extractor, card.image_size, card.channels)
    if more:
        raise UserError(
            f"config.quality.extractor is {chosen.extractor!r}; training watches one, and"
            " --mode=evaluate --extractors measures several."
        )
    least, training = max(chosen.k + 1, 3), len(prepared.splits["train"])
    if min(chosen.num_images, training) < least:
        raise UserError(
            f"config.quality.num_images is {chosen.num_images}, and training has"
            f" {counted(training, 'image')}; config.quality.k={chosen.k} needs {least} of both; add"
            " images, or turn this off with --config.quality.extractor=''"
        )
    return extractor


def spread(reference: Reference, real: Features, made: Features, labels: Labels) -> float:
    """Returns the variance within classes of generated features as a share of the real ones'.

    Args:
      reference: has the real labels.
      real: its features.
      made: features of generated images.
      labels: of the generated images.
    """
    known = reference.labels if reference.classes else np.zeros(len(real), int)
    return _within(made, labels) / max(_within(real, known), np.finfo(float).tiny)


def _within(features: Features, labels: Labels) -> float:
    """Returns the mean over classes of the summed variances of the features."""
    of_classes = [features[labels == label] for label in np.unique(labels)]
    return float(np.mean([some.var(0, dtype=np.float64).sum() for some in of_classes]))


@dataclass
class CollapseWatch:
    """Warns of each failure once, in one sentence.

    Attributes:
      frechet: the metric name of the distance.
      spread: the metric name of the spread.
      varieties: the class whose variety a metric is.
      floor: returns the floor of the distance.
      probabilities: whether the discriminator's outputs are probabilities.
    """

    frechet: str
    spread: str
    varieties: Mapping[str, str]
    floor: Callable[[], float]
    probabilities: bool
    _best: tuple[float, int] = (np.inf, 0)
    _worse: int = 0
    _warned: set[str] = field(default_factory=set)

    def warnings(self, step: int, values: Mapping[str, float]) -> list[str]:
        """Returns a sentence for each failure that begins now.

        Args:
          step: the current one.
          values: the latest value of every metric; missing ones are not watched.
        """
        found = {
            "saturation": self._saturation(values),
            "diversity": self._diversity(values),
            "repetition": self._repetition(values),
            "distance": self._distance(step, values),
        }
        new = [name for name, sentence in found.items() if sentence and name not in self._warned]
        self._warned = {name for name, sentence in found.items() if sentence}
        return [f"Step {step}: {found[name]}" for name in new]

    def _saturation(self, values: Mapping[str, float]) -> str:
        if not self.probabilities:
            return ""
        real = values.get("train/discriminator_output_real", 0.5)
        fake = values.get("train/discriminator_output_fake", 0.5)
        if real <= _SURE or fake >= 1 - _SURE:
            return ""
        return (
            f"the discriminator is saturated ({real:.3f} for real and {fake:.3f} for generated"
            " images), so the generator learns little; give the discriminator a lower learning"
            " rate, dropout, or --config.loss.r1=1."
        )

    def _diversity(self, values: Mapping[str, float]) -> str:
        share = values.get(self.spread, 1.0)
        if share >= _LEAST_SPREAD:
            return ""
        return (
            f"generated images of a class vary {share:.0%} as much as real ones (variance of their"
            " features): the generator collapses onto few pictures."
        )

    def _repetition(self, values: Mapping[str, float]) -> str:
        known = {metric: values[metric] for metric in self.varieties if metric in values}
        least = min(known, key=known.__getitem__, default="")
        if not least or known[least] >= _LEAST_VARIETY:
            return ""
        of_class = "" if self.varieties[least] == ALL else f" of {self.varieties[least]}"
        return (
            f"pairs of generated images{of_class} differ {known[least]:.0%} as much as real ones"
            " (by MS-SSIM): the generator repeats few pictures; --config.loss.diversity=5 or a"
            " larger batch keeps them apart."
        )

    def _distance(self, step: int, values: Mapping[str, float]) -> str:
        distance = values.get(self.frechet)
        if distance is None:
            return ""
        best, best_step = self._best
        if distance < best:
            self._best = best, best_step = distance, step
        self._worse = self._worse + 1 if distance > _FACTOR * max(best, self.floor()) else 0
        if self._worse < _IN_A_ROW:
            return ""
        return (
            f"the Fréchet distance is {distance:.3g}, more than twice its best, {best:.3g} at step"
            f" {best_step}; a run with --config.train.best_metric={self.frechet}"
            " --config.train.best_is=lowest keeps its best checkpoint."
        )
