"""Charts and series of pictures inside a page, as they stand without JavaScript."""

import json
import math

import pytest
from PIL import Image

from common.report.charts import Line, chart, ticks
from common.report.slides import picture, slides
from tests.common.report.test_page import NASTY, Outline


def tags_of(part, name):
    return [attributes for tag, attributes in Outline(part.html).tags if tag == name]


def test_a_line_goes_through_its_values():
    part = chart("loss", [Line("train", [0, 5, 10], [1.0, 2.0, 1.0])])
    (path,) = tags_of(part, "path")
    start, top, end = (list(map(float, each.split())) for each in path["d"][1:].split("L"))
    assert start[1] == end[1] > top[1]  # down is up in SVG
    assert top[0] - start[0] == pytest.approx(end[0] - top[0])
    (svg,) = tags_of(part, "svg")
    assert json.loads(svg["data-points"]) == [[[0, 1.0], [5, 2.0], [10, 1.0]]]
    assert svg["aria-label"] == "loss over steps: train from 1 at step 0 to 1 at step 10"


def test_a_single_value_is_a_point():
    part = chart("loss", [Line("val", [5], [2.0])])
    assert len(tags_of(part, "circle")) == 1 and not tags_of(part, "path")


def test_what_is_not_finite_is_left_out():
    part = chart("f1", [Line("val", [1, 2, 3], [math.nan, 0.5, math.inf])])
    assert json.loads(tags_of(part, "svg")[0]["data-points"]) == [[[2, 0.5]]]
    assert chart("f1", [Line("val", [1], [math.nan])]).html == ""


def test_of_very_many_values_no_peak_is_lost():
    values = [0.0] * 50_000
    values[31_234] = 9.0
    part = chart("loss", [Line("train", range(len(values)), values)])
    (points,) = json.loads(tags_of(part, "svg")[0]["data-points"])
    assert len(points) <= 1002 and [31_234, 9.0] in points
    assert points[0] == [0, 0.0] and points[-1] == [49_999, 0.0] and points == sorted(points)


def test_names_are_text():
    part = chart(NASTY, [Line(NASTY, [1, 2], [0.0, 1.0])])
    assert not tags_of(part, "script") and Outline(part.html).said.count(NASTY) == 2
    assert NASTY in tags_of(part, "svg")[0]["aria-label"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.5, 1]),
        (3.0, 47.0, [20, 40]),
        (-2.0, 2.0, [-2, -1, 0, 1, 2]),
        (1e-6, 3e-6, None),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    found = ticks(low, high)
    assert 2 <= len(found) <= 5 and low <= found[0] and found[-1] <= high
    assert expected is None or found == pytest.approx(expected)


def test_values_that_hardly_differ_have_names_of_their_own():
    said = Outline(chart("norm", [Line("train", [1, 2], [122.201, 122.209])]).html).said
    assert "122.202" in said and "122.204" in said


@pytest.fixture
def files(tmp_path):
    made = {}
    for step in range(30):
        made[step] = tmp_path / f"{step:06d}_samples.png"
        Image.new("L", (6, 4), 8 * step).save(made[step])
    return made


def test_of_many_pictures_twelve_are_shown_with_the_first_and_the_last(files):
    captions = Outline(slides("samples", files).html).said
    images = tags_of(slides("samples", files), "img")
    assert len(images) == 12 and "step 0" in captions and "step 29" in captions
    assert tags_of(slides("samples", files), "input")[0]["max"] == "11"
    assert all(image["src"].startswith("data:image/webp;base64,") for image in images)


def test_a_picture_that_changes_is_read_again(files):
    before = picture(files[3], "c", "a").html
    Image.new("L", (60, 40), 9).save(files[3])
    assert picture(files[3], "c", "a").html != before
