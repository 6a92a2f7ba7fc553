"""Scores of segmentations against scikit-learn, brute force and the table of empty cases."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn import metrics as reference

from common.scores.metrics import confusion_of
from unet.scores import (
    Scored,
    image_rows,
    patient_rows,
    readings,
    summary,
    surface_distances,
)

RNG = np.random.default_rng(0)
SIZE = (24, 20)


def blobs(num, classes, rng=RNG):
    """Random masks with some empty ones among them."""
    masks = rng.integers(0, classes, (num, *SIZE)).astype(np.uint8)
    masks[::5] = 0
    return masks


def scored_of(truth, predicted, classes, groups=None):
    distances = np.array(
        [
            [surface_distances(t == c, p == c) for c in range(1, classes)]
            for t, p in zip(truth, predicted, strict=True)
        ]
    )
    confusion = [confusion_of(t, p, classes) for t, p in zip(truth, predicted, strict=True)]
    ids = tuple(f"{number:03d}" for number in range(len(truth)))
    return Scored(
        ids, groups or ("",) * len(ids), np.stack(confusion), distances[..., 0], distances[..., 1]
    )


def views_of(views, class_name):
    return {view.name: view.scores for view in views if view.class_name == class_name}


def values(scores):
    return {name: score.value for name, score in scores.items()}


def sklearn_scores(truth, predicted, of_class):
    t, p = truth.ravel() == of_class, predicted.ravel() == of_class
    zero = float(not t.any() and not p.any())  # the table of common/scores/metrics.py
    return {
        "iou": reference.jaccard_score(t, p, zero_division=zero),
        "dice": reference.f1_score(t, p, zero_division=zero),
        "precision": reference.precision_score(t, p, zero_division=zero),
        "recall": reference.recall_score(t, p, zero_division=zero),
        "accuracy": reference.accuracy_score(truth.ravel(), predicted.ravel()),
    }


@pytest.mark.parametrize("classes", [2, 3])
def test_every_view_agrees_with_scikit_learn(classes):
    truth, predicted = blobs(15, classes), blobs(15, classes)
    predicted[5] = truth[5]
    groups = tuple("abc"[number % 3] for number in range(15))
    found = summary(
        scored_of(truth, predicted, classes, groups), ("background", "one", "two")[:classes]
    )
    for index, name in enumerate(("one", "two")[: classes - 1], 1):
        has = (truth == index).any((1, 2))
        each = [sklearn_scores(t, p, index) for t, p in zip(truth, predicted, strict=True)]
        owner = np.array(groups)
        patients = [sklearn_scores(truth[owner == g], predicted[owner == g], index) for g in "abc"]
        with_truth = [
            sklearn_scores(truth[(owner == g) & has], predicted[(owner == g) & has], index)
            for g in "abc"
        ]
        expected = {
            "pooled": [sklearn_scores(truth, predicted, index)],
            "per_image": each,
            "per_image_with_truth": [s for s, h in zip(each, has, strict=True) if h],
            "per_patient": patients,
            "per_patient_with_truth": with_truth,
        }
        for view, listed in expected.items():
            got = values(views_of(found, name)[view])
            for score in listed[0]:
                mean = np.mean([entry[score] for entry in listed])
                np.testing.assert_allclose(got[score], mean, rtol=1e-12, err_msg=f"{view} {score}")


@pytest.mark.parametrize(
    ("truth", "predicted", "overlap", "distance"),
    [
        (False, False, (1, 1, 1), 0.0),
        (True, False, (0, 0, 0), math.hypot(*SIZE)),
        (False, True, (0, 0, 0), math.hypot(*SIZE)),
        (True, True, (1, 1, 1), 0.0),
    ],
)
def test_the_table_of_empty_cases(truth, predicted, overlap, distance):
    masks = [np.full((1, *SIZE), 0, np.uint8) for _ in range(2)]
    for mask, some in zip(masks, (truth, predicted), strict=True):
        mask[0, 5:9, 5:9] = some
    found = summary(scored_of(*masks, 2), ("background", "one"))
    found = values(views_of(found, "one")["per_image"])
    assert (found["dice"], found["precision"], found["recall"]) == overlap
    assert found["iou"] == found["dice"]
    assert found["hd95"] == found["assd"] == pytest.approx(distance)


def surface(mask):
    """Pixels with one of four neighbours outside, the long way."""
    padded = np.pad(mask, 1)
    points = np.argwhere(mask)
    return np.array(
        [
            (r, c)
            for r, c in points
            if not all(padded[r + 1 + a, c + 1 + b] for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
        ]
    )


def test_surface_distances_agree_with_brute_force():
    for _ in range(5):
        truth, predicted = RNG.random(SIZE) > 0.7, RNG.random(SIZE) > 0.8
        apart = cdist(surface(truth), surface(predicted))
        ways = apart.min(1), apart.min(0)
        farthest = max(np.percentile(way, 95) for way in ways)
        expected = farthest, np.concatenate(ways).mean()
        np.testing.assert_allclose(surface_distances(truth, predicted), expected)


def test_a_square_moved_by_three_pixels_is_three_pixels_away():
    truth, predicted = np.zeros((2, 40, 40), bool)
    truth[10:20, 10:20] = predicted[10:20, 13:23] = True
    farthest, mean = surface_distances(truth, predicted)
    assert farthest == 3.0 and 0 < mean < 3


def test_readings_agree_with_scikit_learn():
    truth, predicted = RNG.integers(0, 2, (2, 6, *SIZE)).astype(np.uint8)
    found = readings(scored_of(truth, predicted, 2).confusion)
    names = {"mean_of_classes": "macro", "weighted": "weighted", "foreground": "binary"}
    for ours, theirs in names.items():
        for score, function in (("f1", reference.f1_score), ("iou", reference.jaccard_score)):
            pooled = function(truth.ravel(), predicted.ravel(), average=theirs)
            each = [
                function(t.ravel(), p.ravel(), average=theirs)
                for t, p in zip(truth, predicted, strict=True)
            ]
            np.testing.assert_allclose(found[score]["pooled"][ours], pooled)
            np.testing.assert_allclose(found[score]["per_image"][ours], np.mean(each))


def test_the_interval_is_over_patients_and_not_over_their_images():
    """Ten copies of each image of ten patients tell nothing new."""
    truth, predicted = blobs(10, 2), blobs(10, 2)
    tenfold = [np.repeat(masks, 10, axis=0) for masks in (truth, predicted)]
    patients = tuple(f"{number // 10}" for number in range(100))
    once, copies = (
        views_of(summary(scored, ("background", "one")), "one")
        for scored in (scored_of(truth, predicted, 2), scored_of(*tenfold, 2, patients))
    )
    for view in once:
        for score, entry in once[view].items():
            np.testing.assert_allclose(astuple(copies[view][score]), astuple(entry))
            assert entry.low <= entry.value <= entry.high


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Of 100 experiments with 30 patients of known mean, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        shares = rng.uniform(0, 1, 30)  # of right pixels, in an image of 1000 with truth everywhere
        right = np.round(1000 * shares).astype(int)
        confusion = np.zeros((30, 2, 2), int)
        confusion[:, 1, 1], confusion[:, 1, 0] = right, 1000 - right
        zeros = np.zeros((30, 1))
        ids = tuple(map(str, range(30)))
        found = summary(Scored(ids, ids, confusion, zeros, zeros), ("background", "one"))
        entry = views_of(found, "one")["per_patient"]["recall"]
        held += entry.low <= 0.5 <= entry.high
    assert 0.88 <= held / 100 <= 0.99


def test_tables_have_a_row_for_each_image_and_each_patient():
    truth, predicted = blobs(6, 3), blobs(6, 3)
    scored = scored_of(truth, predicted, 3, ("a", "a", "b", "b", "", ""))
    classes = ("background", "one", "two")
    images, patients = list(image_rows(scored, classes)), list(patient_rows(scored, classes))
    assert len(images) == 12 and len(patients) == 8
    assert images[1]["true_pixels"] == (truth[1] == 1).sum()
    assert images[7]["predicted_pixels"] == (predicted[1] == 2).sum()
    assert {row["patient"] for row in patients} == {"a", "b", "004", "005"}
    first = patients[0]
    assert (first["patient"], first["images"]) == ("004", 1)


def test_where_patients_are_unknown_there_are_no_rows_of_patients():
    truth, predicted = blobs(6, 2), blobs(6, 2)
    views = {"pooled", "per_image", "per_image_with_truth"}
    found = summary(scored_of(truth, predicted, 2), ("background", "one"))
    assert {view.name for view in found} == views
    some = scored_of(truth, predicted, 2, ("a", "a", "b", "b", "", ""))
    found = summary(some, ("background", "one"))
    assert {view.name for view in found} == views | {"per_patient", "per_patient_with_truth"}
    known = {row["patient"]: row["patient_known"] for row in patient_rows(some, ("bg", "one"))}
    assert known == {"a": "yes", "b": "yes", "004": "no", "005": "no"}
