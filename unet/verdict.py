"""What an evaluation found, in words: how near to the drawn masks, and where it fails."""

from collections.abc import Mapping, Sequence

from common.program.words import counted
from common.runs.evaluation import Counts, HeldOut
from unet.scores import Scored, View, patient_dice

# The least Dice for which the words are used. The experts of LGG brain MRI reach 0.84.
_NEAR = (
    ("Close to the drawn masks", 0.8),
    ("Fairly close to the drawn masks", 0.6),
    ("Some way from the drawn masks", 0.3),
    ("Far from the drawn masks", -float("inf")),
)
_WORST = 2  # patients that are named


def verdict(
    views: Sequence[View],
    scored: Scored,
    classes: Sequence[str],
    empty: Mapping[str, Mapping[str, int]],
    held: HeldOut,
) -> str:
    """Returns the sentences.

    Args:
      views: every score.
      scored: the images.
      classes: their names, the background first.
      empty: how many images have nothing to find or nothing found, by class.
      held: the same images.
    """
    counts = held.counts
    sentences = [
        sentence
        for index, name in enumerate(classes[1:], 1)
        for sentence in (
            _nearness(name, views, counts),
            _worst(name, index, scored),
            _alarms(name, empty[name], counts.images),
        )
    ]
    return " ".join(sentence for sentence in (*sentences, *held.caveats) if sentence)


def _nearness(name: str, views: Sequence[View], counts: Counts) -> str:
    over = "patient" if counts.patients else "image"
    wanted = (name, f"per_{over}_with_truth")
    dice = next(view.scores["dice"] for view in views if (view.class_name, view.name) == wanted)
    if not dice.is_known:
        return f"No image has any {name}, so there is no score of it."
    words = next(words for words, least in _NEAR if dice.value >= least)
    return (
        f"{words}: Dice of {name} {dice.value:.2f} [{dice.low:.2f}, {dice.high:.2f}], the mean of"
        f" the {over}s that have some ({counts.told})."
    )


def _worst(name: str, index: int, scored: Scored) -> str:
    dice = patient_dice(scored, index)
    if not scored.knows_patients or len(dice) <= _WORST:
        return ""
    worst = sorted(dice, key=lambda owner: dice[owner])[:_WORST]
    named = " and ".join(f"{owner} ({dice[owner]:.2f})" for owner in worst)
    return f"It is worst on the patients {named}."


def _alarms(name: str, empty: Mapping[str, int], images: int) -> str:
    """Returns how often something is found where nothing is, and the other way round."""
    without = empty["both"] + empty["truth_only"]
    alarms = f"marks {name} in {empty['truth_only']} of {counted(without, 'image')} without any"
    missed = f"{empty['prediction_only']} of {counted(images - without, 'image')} with some"
    parts = [alarms] * (without > 0) + [f"finds none in {missed}"] * (images > without)
    return f"It {' and '.join(parts)}."
