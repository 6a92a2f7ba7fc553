"""`make quick` runs the tests of what has changed."""

from pathlib import Path

import pytest

from tests import near
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("gan/losses.py", "tests/gan/test_losses.py"),
        ("gan/state.py", "tests/gan"),
        ("common/ops/blocks.py", "tests/common/ops"),
        ("configs/unet.py", "tests/test_configs.py"),
        ("launch.py", "tests/test_launch.py"),
        ("tests/gan/test_losses.py", "tests/gan/test_losses.py"),
        ("tests/conftest.py", None),
        ("docs/new_gan.md", None),
    ],
)
def test_a_changed_file_has_the_tests_that_are_named_after_it_or_its_rooms(file, expected):
    assert near.tests_of(Path(file)) == (expected and Path(expected))


def test_the_core_is_there():
    assert [name for name in near.CORE if not (ROOT / name).exists()] == []
