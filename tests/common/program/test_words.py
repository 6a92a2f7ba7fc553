"""One thing is not several."""

import pytest

from common.program.words import counted


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((0, "image"), "0 images"),
        ((1, "image"), "1 image"),
        ((2000, "image"), "2,000 images"),
        ((1, "class", "classes"), "1 class"),
        ((2, "class", "classes"), "2 classes"),
        ((1, "image is", "images are"), "1 image is"),
    ],
)
def test_a_number_of_things_is_said_as_people_say_it(args, told):
    assert counted(*args) == told
