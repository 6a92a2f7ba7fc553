"""What an evaluation found, in words: how well classes are told apart, and which are missed."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.program.words import counted
from common.runs.evaluation import Counts, HeldOut
from common.scores.bootstrap import Score
from common.scores.classification import Predicted, owners, score_of_class

# The least area under the ROC curve, at the low end of its interval, for which the words are used.
_APART = (
    ("Tells the classes apart very well", 0.95),
    ("Tells the classes apart well", 0.85),
    ("Tells the classes apart in part", 0.7),
    ("Tells the classes apart a little", 0.5),
)
_NOT_SHOWN = "Not shown to be better than chance"


def verdict(
    scores: Mapping[str, Score], predicted: Predicted, classes: Sequence[str], held: HeldOut
) -> str:
    """Returns the sentences.

    Args:
      scores: by name.
      predicted: the predictions.
      classes: their names.
      held: the same images.
    """
    sentences = (
        _apart(scores, held.counts),
        _worst_class(scores, predicted, classes),
        _patients(predicted),
    )
    return " ".join(sentence for sentence in (*sentences, *held.caveats) if sentence)


def _apart(scores: Mapping[str, Score], counts: Counts) -> str:
    area, accuracy = scores["roc_auc_macro"], scores["accuracy"]
    if not area.is_known:
        return f"Accuracy {_told(accuracy)} ({counts.told}); of one class there is no AUC."
    words = next((words for words, least in _APART if area.low >= least), _NOT_SHOWN)
    return f"{words}: AUC {_told(area)}, accuracy {_told(accuracy)} ({counts.told})."


def _worst_class(scores: Mapping[str, Score], predicted: Predicted, classes: Sequence[str]) -> str:
    """Returns which class is missed most, and what it is taken for; of findings the worst AUC."""
    if predicted.labels.ndim == 2:
        areas = {name: scores[score_of_class("roc_auc", name)] for name in classes}
        ranked = sorted((x.value, name) for name, x in areas.items() if x.is_known)
        return f"Weakest on {ranked[0][1]}: AUC {_told(areas[ranked[0][1]])}." if ranked else ""
    found = {name: scores[score_of_class("sensitivity", name)] for name in classes}
    known = [name for name in classes if found[name].is_known]
    if len(known) < 2:
        return ""
    worst = min(known, key=lambda name: found[name].value)
    taken = predicted.confusion(len(classes))[classes.index(worst)]
    taken[classes.index(worst)] = 0
    if not taken.any():
        return "No image is taken for another class."
    other = classes[int(taken.argmax())]
    return (
        f"Weakest on {worst}: it finds {_told(found[worst])} of them and takes others for {other}."
    )


def _patients(predicted: Predicted) -> str:
    """Returns for how many patients most images are wrong, if patients are known."""
    if not any(predicted.groups) or predicted.labels.ndim == 2:
        return ""
    owner = owners(predicted)
    wrong = (predicted.choice != predicted.truth).any(-1)
    share = np.bincount(owner, wrong) / np.bincount(owner)
    return (
        f"Of {counted(len(share), 'patient')}, {int((share > 0.5).sum())} have most of their"
        " images wrong."
    )


def _told(score: Score) -> str:
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
