"""Do masks fit their images? A pixel classifier learns from other pairs and judges each.

It never sees the pair that it judges. Its scores of an image's pixels compare the mask with likely
mistakes: the mask inverted, the mask moved, and the masks of other images. A correct mask beats
them all. An empty one is odd if something stands out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from common.inspect.emptied import chances_of_a_filled_mask, filled_beside

LEAST_MASKS = 10  # neither empty nor full; fewer are too few to learn from
_FOLDS = 5
_SEED = 0
_LEARNT_FROM = 200  # images drawn per fold
_PIXELS = 60  # drawn inside and outside the mask of each of these images
_AT_ONCE = 64  # images described at once
_SCALES = (1, 2, 4, 8)  # standard deviations of blurs, in pixels of a thumbnail
_LEAST_PIXELS = 9  # of a thumbnail: smaller masks can't be judged at this size
_LEAST_DEVIATION = 1.0  # grey levels: keeps flat images from being amplified to noise
_MOVES = (-12, -8, -6, 0, 6, 8, 12)  # pixels of a thumbnail, along each axis
MOST_JUDGED = 5000  # pairs, drawn from more: each takes 16 kB and about 7 ms
_MOST_EXCHANGED = 2000  # worst-fitting masks among which exchanges are searched

# How much better another mask must fit than the given one (see `_fit`).
_INVERTED, _MOVED, _EXCHANGED = 0.3, 0.15, 0.06
_EMPTIED = 0.8  # probability of a non-empty mask above which an empty one is odd

Views = UInt8[np.ndarray, "num height width channels"]
Masks = Bool[np.ndarray, "num height width"]
Flat = Float[np.ndarray, "num pixels"]


@dataclass(frozen=True)
class Odd:
    """A mask that something else fits better.

    Attributes:
      row: of the pair.
      kind: "inverted", "exchanged", "moved" or "emptied".
      other: the pair whose mask fits better, and vice versa; -1 unless exchanged.
      gain: how much better it fits, see `_fit`; for an emptied one, how far the probability of a
        non-empty mask is above `_EMPTIED`.
    """

    row: int
    kind: str
    other: int
    gain: float


def odd_masks(
    images: Views,
    masks: Masks,
    owners: Sequence[str],
    empty: Bool[np.ndarray, " num"] | None = None,
) -> list[Odd]:
    """Returns the masks that seem to be inverted, exchanged, moved or emptied, the oddest first.

    Args:
      images: thumbnails; those of one owner in the order of slices, if there is one.
      masks: what is not background, at the same size. Tiny and full ones are not judged, and of the
        others at most `MOST_JUDGED`.
      owners: whom each image is of; no mask is judged by what was learnt from its owner.
      empty: which masks are empty at full size; None takes those empty in the thumbnails.
    """
    filled = judgeable(masks)
    something = np.asarray(masks.any((1, 2)))
    blank = ~something if empty is None else empty
    rows = np.sort(np.concatenate([_drawn(np.flatnonzero(filled)), _drawn(np.flatnonzero(blank))]))
    folds = _folds([owners[row] for row in rows.tolist()])
    if filled.sum() < LEAST_MASKS or folds is None:
        return []
    scores = _scores(images[rows], masks[rows], folds, filled[rows])
    judged, vacant = np.flatnonzero(filled[rows]), np.flatnonzero(blank[rows])
    beside = filled_beside(something, list(owners))[rows]
    size = images.shape[1:3]
    chances = chances_of_a_filled_mask(
        scores.reshape(-1, *size), filled[rows], beside.astype(np.float32), folds
    )
    found = [
        Odd(
            int(rows[judged[odd.row]]),
            odd.kind,
            int(rows[judged[odd.other]]) if odd.other >= 0 else -1,
            odd.gain,
        )
        for odd in _compared(_outstanding(scores[judged]), masks[rows[judged]])
    ]
    found += [
        Odd(int(rows[place]), "emptied", -1, float(chances[place]) - _EMPTIED)
        for place in vacant.tolist()
        if chances[place] > _EMPTIED
    ]
    return sorted(found, key=lambda odd: -odd.gain)


def judgeable(masks: Masks) -> Bool[np.ndarray, " num"]:
    """Returns which masks are neither empty nor full, nor nearly so."""
    inside = np.asarray(masks.sum((1, 2)))
    between: np.ndarray = (inside >= _LEAST_PIXELS) & (inside <= masks[0].size - _LEAST_PIXELS)
    return between


def _drawn(rows: Int[np.ndarray, " _num"]) -> Int[np.ndarray, " _drawn"]:
    """Returns at most `MOST_JUDGED` of some rows."""
    return np.random.default_rng(_SEED).permutation(rows)[:MOST_JUDGED]


def _folds(owners: Sequence[str]) -> Int[np.ndarray, " _num"] | None:
    """Returns the fold of each image, one fold per owner; None for a single owner."""
    known, owner = np.unique(owners, return_inverse=True)
    if len(known) < 2:
        return None
    return np.random.default_rng(_SEED).permutation(len(known))[owner] % _FOLDS


def _scores(
    images: Views, masks: Masks, folds: Int[np.ndarray, " num"], filled: Bool[np.ndarray, " num"]
) -> Flat:
    """Returns how much each pixel looks like foreground to a model of the other folds' masks."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(_SEED)
    scores = np.zeros((len(images), masks[0].size), np.float32)
    for fold in np.unique(folds):
        others = np.flatnonzero((folds != fold) & filled)
        others = random.permutation(others)[:_LEARNT_FROM]
        features, labels = _examples(images[others], masks[others], random)
        forest = HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=_SEED
        )
        # Its threads spin while waiting: on a busy machine several take a hundred times as long.
        with threadpool_limits(1, "openmp"):
            forest.fit(features, labels)
            for rows in _parts(np.flatnonzero(folds == fold)):
                described = _described(images[rows])
                flat = described.reshape(-1, described.shape[-1])
                scores[rows] = forest.decision_function(flat).reshape(len(rows), -1)
    return scores


def _outstanding(scores: Float[np.ndarray, "num pixels"]) -> Flat:
    """Returns how much each pixel stands out from its image as foreground, 0 on average.

    It is `-log2(r) - mean`, where r is the share of the image's pixels that look at least as much
    like foreground: when r doubles, the value falls by 1.
    """
    ranks = (-scores).argsort(1, kind="stable").argsort(1, kind="stable") + 1
    outstanding = -np.log2(ranks / scores.shape[1])
    centred: np.ndarray = (outstanding - outstanding.mean(1, keepdims=True)).astype(np.float32)
    return centred


def _examples(
    images: Views, masks: Masks, random: np.random.Generator
) -> tuple[Float[np.ndarray, "_drawn _features"], Bool[np.ndarray, " _drawn"]]:
    """Draws equally many pixels inside and outside each mask."""
    features, labels = [], []
    for rows in _parts(np.arange(len(images))):
        for described, mask in zip(_described(images[rows]), masks[rows], strict=True):
            for side in (False, True):
                places = random.permutation(np.flatnonzero(mask.ravel() == side))[:_PIXELS]
                features.append(described.reshape(-1, described.shape[-1])[places])
                labels.append(np.full(len(places), side))
    return np.concatenate(features), np.concatenate(labels)


def _parts(rows: Int[np.ndarray, " _num"]) -> Iterator[Int[np.ndarray, " _part"]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _described(images: Views) -> Float[np.ndarray, "num height width _features"]:
    """Returns the features of each pixel: its surroundings at several scales, and its position."""
    from scipy import ndimage

    _, height, width, channels = images.shape
    features = []
    for channel in range(channels):
        grey = images[..., channel].astype(np.float32)
        deviation = np.maximum(grey.std((1, 2), keepdims=True), _LEAST_DEVIATION)
        grey = (grey - grey.mean((1, 2), keepdims=True)) / deviation
        blurs = [ndimage.gaussian_filter(grey, (0, scale, scale)) for scale in _SCALES]
        slope = np.hypot(ndimage.sobel(blurs[0], 1), ndimage.sobel(blurs[0], 2))
        power = ndimage.gaussian_filter(grey**2, (0, _SCALES[1], _SCALES[1]))
        unrest = np.sqrt(np.maximum(power - blurs[1] ** 2, 0))
        unlike_other_side = blurs[0] - blurs[0][:, :, ::-1]
        features += [grey, *blurs, slope, unrest, unlike_other_side]
    down, across = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    for place in (down, np.abs(across), np.hypot(down, across)):
        features.append(np.broadcast_to(place, images.shape[:3]))
    return np.stack(features, axis=-1)


def _fit(opinions: Flat, masks: Flat) -> Float[np.ndarray, " num"]:
    """Returns how well each mask fits: 1 if no pixels could fit better, 0 for chance.

    It is how much its pixels stand out on average, over `-log2` of the share of pixels that it
    covers, the most that so many can reach. So masks of all sizes compare; below 0 the rest fits
    better.
    """
    shares: np.ndarray = (opinions * masks).sum(1) / masks.sum(1) / -np.log2(masks.mean(1))
    return shares


def _compared(opinions: Flat, masks: Masks) -> Iterator[Odd]:
    """Yields the masks that one of the alternatives beats, each once."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    own = _fit(opinions, flat)
    inverted = _fit(opinions, 1 - flat) - own
    moved = _best_moved(opinions, masks) - own
    partner, exchanged = _best_exchange(opinions, flat, own, inverted > _INVERTED)
    for row in range(len(masks)):
        if inverted[row] > _INVERTED:
            yield Odd(row, "inverted", -1, float(inverted[row]))
        elif exchanged[row] > _EXCHANGED:
            yield Odd(row, "exchanged", int(partner[row]), float(exchanged[row]))
        elif moved[row] > _MOVED:
            yield Odd(row, "moved", -1, float(moved[row]))


def _best_moved(opinions: Flat, masks: Masks) -> Float[np.ndarray, " num"]:
    """Returns how well each mask fits at its best other position."""
    best = np.full(len(masks), -np.inf, np.float32)
    for down in _MOVES:
        for across in _MOVES:
            if down or across:
                moved = np.roll(masks, (down, across), (1, 2)).reshape(len(masks), -1)
                best = np.maximum(best, _fit(opinions, moved.astype(np.float32)))
    return best


def _best_exchange(
    opinions: Flat, masks: Flat, own: Float[np.ndarray, " num"], barred: Bool[np.ndarray, " num"]
) -> tuple[Int[np.ndarray, " num"], Float[np.ndarray, " num"]]:
    """Returns for each mask the best exchange from which both gain, and the gain."""
    partner = np.full(len(own), -1)
    gain = np.full(len(own), -np.inf, np.float32)
    rows = np.flatnonzero(~barred)
    rows = rows[own[rows].argsort(kind="stable")][:_MOST_EXCHANGED]
    if len(rows) < 2:
        return partner, gain
    chosen = masks[rows]
    fits = opinions[rows] @ chosen.T / (chosen.sum(1) * -np.log2(chosen.mean(1)))  # as `_fit`
    one = fits - own[rows][:, None]
    both = np.minimum(one, one.T)
    np.fill_diagonal(both, -np.inf)
    partner[rows] = rows[both.argmax(1)]
    gain[rows] = both.max(1)
    return partner, gain
