"""What an evaluation found, in three sentences: how near to real, how varied, how new."""

from collections.abc import Mapping, Sequence

from gan.quality.figures import ALL, Figure
from gan.quality.novelty import Novelty
from gan.quality.variety import Diversity

# Features that generated images are judged by first: a critic from ImageNet did not see them.
_FIRST = "radiomic"
_MEASURES = {"ms_ssim": "MS-SSIM", "lpips": "LPIPS"}
# The least coverage, as a share of the floor, and the largest Fréchet distance, as a multiple of
# it, for which the words are used.
_NEAR = (
    ("As near to real images as other real images are", 0.9, 2.0),
    ("Near to real images", 0.6, 5.0),
    ("Some way from real images", 0.3, 20.0),
    ("Far from real images", 0.0, float("inf")),
)
# The least difference of pairs, as a share of that of real ones.
_VARIED = (
    ("As varied as real images", 0.85),
    ("Less varied than real images", 0.6),
    ("Much less varied than real images", 0.3),
    ("Collapsed", -float("inf")),
)


def verdict(
    figures: Sequence[Figure], diversities: Mapping[str, Sequence[Diversity]], novelty: Novelty
) -> str:
    """Returns the sentences.

    Args:
      figures: of all images; coverage and Fréchet distance are compared at one number of images.
      diversities: of each class.
      novelty: whether the images are new.
    """
    sentences = (_nearness(figures), _variety(diversities), novelty.verdict)
    return " ".join(sentence for sentence in sentences if sentence)


def _nearness(figures: Sequence[Figure]) -> str:
    of_all = [figure for figure in figures if figure.comparison.class_name == ALL]
    extractors = list(dict.fromkeys(figure.comparison.extractor for figure in of_all))
    if not extractors:
        return ""
    extractor = _FIRST if _FIRST in extractors else extractors[0]
    by_name = {f.name: f for f in of_all if f.comparison.extractor == extractor}
    coverage, frechet = by_name["coverage"], by_name["frechet"]
    words = next(
        words
        for words, share, times in _NEAR
        if coverage.same_n >= share * coverage.floor and frechet.same_n <= times * frechet.floor
    )
    return (
        f"{words}, by {extractor} features: coverage {coverage.same_n:.2f} (of real images"
        f" {coverage.floor:.2f}), Fréchet distance {frechet.same_n:.3g} ({frechet.floor:.3g})."
    )


def _variety(diversities: Mapping[str, Sequence[Diversity]]) -> str:
    pairs = [
        (some.share, name, some.name) for name, all_of in diversities.items() for some in all_of
    ]
    if not pairs:
        return ""
    share, name, measure = min(pairs)
    words = next(words for words, least in _VARIED if share >= least)
    where = "" if name == ALL else f" of {name}"
    return f"{words}: pairs{where} differ {share:.0%} as much as real pairs ({_MEASURES[measure]})."
