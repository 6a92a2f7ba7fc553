"""Whether a generator repeats the images that it was trained on.

| figure         | asks                                                        | at best         |
|----------------|-------------------------------------------------------------|-----------------|
| suspicious     | how many generated images are as near to a training image   | 5 % of them,    |
|                | as only 5 % of new patients' images are?                    | or fewer        |
| copies         | how many are three times as near as that?                   | 0               |
| authenticity   | which share is farther from its nearest training image than | that of         |
|                | that image is from the next?                                | held-out images |
| membership AUC | does the discriminator know its training images?            | 0.5             |

The first two decide. They need held-out images: real ones of patients that the generator has not
seen. They and generated images are compared with the same training set, so its size does not
matter.

A generator that repeats a twentieth of its training images hides from the first: new images, too,
are suspicious in 5 % of cases. Its copies do not hide from the second. A new image is one rarely,
since few points in a space of many dimensions are near to a given one: of d-dimensional normal
sets, 0.2 % were at d = 3, 0.02 % at 5 and none at 10; a hundredth are needed for a verdict, and
none of 480 sets had these. Everything is computed on the host in float64.

The images of a set are assumed independent. If a patient has several images, hold out one of them:
with 12 patients of 5 images each, 8 % of simulated sets without any copy were flagged instead of
1 %. A generator that repeats one new image is flagged in 5 % of cases: whenever a new patient's
image would be suspicious. Mirrored, rotated or shifted copies are found only if such training
images are given, too, or if the features are invariant to it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, UInt8

from common.program.errors import UserError
from common.report.images import Picture, grid, titled, zoom_for
from common.scores.areas import area_under_curve
from gan.quality.measures import (
    Estimate,
    Exact,
    Features,
    blocks,
    check_kind,
    exact_features,
    squared_distances,
)

LEVEL = 0.01  # at most this share of generators of new images is flagged
RARE = 0.05  # at most this share of new patients' images counts as suspicious

_COPY = 1 / 3  # of the threshold: an image whose ratio is smaller is a copy
_FEW = 0.01  # the share of copies that is no accident, and two of them at least

_LEAST = 20  # images of each set; with fewer held-out ones none can be that rare
_NEIGHBOURS = 10  # training images that measure how densely these lie
_KEPT = 8  # pairs
_MANY_ERRORS = 3.0  # an AUC that many standard errors from 0.5 is not 0.5


class Pair(NamedTuple):
    """A generated image and the real ones next to it, as rows of their sets."""

    generated: int
    training: int
    held_out: int
    ratio: float


@dataclass(frozen=True)
class Memorization:
    """The result of the test for copies in one feature space.

    Attributes:
      training: images.
      held_out: images.
      generated: images.
      threshold: of the ratio of distances, below which an image is suspicious.
      suspicious: how many generated images are.
      copies: how many generated images have a ratio below a third of the threshold.
      p_value: the probability of as many or more if these were new patients' images.
      median: the median ratio of generated images.
      median_held_out: that of held-out images.
      authenticity: of generated images.
      authenticity_held_out: that of held-out images, its floor.
      pairs: the generated images with the smallest ratios, the smallest first, one for each
        training image, at most 8.
    """

    training: int
    held_out: int
    generated: int
    threshold: float
    suspicious: int
    copies: int
    p_value: float
    median: float
    median_held_out: float
    authenticity: float
    authenticity_held_out: float
    pairs: tuple[Pair, ...]

    @property
    def memorized(self) -> bool:
        """Whether the generator repeats training images, judged by this space alone."""
        return self.p_value < LEVEL or self.copied

    @property
    def copied(self) -> bool:
        """Whether so many generated images are copies that it is no accident."""
        return self.copies >= max(2, _FEW * self.generated)


def memorization(generated: Features, training: Features, held_out: Features) -> Memorization:
    """Returns the result of a test for copies by distances between images.

    The ratio of an image is that of `ratios`. The threshold is the r-th smallest ratio of the m
    held-out images, r the largest whole number with r / (m + 1) <= 0.05. Images below it are
    suspicious: a new patient's image with probability r / (m + 1) (Bates et al., "Testing for
    outliers with conformal p-values", 2023).

    If generated images are as new as held-out ones, all m + g ratios have, given the training set,
    the same distribution, and every order of them is equally likely. k or more suspicious images
    mean that at most r - 1 of the k + r - 1 smallest ratios are held-out images': a hypergeometric
    distribution. So the p-value is exact for any number of images, and takes into account that the
    threshold is itself an estimate (the precedence test: Nelson, "Tables for a precedence life
    test", 1963). Equal ratios make it larger.

    Raises:
      UserError: fewer than 20 images in a set, features that are not finite or are of two kinds.
    """
    for name, features in (("generated", generated), ("training", training)):
        _check_count(name, len(features))
    _check_count("held-out", len(held_out))
    check_kind(training.shape[1], generated.shape[1])
    check_kind(training.shape[1], held_out.shape[1], "held-out")
    exact_training = exact_features(training, _LEAST)
    # Far from the origin, distances would drown in rounding.
    centre = exact_training.mean(0)
    known = exact_training - centre
    made, unseen = (exact_features(x, _LEAST) - centre for x in (generated, held_out))
    of_made, of_unseen = _neighbourhood(made, known), _neighbourhood(unseen, known)
    rank = _rank(len(unseen))
    threshold = np.sort(of_unseen.ratios)[rank - 1]
    suspicious = int((of_made.ratios < threshold).sum())
    apart, _ = nearest(known, known, excluding_self=True)
    return Memorization(
        training=len(known),
        held_out=len(unseen),
        generated=len(made),
        threshold=float(threshold),
        suspicious=suspicious,
        copies=int((of_made.ratios < _COPY * threshold).sum()),
        p_value=precedence_p_value(suspicious, len(made), len(unseen)),
        median=float(np.median(of_made.ratios)),
        median_held_out=float(np.median(of_unseen.ratios)),
        authenticity=_authenticity(of_made, apart),
        authenticity_held_out=_authenticity(of_unseen, apart),
        pairs=_pairs(of_made, made, unseen),
    )


def nearest(
    queries: Features, references: Features, excluding_self: bool = False
) -> tuple[Float64[np.ndarray, " _images"], Int[np.ndarray, " _images"]]:
    """Returns each query's distance from the nearest reference, and which one that is.

    The distance from an exact copy is 0, without rounding.

    Args:
      queries: features of the images to look up.
      references: features of the images to search.
      excluding_self: the two sets are the same, and no image is its own neighbour.

    Raises:
      ValueError: the two sets have different numbers of images, though they are the same.
    """
    if excluding_self and len(queries) != len(references):
        raise ValueError(f"{len(queries)} and {len(references)} images are not one set")
    exact, others = (x.astype(np.float64, copy=False) for x in (queries, references))
    rows = [squares.argmin(1) for _, squares in _squares(exact, others, excluding_self)]
    found = np.concatenate(rows)
    return _distances(exact, others, found), found


def ratios(images: Features, training: Features) -> Float64[np.ndarray, " _images"]:
    """Returns how much nearer the nearest training image is than the nearest ten are on average.

    `d_1 / mean(d_1, ..., d_k)`, d_i the distance from the i-th nearest training image and k = 10:
    0 for a copy, 1 where all of these are equally far.

    Carlini et al., "Extracting Training Data from Diffusion Models" (2023), with
    k = 50. An image's ratio depends on this image and the training set alone, so ratios of
    held-out and generated images can be compared. The denominator measures how densely training
    images lie there, since being near to one is no sign of copying where all are near. Without it,
    generators of typical images are flagged, those of blurred images above all: in 200 dimensions
    60 % of generators that shrink new images towards the mean were, with it 1 %. The distance of
    the nearest training image from its own nearest neighbour in place of the mean has the same
    fault (13 %), and it is 0 if the training set holds an image twice.
    """
    exact, others = (x.astype(np.float64, copy=False) for x in (images, training))
    return _neighbourhood(exact, others).ratios


def precedence_p_value(suspicious: int, generated: int, held_out: int) -> float:
    """Returns the probability of so many suspicious images or more if generated ones are new."""
    from scipy.stats import hypergeom

    rank = _rank(held_out)
    smallest = suspicious + rank - 1
    return float(hypergeom.cdf(rank - 1, generated + held_out, held_out, smallest))


def membership_auc(
    scores_training: Float[np.ndarray, " _n"], scores_held_out: Float[np.ndarray, " _m"]
) -> Estimate:
    """Returns the chance that a training image scores above a held-out one; a tie counts half.

    Of a discriminator's outputs: 0.5 if these do not tell training images from held-out ones. The
    standard error is that of Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve" (1982); of an AUC of 0 or 1 it is 0, which is too small.

    Raises:
      UserError: a set without scores, or scores that are not finite.
    """
    n, m = len(scores_training), len(scores_held_out)
    if not (n and m):
        raise UserError(f"There are {n} training and {m} held-out images; both sets need some.")
    broken = sum(int((~np.isfinite(x)).sum()) for x in (scores_training, scores_held_out))
    if broken:
        raise UserError(
            f"The discriminator's outputs for {broken} of {n + m} real images are not finite; check"
            " these images and its weights."
        )
    both = np.concatenate([scores_training, scores_held_out])
    area = area_under_curve(both, np.arange(n + m) < n)
    of_two_training = area / (2 - area) - area**2
    of_two_held_out = 2 * area**2 / (1 + area) - area**2
    variance = area * (1 - area) + (n - 1) * of_two_training + (m - 1) * of_two_held_out
    return Estimate(area, math.sqrt(max(0.0, variance) / (n * m)))


def repeating(found: Mapping[str, Memorization]) -> tuple[str, ...]:
    """Returns the spaces in which a generator is found to repeat training images.

    The level is divided by the number of spaces (Bonferroni), so that a generator of new images is
    flagged in any of them as rarely as in one. Copies are none in any space by accident.
    """
    return tuple(name for name, x in found.items() if x.p_value < LEVEL / len(found) or x.copied)


def verdict(found: Mapping[str, Memorization], membership: Estimate | None = None) -> str:
    """Returns the verdict in one sentence.

    Args:
      found: by the name of the space, one or more.
      membership: `membership_auc`, which is reported but decides nothing: a discriminator may know
        images that the generator does not repeat.
    """
    if not found:
        raise ValueError("there is no feature space to judge by")
    guilty = repeating(found)
    start = "The generator repeats training images" if guilty else "No sign of memorisation"
    counts = _counts({name: found[name] for name in guilty or found}, LEVEL / len(found))
    return f"{start}: {', '.join(counts)}{_membership_text(membership) if membership else ''}."


def suspicious_picture(
    found: Memorization,
    generated: UInt8[np.ndarray, "_g height width channels"],
    training: UInt8[np.ndarray, "_n height width channels"],
    held_out: UInt8[np.ndarray, "_m height width channels"],
) -> Picture:
    """Returns the most suspicious pairs, one in a column, the most suspicious on the left.

    Args:
      found: in any space of features.
      generated: the measured images in their order; likewise the others.
      training: images.
      held_out: images.
    """
    rows = np.array([pair[:3] for pair in found.pairs]).T
    columns = zip((generated, training, held_out), rows, strict=True)
    picture = grid(np.stack([images[x] for images, x in columns]), zoom_for(generated.shape[1]))
    values = [pair.ratio for pair in found.pairs]
    titles = (
        "from the top: generated, nearest training image, nearest held-out image",
        f"ratios {min(values):.2f} to {max(values):.2f}; suspicious below {found.threshold:.2f}",
    )
    # A title is cut off where the picture ends.
    missing = max(0, 7 * len(titles[0]) - picture.shape[1])
    picture = np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    for title in reversed(titles):
        picture = titled(picture, title)
    return picture


class _Neighbourhood(NamedTuple):
    """Each image's distance from the nearest training image, which one that is, and the ratio."""

    distances: Float64[np.ndarray, " images"]
    rows: Int[np.ndarray, " images"]
    ratios: Float64[np.ndarray, " images"]


def _neighbourhood(images: Exact, training: Exact) -> _Neighbourhood:
    k = min(_NEIGHBOURS, len(training))
    rows, means = [], []
    for _, squares in _squares(images, training, excluding_self=False):
        rows.append(squares.argmin(1))
        of_nearest = np.partition(squares, k - 1, axis=1)[:, :k]
        means.append(np.sqrt(np.maximum(of_nearest, 0)).mean(1))
    found = np.concatenate(rows)
    distances = _distances(images, training, found)
    # If k training images are the same, the ratio of their copy is 0, not 0 / 0.
    mean = np.maximum(np.concatenate(means), distances)
    values = np.divide(distances, mean, out=np.zeros_like(mean), where=mean > 0)
    return _Neighbourhood(distances, found, values)


def _squares(
    queries: Exact, references: Exact, excluding_self: bool
) -> Iterator[tuple[slice, Float64[np.ndarray, "_rows _references"]]]:
    """Yields the squared distances of all pairs, some queries at a time."""
    for rows in blocks(len(queries)):
        squares = squared_distances(queries[rows], references)
        if excluding_self:
            own = np.arange(len(squares))
            squares[own, rows.start + own] = np.inf
        yield rows, squares


def _distances(
    queries: Exact, references: Exact, rows: Int[np.ndarray, " _images"]
) -> Float64[np.ndarray, " _images"]:
    """Returns the distances of pairs from differences, which are 0 where images are the same."""
    # One at a time: all differences of many large images need much memory.
    apart = (query - references[row] for query, row in zip(queries, rows, strict=True))
    return np.sqrt([difference @ difference for difference in apart])


def _authenticity(found: _Neighbourhood, apart: Float64[np.ndarray, " _training"]) -> float:
    """Returns the share of images farther from their training image than that is from the next.

    Alaa et al., "How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and
    Auditing Generative Models" (2022).
    """
    return float((found.distances > apart[found.rows]).mean())


def _pairs(found: _Neighbourhood, made: Exact, unseen: Exact) -> tuple[Pair, ...]:
    order = np.lexsort((found.distances, found.ratios))
    _, first = np.unique(found.rows[order], return_index=True)
    chosen = order[np.sort(first)[:_KEPT]]
    _, beside = nearest(made[chosen], unseen)
    return tuple(
        Pair(int(row), int(found.rows[row]), int(other), float(found.ratios[row]))
        for row, other in zip(chosen, beside, strict=True)
    )


def _rank(held_out: int) -> int:
    """Returns which of the sorted ratios of held-out images is the threshold, counted from 1."""
    return math.floor(RARE * (held_out + 1) + 1e-9)


def _check_count(name: str, count: int) -> None:
    if count < _LEAST:
        raise UserError(
            f"{count} {name} images are too few to tell whether the generator repeats training"
            f" images; give {_LEAST} or more."
        )


def _least_significant(found: Memorization, level: float) -> int:
    """Returns the smallest significant number of suspicious images."""
    counts = range(found.generated + 1)
    sizes = found.generated, found.held_out
    return next((k for k in counts if precedence_p_value(k, *sizes) < level), counts.stop)


def _counts(found: Mapping[str, Memorization], level: float) -> Iterator[str]:
    for number, (name, x) in enumerate(found.items()):
        counts = f"{x.suspicious} of {x.generated}"
        if not number:
            verb = "is" if x.suspicious == 1 else "are"
            counts += f" generated images {verb} as near to a training image as only"
            counts += f" {100 * RARE:.0f} % of new patients' are"
        least = _least_significant(x, level)
        copies = f"{x.copies} of them copied; " if x.copies else ""
        yield f"{counts} ({name}: {copies}p = {x.p_value:.2g}, significant from {least})"


def _membership_text(membership: Estimate) -> str:
    far = abs(membership.value - 0.5) > _MANY_ERRORS * membership.standard_error
    return (
        f"; the discriminator {'tells' if far else 'does not tell'} training images from held-out"
        f" ones (AUC {membership.value:.2f} ± {membership.standard_error:.2f})"
    )
