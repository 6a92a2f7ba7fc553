"""Files that are written whole or not at all."""

import os

import pytest
from PIL import Image

from common.data.files.foreign import printable
from common.program.files import printed, remove_leftovers, replaced, write_atomically

DEAD = 2**22 + 1  # no process has so high a number


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("name", ["a.png", "x.nii.gz", "a" * 251 + ".png"])
def test_what_was_written_takes_the_files_place(tmp_path, name):
    file = tmp_path / name
    file.write_text("old")
    with replaced(file) as scratch:
        assert scratch.parent == tmp_path and scratch.name.endswith(name[-7:])
        scratch.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and names(tmp_path) == [name]


def test_a_writer_tells_the_format_by_the_name(tmp_path):
    with replaced(tmp_path / "film.webp") as scratch:
        Image.new("L", (2, 2)).save(scratch)
    with Image.open(tmp_path / "film.webp") as image:
        assert image.format == "WEBP"


def test_where_writing_fails_the_file_stays_as_it_was(tmp_path):
    write_atomically(tmp_path / "run.json", "old")
    with pytest.raises(RuntimeError), replaced(tmp_path / "run.json") as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert (tmp_path / "run.json").read_text() == "old" and names(tmp_path) == ["run.json"]


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_atomically(tmp_path / "text", "é\n")
    write_atomically(tmp_path / "bytes", b"\x00\r\n")
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n"


def test_leftovers_of_dead_processes_go_and_nothing_else(tmp_path):
    gone = [f".tmp-{DEAD}-3-000001_samples.png", f".run.json.{DEAD}"]
    stay = [f".tmp-{os.getpid()}-0-run.json", f".tmp-{DEAD}", f".notes.{DEAD}", "run.json"]
    for name in [*gone, *stay]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(stay)


def test_names_and_texts_can_stand_in_a_line():
    assert printed("a\nb\udcff\u202ec \u00e9.png") == "a\\nb\\udcff\\u202ec \u00e9.png"
    assert printable("a\n\x1b[31m " + 200 * "long ").startswith("a \\x1b[31m long")
    assert len(printable(200 * "long ")) <= 240
