"""Specification of `page`: pages that need nothing but themselves."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from common.report import page

EMPTY = {"meta", "img", "input"}


class Outline(HTMLParser):
    """Reads a page, checks that every tag is closed, and keeps what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said = ""
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


NASTY = '<script>alert("x")</script> & "quotes" </td>'


@pytest.mark.parametrize(
    "part",
    [
        page.heading(NASTY),
        page.paragraph("a ", page.code(NASTY), " b"),
        page.quiet(NASTY),
        page.callout("bad", NASTY, page.paragraph(NASTY)),
        page.table((NASTY, "n"), [(NASTY, 1)], NASTY),
        page.figure(np.zeros((2, 3, 1), np.uint8), NASTY, NASTY),
        page.gallery(page.heading(NASTY)),
        page.histograms({NASTY: np.arange(5)}, NASTY),
    ],
)
def test_text_is_text_wherever_it_stands(part):
    read = Outline(page.page(NASTY, part))
    assert not [tag for tag, _ in read.tags if tag == "script"]
    assert NASTY in read.said


def test_a_page_fetches_nothing():
    picture = np.zeros((2, 3, 3), np.uint8)
    text = page.page(
        "t", page.figure(picture, "c"), page.histograms({"a": np.arange(9)}, "mm"), page.code("x")
    )
    assert text.startswith("<!doctype html>")
    for attribute in ("src", "href"):
        values = re.findall(rf'{attribute}="([^"]*)"', text)
        assert all(value.startswith("data:image/png;base64,") for value in values)
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_figure_holds_the_very_pixels(channels):
    picture = np.random.default_rng(0).integers(0, 256, (5, 4, channels), np.uint8)
    part = page.figure(picture, "caption", "what it shows", width=40)
    image = dict(Outline(part.html).tags)["img"]
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(data))).reshape(5, 4, channels)
    np.testing.assert_array_equal(pixels, picture)
    assert (image["alt"], image["width"]) == ("what it shows", "40")


def test_numbers_stand_right_and_are_written_for_people():
    part = page.table(("name", "count", "mean"), [("a", 12345, 0.123456), ("b", 1, 2.0)])
    read = Outline(part.html)
    assert "12,345" in read.said and "0.1235" in read.said
    right = [tag for tag, attributes in read.tags if attributes.get("class") == "number"]
    assert right == ["th", "th", "td", "td", "td", "td"]


def test_a_table_without_rows_is_a_header():
    assert "count" in Outline(page.table(("name", "count"), []).html).said


def test_histograms_share_an_axis_and_count_everything():
    part = page.histograms({"a": np.array([0.0, 0, 10]), "b": np.array([5.0])}, "mm", bins=10)
    read = Outline(part.html)
    assert read.said.count("0 to 1 mm: 2") == 1
    assert "9 to 10 mm: 1" in read.said and "5 to 6 mm: 1" in read.said
    assert len([tag for tag, _ in read.tags if tag == "rect"]) == 3


@pytest.mark.parametrize("values", [np.full(4, 7), np.array([0.0])])
def test_a_histogram_of_equal_values_has_one_bar(values):
    read = Outline(page.histograms({"a": values}, "mm").html)
    assert len([tag for tag, _ in read.tags if tag == "rect"]) == 1


def test_a_page_reads_in_light_and_dark_and_on_paper():
    text = page.page("t")
    assert "prefers-color-scheme: dark" in text and "@media print" in text
