"""Safetensors files come in as arrays; what is wrong with one is said in a sentence."""

import json

import numpy as np
import pytest

from common.networks.weight_files import read_weights
from common.program.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.normal(size=(2, 3)).astype(np.float32),
    "count": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float16),
    "flags": np.array([True, False]),
}
DATA = b"".join(array.tobytes() for array in ARRAYS.values())
NAMES = {"float32": "F32", "int64": "I64", "float16": "F16", "bool": "BOOL"}


def described(arrays):
    header, place = {}, 0
    for name, array in arrays.items():
        end = place + array.nbytes
        kind = NAMES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    return header


def written(file, header, data=DATA):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return file


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_arrays_of_every_type_by_their_names(tmp_path, name):
    header = {"__metadata__": {"format": "pt"}, **described(ARRAYS)}
    header = dict(reversed(header.items()))  # its order says nothing of that of the data
    found = read_weights(written(tmp_path / name, header))
    assert found.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype and found[key].shape == array.shape


def test_bfloat16_becomes_float32(tmp_path):
    header = {"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    data = np.array([0x3F80, 0xC000, 0x3E80], "<u2").tobytes()  # 1, -2 and 1/4
    found = read_weights(written(tmp_path / "w.safetensors", header, data))["w"]
    assert found.dtype == np.float32 and found.tolist() == [1, -2, 0.25]


def changed(**fields):
    header = described(ARRAYS)
    header["count"] |= fields
    return header


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"{", "Expecting property name"),
        (b"[]" + b" " * 8, "where an object belongs"),
        ({**described(ARRAYS), "count": 1}, "count is described by no object"),
        (changed(data_offsets=[16, 24]), "count begins at byte 16 of the data, not at 24"),
        (changed(data_offsets=[25, 33]), "begins at byte"),
        (changed(data_offsets=[24, 1000]), "it ends before count does"),
        (changed(data_offsets=[24, 26]), "count has another size than its shape says"),
        (changed(data_offsets=[24]), "count has an impossible shape or place"),
        (changed(shape=[-1]), "count has an impossible shape or place"),
        (changed(shape=[2**40, 2**40]), "count has another size than its shape says"),
        (changed(dtype="F8_E4M3"), "count has the type F8_E4M3, which is not read"),
        (changed(dtype=3), "'dtype' is 3; it must be a text"),
        ({}, "34 bytes at its end are of no array"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, header, says):
    file = written(tmp_path / "w.safetensors", header)
    with pytest.raises(UserError, match=rf"w\.safetensors holds no readable weights \(.*{says}"):
        read_weights(file)


@pytest.mark.parametrize("kept", [0, 5, 8, 40])
def test_a_cut_off_file_is_refused_in_a_sentence(tmp_path, kept):
    file = written(tmp_path / "w.safetensors", described(ARRAYS))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match="holds no readable weights"):
        read_weights(file)
