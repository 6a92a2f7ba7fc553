"""What an evaluation found, in words: how near to the drawn masks, and where it fails."""

from collections.abc import Mapping, Sequence

from common.program.words import counted
from common.runs.evaluation import Counts
from unet.scores import Scored, View, patient_dice

# The least Dice for which the words are used. The experts of LGG brain MRI reach 0.84.
_NEAR = (
    ("Close to the drawn masks", 0.8),
    ("Near to the drawn masks", 0.6),
    ("Some way from the drawn masks", 0.3),
    ("Far from the drawn masks", -float("inf")),
)
_FEW = 10  # patients: fewer say little
_WORST = 2  # patients that are named


def verdict(
    views: Sequence[View],
    scored: Scored,
    classes: Sequence[str],
    empty: Mapping[str, Mapping[str, int]],
    counts: Counts,
) -> str:
    """Returns the sentences.

    Args:
      views: every score.
      scored: the images.
      classes: their names, the background first.
      empty: how many images have nothing to find or nothing found, by class.
      counts: of images and patients.
    """
    sentences = [
        sentence
        for index, name in enumerate(classes)
        if index
        for sentence in (
            _nearness(name, views, counts),
            _worst(name, index, scored),
            _alarms(name, empty[name], counts.images),
        )
    ]
    if (counts.patients or counts.images) < _FEW:
        sentences.append("So few patients say little of others.")
    return " ".join(sentence for sentence in sentences if sentence)


def _nearness(name: str, views: Sequence[View], counts: Counts) -> str:
    over = "per_patient" if counts.patients else "per_image"
    wanted = f"{over}_with_truth"
    dice = next(v.scores["dice"] for v in views if (v.class_name, v.name) == (name, wanted))
    if not dice.is_known:
        return f"{name}: no value, as no image has any."
    words = next(words for words, least in _NEAR if dice.value >= least)
    mean_of = "patients" if counts.patients else "images, whose patients are unknown"
    return (
        f"{words}: {name} has a Dice of {dice.value:.2f} [{dice.low:.2f}, {dice.high:.2f}], the"
        f" mean over {mean_of} on images with {name} ({counts.told})."
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
    parts = []
    if without:
        parts.append(f"marks some in {empty['truth_only']} of {counted(without, 'image')} without")
    if images > without:
        missed = f"{empty['prediction_only']} of {counted(images - without, 'image')} with"
        parts.append(f"finds none in {missed}")
    return f"It {' and '.join(parts)} {name}."
