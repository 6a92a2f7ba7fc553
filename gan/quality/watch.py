"""Quality during training, and a warning when training goes wrong.

Every `config.train.eval_every` the generator draws `config.quality.num_images` of each class, which
are compared with the training images (figures.py). One more measure is "spread", the variance of
generated images' features within their class as a share of the real ones': 1 is as varied as real
images, 0 one picture per class.

Three common failures of GANs are watched:

    saturation   the discriminator is sure of every image: the generator no longer learns
    diversity    the spread has fallen below a quarter: distances are half of the real ones
    distance     the Fréchet distance has been more than twice its best, twice in a row; a best
                 below its floor, the distance of two halves of the training images, counts as it

The first evaluation never warns, because hardly anything is learnt before it.
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
from gan.quality.reference import Labels, Reference, reference_of
from gan.quality.sample import draw_images
from gan.sampling import Sampler
from gan.state import GAN, GANState

_MOST = 2000  # training images
_ESTIMATION_BATCHES = 4
_SEED = 0
_SURE = 0.95  # of the discriminator's outputs, 0 to 1
_LEAST_SPREAD = 0.25
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
        return {metric: values[measure] for measure, metric in metrics.items()}

    return Measurement(
        names=tuple(metrics.values()),
        measure=measure,
        warnings=watch.warnings,
        stops=chosen.on_collapse == "stop",
    )


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
      floor: returns the floor of the distance.
      probabilities: whether the discriminator's outputs are probabilities.
    """

    frechet: str
    spread: str
    floor: Callable[[], float]
    probabilities: bool
    _best: tuple[float, int] = (np.inf, 0)
    _worse: int = 0
    _begun: bool = False
    _warned: set[str] = field(default_factory=set)

    def warnings(self, step: int, values: Mapping[str, float]) -> list[str]:
        """Returns a sentence for each failure that begins now.

        Args:
          step: the current one.
          values: the latest value of every metric; missing ones are not watched.
        """
        if self.frechet in values and not self._begun:
            self._begun = True
            self._best = values[self.frechet], step
            return []
        found = {
            "saturation": self._saturation(values),
            "diversity": self._diversity(values),
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

    def _distance(self, step: int, values: Mapping[str, float]) -> str:
        distance = values.get(self.frechet)
        if distance is None:
            return ""
        best, best_step = self._best
        if distance < best:
            self._best = distance, step
        self._worse = self._worse + 1 if distance > _FACTOR * max(best, self.floor()) else 0
        if self._worse < _IN_A_ROW:
            return ""
        return (
            f"the Fréchet distance is {distance:.3g}, more than twice its best, {best:.3g} at step"
            f" {best_step}; a run with --config.train.best_metric={self.frechet}"
            " --config.train.best_is=lowest keeps its best checkpoint."
        )
