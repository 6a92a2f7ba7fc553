"""The verdict on masks: each word at its bounds, the worst patients, misses and false alarms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from common.data.settings import DataSettings
from common.runs.evaluation import HeldOut
from common.scores.bootstrap import Score
from unet.scores import Scored, View
from unet.verdict import verdict

EMPTY = {"tumour": {"both": 3, "truth_only": 1, "prediction_only": 2}}
CLASSES = ("background", "tumour")


def held(groups, name="test", synthetic=False):
    split = SimpleNamespace(groups=groups)
    return HeldOut(SimpleNamespace(synthetic=synthetic), split, name, DataSettings(), ())


def scored(dices, groups):
    """Images of 10 pixels of truth, of which so many shares are found and nothing else is."""
    confusion = [[[90, 0], [10 - round(10 * dice), round(10 * dice)]] for dice in dices]
    ids = tuple(f"image {place}" for place in range(len(groups)))
    distances = np.zeros((len(groups), 1))
    return Scored(ids, groups, np.array(confusion), distances, distances)


def said(dice=0.5, groups=("a",) * 6 + ("b",) * 6, found=None, **more):
    views = [
        View("tumour", f"per_{over}_with_truth", {"dice": Score(dice, dice - 0.1, 0.9)})
        for over in ("patient", "image")
    ]
    images = found or scored([1.0] * len(groups), groups)
    return verdict(views, images, CLASSES, EMPTY, held(groups, **more))


@pytest.mark.parametrize(
    ("dice", "words"),
    [
        (0.8, "Close to the drawn masks"),
        (0.79, "Fairly close to the drawn masks"),
        (0.6, "Fairly close to the drawn masks"),
        (0.59, "Some way from the drawn masks"),
        (0.29, "Far from the drawn masks"),
    ],
)
def test_words_follow_the_dice(dice, words):
    assert said(dice).startswith(
        f"{words}: Dice of tumour {dice:.2f} [{dice - 0.1:.2f}, 0.90], the mean of the patients"
        " that have some (12 images of 2 patients)."
    )


def test_without_known_patients_images_are_counted():
    text = said(groups=("",) * 12)
    assert "the mean of the images that have some (12 images of unknown patients" in text
    assert "worst" not in text


def test_a_class_that_no_image_has_has_no_score():
    assert said(math.nan).startswith("No image has any tumour, so there is no score of it.")


def test_the_worst_patients_are_named():
    groups = ("a", "b", "b", "c", "d")
    text = said(groups=groups, found=scored([1.0, 0.2, 0.4, 0.0, 0.9], groups))
    assert "It is worst on the patients c (0.00) and b (0.46)." in text


def test_false_alarms_and_misses_are_counted():
    expected = "It marks tumour in 1 of 4 images without any and finds none in 2 of 8 images with"
    assert expected in said()


def test_what_limits_the_scores_is_said():
    assert said(groups=tuple("abcdefghijkl")).endswith("with some.")
    text = said(name="val", synthetic=True)
    assert text.endswith(
        "These images also chose the checkpoint, so the scores are too high. So few patients say"
        " little of others. These are drawings, not patients."
    )
