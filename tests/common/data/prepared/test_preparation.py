"""Preparing: on every core, in little memory, whole or not at all, whoever else is at it."""

import json
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from common.config.defaults import default_config
from common.data.prepared import preparation
from common.data.prepared.prepared import prepare_source
from common.data.records import Contents, Decoded, Once, Record, Source
from common.program.errors import UserError

SIZE = 8


@pytest.fixture
def data(tmp_path):
    data = default_config().data
    data.update(image_size=SIZE, cache_dir=str(tmp_path))
    return data


def draw(row):
    pixels = np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 1), np.uint8)
    return Decoded.from_bytes(pixels, "drawing")


def mask(row):
    return np.full((SIZE, SIZE), row % 3, np.uint8)


def source_of(records, mask_classes=()):
    contents = Contents(("A", "B"), {"train": records}, mask_classes)
    return Source("drawings", "0", True, Once(lambda: contents))


def records_of(read, num):
    return [Record(f"train/{row:04d}", row % 2, partial(read, row)) for row in range(num)]


def sets_in(tmp_path):
    return [path for path in (tmp_path / "prepared").iterdir() if path.is_dir()]


def test_a_prepared_set_is_a_tfds_set_that_tfds_reads_without_us(data, tmp_path):
    records = [
        Record(
            f"train/é{row}", row % 2, partial(draw, row), partial(mask, row), partial(draw, row + 7)
        )
        for row in range(preparation._DECODE_AHEAD + 3)
    ]
    prepared = prepare_source(source_of(records, ("a", "b", "c")), data)
    (folder,) = sets_in(tmp_path)
    builder = tfds.builder_from_directory(folder)
    (split,) = builder.info.splits
    stored = builder.as_data_source(split=split)
    assert len(stored) == len(records) and builder.info.features["label"].names == ["A", "B"]
    for row in (0, 1, len(records) - 1):
        theirs, ours = stored[row], prepared.splits["train"].read([row])
        assert theirs["id"].decode() == records[row].id == prepared.splits["train"].ids[row]
        np.testing.assert_array_equal(theirs["image"], draw(row).pixels)
        assert ours.keys() == {"image", "label", "mask", "target"}
        for name, values in ours.items():
            np.testing.assert_array_equal(values[0], theirs[name])


def test_two_images_are_decoded_at_the_same_time(data, monkeypatch):
    monkeypatch.setattr(preparation, "num_cpus", lambda: 2)
    both_here = threading.Barrier(2, timeout=30)

    def read(row):
        both_here.wait()
        return draw(row)

    prepare_source(source_of(records_of(read, 10)), data)


class Writer:
    """A writer of records that counts them, until the disk is full."""

    written, room = 0, 10**6

    def __init__(self, path, options):
        Writer.written = 0
        self._writer = ArrayRecordWriter(path, options)

    def write(self, record):
        if Writer.written == Writer.room:
            raise RuntimeError("write() failed: No space left on device")
        self._writer.write(record)
        Writer.written += 1

    def close(self):
        self._writer.close()


def test_memory_does_not_grow_with_the_set(data, monkeypatch):
    monkeypatch.setattr(preparation, "ArrayRecordWriter", Writer)
    ahead = []

    def read(row):
        ahead.append(row - Writer.written)
        return draw(row)

    prepare_source(source_of(records_of(read, 500)), data)
    assert Writer.written == 500
    assert max(ahead) <= preparation._DECODE_AHEAD


def test_a_full_disk_leaves_nothing(data, monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "ArrayRecordWriter", Writer)
    monkeypatch.setattr(Writer, "room", 100)
    with pytest.raises(RuntimeError, match="No space left on device"):  # launch.py says it in words
        prepare_source(source_of(records_of(draw, 200)), data)
    assert not sets_in(tmp_path)


@pytest.mark.parametrize("damaged", ["dataset_info.json", "examples.json", "*array_record*"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_set_is_named(data, tmp_path, damaged, content):
    source = source_of(records_of(draw, 3))
    prepare_source(source, data)
    (folder,) = sets_in(tmp_path)
    (file,) = folder.glob(damaged)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s){folder.name}.*remove"):
        prepare_source(source, data)


# Prepares 200 drawings, each of which takes 10 ms, and prints the card's fingerprint.
PREPARE = """
import sys, time
from tests.common.data.prepared.test_preparation import draw, prepare_source, records_of, source_of
from common.config.defaults import default_config

def read(row):
    time.sleep(0.01)
    return draw(row)

data = default_config().data
data.update(image_size=8, cache_dir=sys.argv[1])
print("starts", flush=True)
print(prepare_source(source_of(records_of(read, 200)), data).card.fingerprint)
"""


def preparing(start, tmp_path):
    """Starts a process that prepares, and returns it when it has written something."""
    process = start("-c", PREPARE, tmp_path)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("prepared/.incomplete-*/*/*array_record*")):
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.005)
    return process


def test_a_killed_preparation_leaves_nothing_half_made_and_the_next_one_succeeds(start, tmp_path):
    process = preparing(start, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(path.name.startswith(".incomplete-") for path in sets_in(tmp_path))
    out, err = start("-c", PREPARE, tmp_path).communicate(timeout=120)
    assert len(out.split()) == 2, err
    (folder,) = sets_in(tmp_path)  # what was left of the first is gone
    assert len(json.loads((folder / "examples.json").read_text())["ids"]) == 200


def test_of_two_that_prepare_at_once_one_wins_and_the_other_uses_it(start, tmp_path):
    first = preparing(start, tmp_path)
    second = start("-c", PREPARE, tmp_path)
    said = [process.communicate(timeout=120) for process in (first, second)]
    assert said[0][0] == said[1][0] and "starts" in said[0][0], said
    assert len(sets_in(tmp_path)) == 1
