"""The verdict on classes: each word at its bounds, the weakest class, the patients that fail."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from classify.verdict import verdict
from common.data.settings import DataSettings
from common.runs.evaluation import HeldOut
from common.scores.bootstrap import Score
from common.scores.classification import Predicted

CLASSES = ("ill", "well", "else")


def predicted(labels, chosen, groups=None):
    groups = groups or tuple(f"p{place}" for place in range(len(labels)))
    shares = np.eye(3)[list(chosen)]
    return Predicted(tuple(map(str, range(len(labels)))), groups, np.array(labels), shares)


def said(low=0.9, area=0.95, sensitivity=(0.5, 0.9, 1.0), images=None):
    images = images or predicted([0, 0, 1, 2] * 3, [0, 1, 1, 2] * 3)
    scores = {"roc_auc_macro": Score(area, low, 0.99), "accuracy": Score(0.8, 0.7, 0.9)}
    for name, value in zip(CLASSES, sensitivity, strict=True):
        scores[f"sensitivity_{name}"] = Score(value, 0.25, 1.0)
    held = HeldOut(
        *(SimpleNamespace(synthetic=False), SimpleNamespace(groups=images.groups), "test"),
        *(DataSettings(), ()),
    )
    return verdict(scores, images, CLASSES, held)


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.95, "Tells the classes apart very well"),
        (0.94, "Tells the classes apart well"),
        (0.84, "Tells the classes apart in part"),
        (0.69, "Tells the classes apart a little"),
        (0.49, "Not shown to be better than chance"),
        (math.nan, "Not shown to be better than chance"),
    ],
)
def test_words_follow_the_low_end_of_the_interval(low, words):
    text = said(low)
    assert text.startswith(f"{words}: AUC 0.95 [{low:.2f}, 0.99], accuracy 0.80 [0.70, 0.90]")
    assert "(12 images of 12 patients)" in text


def test_of_one_class_there_is_no_area():
    text = said(area=math.nan, sensitivity=(0.5, math.nan, math.nan))
    assert text.startswith("Accuracy 0.80 [0.70, 0.90] (12 images of 12 patients); of one class")
    assert "Weakest" not in text


def test_the_weakest_class_is_named_with_what_it_is_taken_for():
    assert "Weakest on ill: it finds 0.50 [0.25, 1.00] of them and takes others for well." in said()
    right = predicted([0, 1, 2], [0, 1, 2])
    assert "No image is taken for another class." in said(images=right)


def test_patients_most_of_whose_images_are_wrong_are_counted():
    images = predicted([0] * 6, [0, 1, 1, 0, 1, 0], ("a", "a", "a", "b", "b", "c"))
    text = said(images=images)
    assert "Of 3 patients, 1 have most of their images wrong." in text
    assert text.endswith("So few patients say little of others.")
    assert "most of their" not in said(images=predicted([0, 1], [1, 1], ("", "")))
