"""What evaluate writes and says of a run: whose the images are, one class alone, thresholds."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from classify.evaluate import evaluate, read_scored_images, scored_images
from classify.flags import ClassifyOptions
from classify.predict import predict
from common.program import written
from common.program.errors import UserError
from common.runs.evaluation import EVALUATION, counts_of
from configs.small_cnn_chest_xray import get_config
from tests.untrained import untrained

CLASSES = ("NORMAL", "PNEUMONIA")
RNG = np.random.default_rng(0)


def images_in(folder, number, name="{:02d}.png"):
    folder.mkdir(parents=True)
    for place in range(number):
        Image.fromarray(RNG.integers(0, 256, (16, 16), np.uint8)).save(folder / name.format(place))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose weights are random, evaluated."""
    place = tmp_path_factory.mktemp("evaluation")
    for split in ("train", "val", "test"):
        for name in CLASSES:
            images_in(place / "set" / split / name, 6)
    config = get_config("tiny").unlock()
    config.data.update(dir=str(place / "set"), image_size=16)
    run = untrained(config.lock(), place / "run")
    evaluate(run, ClassifyOptions())
    return run


def report_of(run, name="evaluation"):
    return json.loads((run.workdir / name / EVALUATION).read_text())


def test_unnamed_patients_are_reported_as_unknown(run, capsys):
    evaluate(run, ClassifyOptions())
    said, report = capsys.readouterr().out, report_of(run)
    assert "12 images of unknown patients, each counted as one" in said
    assert "intervals over images" in said and "12 patients" not in said
    assert report["patients"] is None and report["images_of_unknown_patients"] == 12
    assert report["intervals_over"] == "images"


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (("a", "a", "b"), "3 images of 2 patients"),
        (("a",), "1 image of 1 patient"),
        (("", ""), "2 images of unknown patients, each counted as one"),
        (("a", "a", ""), "3 images of 1 patient; of 1 image the patient is unknown, which counts"),
    ],
)
def test_images_and_patients_are_told(groups, told):
    assert counts_of(groups).told.startswith(told)


def test_images_of_one_class_have_a_sensitivity_but_no_area(run, tmp_path, capsys):
    images_in(tmp_path / "sick" / "PNEUMONIA", 5)
    evaluate(run, ClassifyOptions(input=str(tmp_path / "sick")))
    said, report = capsys.readouterr().out, report_of(run, "evaluation-sick")
    assert report["images_of_classes"] == [0, 5] and report["confusion"][0] == [0, 0]
    predicted = read_scored_images(run.workdir / "evaluation-sick" / "scored_images.csv", CLASSES)
    right = np.mean(predicted.probabilities.argmax(-1) == 1)
    scores = {name: entry["value"] for name, entry in report["scores"].items()}
    assert scores["sensitivity_PNEUMONIA"] == scores["accuracy"] == pytest.approx(right)
    assert scores["specificity_NORMAL"] == scores["sensitivity_PNEUMONIA"]
    for name in ("roc_auc_macro", "pr_auc_macro", "sensitivity_NORMAL", "specificity_PNEUMONIA"):
        assert scores[name] is None
    assert "sensitivity_PNEUMONIA  " in said and "nan" not in said
    assert "without a value, as no image is of NORMAL: roc_auc_macro, pr_auc_macro" in said
    point = report["operating_points"]["PNEUMONIA"]
    assert point["specificity"]["value"] is None and 0 <= point["sensitivity"]["value"] <= 1


def test_classes_in_another_order_keep_their_names(run, tmp_path):
    """Of the folders B and A, named as the run's, whichever of them come first."""
    images_in(tmp_path / "there" / "PNEUMONIA", 3)
    images_in(tmp_path / "there" / "NORMAL", 2)
    evaluate(run, ClassifyOptions(input=str(tmp_path / "there")))
    assert report_of(run, "evaluation-there")["images_of_classes"] == [2, 3]
    images_in(tmp_path / "other" / "SICK", 3)
    with pytest.raises(UserError, match="are SICK, the run's are NORMAL, PNEUMONIA"):
        evaluate(run, ClassifyOptions(input=str(tmp_path / "other")))


def test_each_class_has_a_threshold_from_validation_that_later_images_meet(run, tmp_path, capsys):
    report = report_of(run)
    points = report["operating_points"]
    assert report["operating_points_chosen_on"] == "val" and tuple(points) == CLASSES
    low, high = (points["NORMAL"]["sensitivity"][key] for key in ("low", "high"))
    assert 0 <= low <= points["NORMAL"]["sensitivity"]["value"] <= high <= 1
    images_in(tmp_path / "new" / "PNEUMONIA", 4)
    evaluate(run, ClassifyOptions(input=str(tmp_path / "new")))
    later = report_of(run, "evaluation-new")
    assert later["operating_points_chosen_on"] == "the run's own evaluation"
    assert [later["operating_points"][x]["threshold"] for x in CLASSES] == [
        points[x]["threshold"] for x in CLASSES
    ]
    predict(run, ClassifyOptions(input=str(tmp_path / "new"), output=str(tmp_path / "out")))
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    read = read_scored_images(run.workdir / "evaluation-new" / "scored_images.csv", CLASSES)
    for row, shares in zip(rows, read.probabilities, strict=True):
        for place, name in enumerate(CLASSES):
            expected = shares[place] >= points[name]["threshold"]
            assert row[f"found_{name}"] == ("yes" if expected else "no")


def test_an_evaluation_with_a_table_of_the_former_name_is_read_and_replaced(run):
    folder = run.workdir / "evaluation"
    table = scored_images(folder)
    former, record = folder / "predictions.csv", written.RECORD
    assert table.name == "scored_images.csv"
    table.rename(former)
    lines = (folder / record).read_text()
    (folder / record).write_text(lines.replace(table.name, former.name))
    assert scored_images(folder) == former
    assert len(read_scored_images(former, CLASSES).ids) == 12
    evaluate(run, ClassifyOptions())
    assert scored_images(folder) == table and table.exists() and not former.exists()


def test_a_wanted_sensitivity_and_a_positive_class(run, tmp_path, capsys):
    options = ClassifyOptions(
        operating_point="sensitivity=1", positive="PNEUMONIA", output=str(tmp_path / "out")
    )
    evaluate(run, options)
    said, report = capsys.readouterr().out, json.loads((tmp_path / "out" / EVALUATION).read_text())
    assert tuple(report["operating_points"]) == ("PNEUMONIA",)
    assert report["operating_point"] == "sensitivity=1"
    assert math.isfinite(report["operating_points"]["PNEUMONIA"]["threshold"])
    assert "PNEUMONIA from a probability of" in said and "NORMAL from" not in said
    for wrong, match in (
        (
            ClassifyOptions(positive="SICK"),
            "--positive is 'SICK'; the run's classes are NORMAL, PNEUMONIA",
        ),
        (ClassifyOptions(operating_point="best"), "--operating_point is 'best'"),
        (ClassifyOptions(operating_point="youden", input=str(tmp_path)), "without --input first"),
    ):
        with pytest.raises(UserError, match=match):
            evaluate(run, wrong)


def test_an_evaluation_of_before_there_were_thresholds_is_read_on(run, tmp_path):
    file = run.workdir / "evaluation" / EVALUATION
    whole = file.read_text()
    old = json.loads(whole)
    del old["operating_points"]
    try:
        file.write_text(json.dumps(old))
        images_in(tmp_path / "new" / "NORMAL", 2)
        evaluate(run, ClassifyOptions(input=str(tmp_path / "new"), output=str(tmp_path / "out")))
        assert json.loads((tmp_path / "out" / EVALUATION).read_text())["operating_points"] == {}
        file.write_text(json.dumps(old | {"operating_points": {"NORMAL": {"threshold": "x"}}}))
        with pytest.raises(UserError, match=r"evaluation.json is damaged: 'threshold'"):
            evaluate(
                run, ClassifyOptions(input=str(tmp_path / "new"), output=str(tmp_path / "out2"))
            )
    finally:
        file.write_text(whole)
