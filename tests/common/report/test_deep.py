"""16-bit files: the values of the source come back, negative and fractional ones too."""

import numpy as np
import pytest
from PIL import Image

from common.report.deep import rescaling, to_stored, write_deep

RAMP = np.linspace(-1, 1, 64, dtype=np.float64).reshape(8, 8, 1)


@pytest.mark.parametrize(
    ("window", "slope", "intercept"),
    [
        ((0.0, 4095.0), 1.0, 0.0),  # counts are stored as they are
        ((100.0, 600.0), 1.0, 0.0),
        ((-1000.0, 400.0), 1.0, -1000.0),  # Hounsfield units are shifted: PNG has no sign
        ((0.0, 1.0), 1 / 65535, 0.0),  # fractions take all 16 bits
        ((-1e5, 1e5), 2e5 / 65535, -1e5),
    ],
)
def test_slope_and_intercept(window, slope, intercept):
    assert rescaling(window) == pytest.approx((slope, intercept))


@pytest.mark.parametrize(
    "window", [(0.0, 4095.0), (-1000.0, 400.0), (0.0, 1.0), (-1e5, 1e5), (400.0, -1000.0)]
)
def test_the_file_gives_the_values_of_the_source_back(tmp_path, window):
    file = tmp_path / "image.png"
    write_deep(file, to_stored(RAMP, window), window)
    with Image.open(file) as image:
        assert image.mode == "I;16"
        stored = np.array(image).astype(float)
        slope, intercept = float(image.text["slope"]), float(image.text["intercept"])
        assert [float(edge) for edge in image.text["window"].split(",")] == list(window)
    dark, bright = window
    expected = dark + (RAMP[..., 0] + 1) / 2 * (bright - dark)
    np.testing.assert_allclose(slope * stored + intercept, expected, atol=0.51 * slope)


def test_what_lies_outside_the_networks_range_is_clipped():
    stored = to_stored(np.array([-3.0, 3.0]), (-1000.0, 400.0))
    assert stored.tolist() == [0, 1400]
