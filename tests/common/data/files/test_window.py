"""Specification of `window`: what of a file's own values is shown as 0 to 255."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.files.window import parse_window, to_bytes, to_values
from common.program.errors import UserError

WINDOW = (-1000.0, 400.0)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("", None),
        (" ", None),
        ("0,4095", (0.0, 4095.0)),
        ("-1000, 400", (-1000.0, 400.0)),
        ("0,1e-3", (0.0, 0.001)),
    ],
)
def test_a_window_is_two_numbers(text, window):
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text", ["5", "a,b", "1,2,3", "400,-1000", "3,3", "nan,1", "0,inf", ",", "-1e308,1e308"]
)
def test_another_window_is_refused_by_its_field(text):
    with pytest.raises(UserError, match=rf"config\.data\.window is '{text}'"):
        parse_window(text)


@given(st.text(max_size=20))
def test_no_text_makes_anything_but_a_window_or_a_sentence(text):
    try:
        window = parse_window(text)
    except UserError:
        return
    assert window is None or window[0] < window[1]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_the_ends_of_the_window_are_black_and_white(dtype):
    values = np.array([-1024, -1000, -300, 400, 3071], dtype).reshape(1, 5, 1)
    assert to_bytes(values, WINDOW).ravel().tolist() == [0, 0, 128, 255, 255]


def test_unsigned_values_are_not_wrapped_by_a_window_below_zero():
    values = np.array([0, 400, 65535], np.uint16).reshape(1, 3, 1)
    assert to_bytes(values, WINDOW).ravel().tolist() == [182, 255, 255]


def test_infinite_values_are_clipped():
    values = np.array([-np.inf, np.inf], np.float32).reshape(1, 2, 1)
    assert to_bytes(values, WINDOW).ravel().tolist() == [0, 255]


def test_what_a_network_draws_has_the_units_of_the_source():
    images = np.array([-1.5, -1, 0, 1, 2], np.float32)
    assert to_values(images, WINDOW).tolist() == [-1000, -1000, -300, 400, 400]


def test_stored_pixels_come_back_as_values_within_half_a_level():
    values = np.arange(-1000, 401, dtype=np.int16).reshape(1, -1, 1)
    stored = to_bytes(values, WINDOW)
    back = to_values(stored.astype(np.float64) / 127.5 - 1, WINDOW)
    assert np.abs(back - values).max() <= 1400 / 255 / 2 + 1e-9
