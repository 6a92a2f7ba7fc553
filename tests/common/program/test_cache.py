"""Specification of arrays that are kept in the cache: as they were made, or made anew."""

import numpy as np
import pytest

from common.program.cache import kept_array

KEPT = np.linspace(0, 1, 12).reshape(4, 3)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "costly" / "x.npy"
    kept_array(file, 4, KEPT.copy)
    return file


def nothing():
    raise AssertionError("it is made anew")


def test_what_is_kept_is_not_made_again(file):
    np.testing.assert_array_equal(kept_array(file, 4, nothing), KEPT)


@pytest.mark.parametrize("place", [0, 9, 40, 130, 180, -1])
def test_one_flipped_bit_is_noticed(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)
    np.testing.assert_array_equal(kept_array(file, 4, KEPT.copy), KEPT)
    np.testing.assert_array_equal(kept_array(file, 4, nothing), KEPT)


@pytest.mark.parametrize("length", [0, 20, 100, 200])
def test_a_file_that_is_cut_short_is_noticed(file, length):
    file.write_bytes(file.read_bytes()[:length])
    np.testing.assert_array_equal(kept_array(file, 4, KEPT.copy), KEPT)


def test_an_array_of_another_length_is_made_anew(file):
    np.testing.assert_array_equal(kept_array(file, 2, KEPT[:2].copy), KEPT[:2])
