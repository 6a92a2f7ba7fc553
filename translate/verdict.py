"""What an evaluation found, in words: is the translation nearer to the truth than doing nothing?"""

from collections.abc import Mapping

from common.runs.evaluation import HeldOut
from common.scores.bootstrap import Score
from translate.scores import WHOLE

_BASELINES = {"input": "the input itself", "regression": "a regression of grey levels"}

OfRegions = Mapping[str, Mapping[str, Score]]  # region -> score


def verdict(scores: OfRegions, gains: Mapping[str, OfRegions], held: HeldOut) -> str:
    """Returns the sentences.

    Args:
      scores: of the translations.
      gains: how much higher they are than each baseline's.
      held: the same images.
    """
    regions = [region for region in scores if region != WHOLE]
    sentences = [_nearness(region, scores, gains) for region in regions]
    return " ".join(sentence for sentence in (*sentences, *held.caveats) if sentence)


def _nearness(region: str, scores: OfRegions, gains: Mapping[str, OfRegions]) -> str:
    error = scores[region]["mae"]
    if not error.is_known:
        return f"No image has any {region}, so there is no score of it."
    beaten = [
        f"{_compared(regions[region]['mae'])} than {_BASELINES[name]}"
        for name, regions in gains.items()
    ]
    return (
        f"In the {region}, translations are {100 * error.value:.1f} %"
        f" [{100 * error.low:.1f}, {100 * error.high:.1f}] of the range of grey levels off:"
        f" {' and '.join(beaten)}."
    )


def _compared(difference: Score) -> str:
    """Returns whether an error is smaller than another, in percent of the range."""
    size = f"by {100 * abs(difference.value):.1f} %"
    if difference.high < 0:
        return f"{size} nearer"
    if difference.low > 0:
        return f"{size} farther"
    return "neither surely nearer nor farther"
