"""Specification of `outputs`: what a command may write, and what it may never touch."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from common.data.sources.listing import images_below
from common.program.errors import UserError
from common.program.files import sha256_of
from common.program.outputs import Outputs
from common.program.written import RECORD, written_for_people
from tests.conftest import ROOT

_NEW = ("size", "modified")  # of a record's line


def written(folder, contents, mode="generate", data=False, **options):
    """Writes texts as a mode does that publishes all at the end."""
    with Outputs(folder, mode, **options) as outputs:
        outputs.claim(dict.fromkeys(contents, ""), data=data)
        for name, text in contents.items():
            outputs.draft(name).write_text(text)


def files_in(folder):
    """Returns the content of every file but the record."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }


def refusal(folder, *names, **options):
    before = files_in(folder) if folder.is_dir() else None
    with pytest.raises(UserError) as error:
        written(folder, dict.fromkeys(names, "new"), **options)
    assert before is None or files_in(folder) == before
    assert str(error.value).endswith(".")
    return str(error.value)


def test_nothing_but_the_files_and_the_record_is_left(tmp_path):
    written(tmp_path / "out", {"a/b.txt": "1", "c.txt": "2"})
    assert files_in(tmp_path / "out") == {"a/b.txt": "1", "c.txt": "2"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c.txt", RECORD}


def test_an_earlier_result_is_replaced_when_told(tmp_path):
    written(tmp_path, {"a.txt": "1"})
    assert "a.txt exists; add --overwrite" in refusal(tmp_path, "a.txt")
    written(tmp_path, {"a.txt": "2"}, overwrite=True)
    written(tmp_path, {"a.txt": "3"}, overwrite=True)
    assert files_in(tmp_path) == {"a.txt": "3"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("changed", [False, True], ids=["never written", "changed since"])
def test_somebody_elses_file_is_never_replaced(tmp_path, overwrite, changed):
    written(tmp_path, {"a.txt" if changed else "b.txt": "1"})
    (tmp_path / "a.txt").write_text("mine")
    said = refusal(tmp_path, "a.txt", overwrite=overwrite)
    assert "a.txt exists and was not written by this program, or has been changed since" in said


def test_results_of_before_the_record_are_moved_once(tmp_path):
    (tmp_path / "a.txt").write_text("1")
    for again, what in ((False, "it"), (True, str(tmp_path))):
        said = refusal(tmp_path, "a.txt", overwrite=True, again=again)
        assert "an earlier version of this program" in said
        assert f"move or remove {what} once" in said


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_somebody_writes_during_the_run_is_not_replaced(tmp_path, overwrite):
    written(tmp_path, {"a.txt": "1", "last.txt": "1"})
    for name in ("new.txt", "last.txt") if overwrite else ("new.txt",):
        before = files_in(tmp_path)
        with (
            pytest.raises(UserError, match=f"{name} exists and was not written by this program"),
            Outputs(tmp_path, "generate", overwrite=overwrite) as outputs,
        ):
            outputs.claim(dict.fromkeys(("new.txt", "last.txt") if overwrite else (name,), ""))
            for draft in ("new.txt", "last.txt"):
                outputs.draft(draft).write_text("2")
            (tmp_path / name).write_text("mine")
        assert files_in(tmp_path) == {**before, name: "mine"}
        (tmp_path / name).unlink()
        written(tmp_path, {"last.txt": "1"}, overwrite=True)


def test_what_comes_at_the_last_moment_is_not_replaced(tmp_path, monkeypatch):
    check = Outputs._check_again

    def late(outputs, name):
        check(outputs, name)
        (tmp_path / name).write_text("mine")

    with (
        pytest.raises(UserError, match="or by somebody else"),
        Outputs(tmp_path, "predict", overwrite=True) as outputs,
    ):
        outputs.claim({"a.txt": ""})
        outputs.draft("a.txt").write_text("1")
        monkeypatch.setattr(Outputs, "_check_again", late)
        outputs.publish("a.txt")
    assert files_in(tmp_path) == {"a.txt": "mine"}


def test_a_link_that_comes_during_the_run_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with (
        pytest.raises(UserError, match="is a link"),
        Outputs(tmp_path / "out", "predict") as outputs,
    ):
        outputs.claim({"A/0.png": ""})
        outputs.draft("A/0.png").write_text("1")
        (tmp_path / "out" / "A").symlink_to(tmp_path / "elsewhere")
        outputs.publish("A/0.png")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def unknown(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unknown)
    written(tmp_path, {"a.txt": "1"})
    written(tmp_path, {"a.txt": "2"}, overwrite=True)
    assert files_in(tmp_path) == {"a.txt": "2"}


def test_files_that_are_published_one_by_one_replace_those_of_the_same_input(tmp_path):
    written(tmp_path, {"x.png": "1", "gone.png": "1"}, mode="predict", of="scans")
    written(tmp_path, {"y.png": "1"}, mode="predict", of="others")
    with Outputs(tmp_path, "predict", of="scans", overwrite=True) as outputs:
        outputs.claim({"x.png": "", "damaged.png": ""})
        outputs.draft("x.png").write_text("2")
        outputs.publish("x.png")
    assert files_in(tmp_path) == {"x.png": "2", "y.png": "1"}


def test_a_result_of_other_data_goes_where_this_one_could_have_written_it(tmp_path):
    written(tmp_path, {"table": "1", "suspicious": "1"}, mode="evaluate", of="one")
    with Outputs(tmp_path, "evaluate", of="two", overwrite=True) as outputs:
        outputs.claim({"suspicious": "", "table": ""})
        outputs.draft("table").write_text("2")
    assert files_in(tmp_path) == {"table": "2"}


def test_what_the_mode_wrote_before_goes_and_nothing_else(tmp_path):
    written(tmp_path, {"A/0.txt": "1", "A/1.txt": "1", "B/0.txt": "1", "last": "1"})
    written(tmp_path, {"walk": "1"}, mode="walk")
    (tmp_path / "A" / "1.txt").write_text("changed")
    (tmp_path / "A" / "2.txt").write_text("mine")
    written(tmp_path, {"A/0.txt": "2", "last": "2"}, overwrite=True)
    assert files_in(tmp_path) == {
        "A/0.txt": "2",
        "A/1.txt": "changed",
        "A/2.txt": "mine",
        "last": "2",
        "walk": "1",
    }
    assert not (tmp_path / "B").exists()


def test_a_mode_may_replace_its_own_in_its_own_folder(tmp_path):
    written(tmp_path, {"a": "1"}, mode="inspect", of="/data/one")
    written(tmp_path, {"a": "2"}, mode="inspect", of="/data/one", again=True)
    assert "add --overwrite" in refusal(tmp_path, "a", mode="inspect", of="/two", again=True)
    assert "add --overwrite" in refusal(tmp_path, "a", mode="evaluate", of="/data/one", again=True)


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt(), OSError("disk")])
def test_a_command_that_fails_leaves_the_earlier_result(tmp_path, error):
    written(tmp_path / "out", {"a": "1", "b": "1"})
    for folder in (tmp_path / "out", tmp_path / "new"):
        with (
            pytest.raises(type(error)),
            Outputs(folder, "generate", overwrite=True) as outputs,
        ):
            outputs.claim({"a": "", "b": ""})
            outputs.draft("a").write_text("half")
            raise error
    assert files_in(tmp_path) == {"out/a": "1", "out/b": "1"}
    assert not (tmp_path / "new").exists()


def test_what_was_published_stays_when_the_rest_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), Outputs(tmp_path, "predict") as outputs:
        outputs.claim({"a": "", "b": ""})
        for name in ("a", "b"):
            outputs.draft(name).write_text("mask")
        outputs.publish("a")
        raise KeyboardInterrupt
    assert files_in(tmp_path) == {"a": "mask"}
    assert "add --overwrite" in refusal(tmp_path, "a")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x.png", "x.png"),
        ("x.png", "X.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("x.png", "x.png/1.png"),
        ("X.png/1.png", "x.png"),
    ],
)
def test_two_inputs_of_one_output_are_refused(tmp_path, one, other):
    with Outputs(tmp_path / "out", "predict") as outputs:
        outputs.claim({one: "in/x.png"})
        with pytest.raises(UserError, match="would both be written to"):
            outputs.claim({other: "in/x.jpg"})


@pytest.mark.parametrize("way", ["itself", "hard link", "link"])
def test_an_input_is_never_an_output(tmp_path, way):
    out, image = tmp_path / "out", tmp_path / "x.png"
    written(out, {"x.png": "mine"})
    if way == "itself":
        image = out / "x.png"
    elif way == "hard link":
        os.link(out / "x.png", image)
    else:
        image.symlink_to(out / "x.png")
    assert "would replace" in refusal(out, "x.png", inputs=[image], overwrite=True)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "."])
def test_names_that_lead_out_are_refused(tmp_path, name):
    assert "leads out of" in refusal(tmp_path / "out", name)


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path):
    assert "too long" in refusal(tmp_path / "out", "x" * 252 + ".png")


def test_nothing_is_written_through_links(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_text("mine")
    (out / "A").symlink_to(elsewhere)
    (out / "a.txt").symlink_to(elsewhere / "a.txt")
    (out / "new.txt").symlink_to(elsewhere / "new.txt")
    for name in ("A/0.png", "a.txt", "new.txt"):
        for overwrite in (False, True):
            refusal(out, name, overwrite=overwrite)
    assert files_in(elsewhere) == {"a.txt": "mine"}


def test_a_link_in_place_of_a_folder_keeps_old_files_from_being_removed(tmp_path):
    written(tmp_path / "out", {"A/0": "1", "last": "1"})
    (tmp_path / "out" / "A").rename(tmp_path / "moved")
    (tmp_path / "out" / "A").symlink_to(tmp_path / "moved")
    written(tmp_path / "out", {"last": "2"}, overwrite=True)
    assert files_in(tmp_path / "moved") == {"0": "1"}


def test_folders_that_are_no_place_for_results_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    run = tmp_path / "run"
    (run / "checkpoints" / "3").mkdir(parents=True)
    for name in ("config.json", "run.json"):
        (run / name).write_text("{}")
    study = tmp_path / "study"
    (study / "images").mkdir(parents=True)
    for name in ("config.json", "run.json", "images/images.csv"):
        (study / name).write_text("{}")
    cell = shutil.copytree(run, study / "cells" / "50_0" / "gan")
    images = tmp_path / "images"
    images.mkdir()
    for folder, said in (
        ("/", "root of the disk"),
        (tmp_path / "file", "can't be written"),
        (tmp_path / "file" / "sub", "can't be written"),
        (tmp_path / "loop", "can't be written"),
        (tmp_path / "nowhere", "can't be written"),
        ("/proc/results", "can't be written"),
        (run, "belongs to the run of"),
        (run / "checkpoints", "belongs to the run of"),
        (run / "checkpoints" / "3" / "new", "belongs to the run of"),
        (study / "images", "belongs to the run of"),
        (study / "cells" / "50_0", "belongs to the run of"),
        (images, "is an input"),
    ):
        with pytest.raises(UserError, match=said):
            written(ROOT / folder, {"a": "new"}, overwrite=True, inputs=[images])
    assert not (tmp_path / "gone").exists()
    for place in (run / "mine", run / "images", study / "mine", cell / "evaluation"):
        written(place, {"a": "new"})  # beside what training writes is room


def test_a_link_to_a_folder_that_the_user_names_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    written(tmp_path / "link", {"a": "1"})
    assert files_in(tmp_path / "disk") == {"a": "1"}
    assert "is a link" in refusal(tmp_path / "link", "a", again=True)


def test_a_second_command_is_kept_out(tmp_path):
    with Outputs(tmp_path, "predict"), pytest.raises(UserError, match="Another command is writing"):
        written(tmp_path, {"a": "1"})


def test_a_foreign_record_is_not_written_to(tmp_path):
    for content in ("mine", "", "{}\n", '["deep"]\n', "[" * 100_000):
        (tmp_path / RECORD).write_text(content)
        assert "is damaged, or was not written by this program" in refusal(tmp_path, "a")
        assert (tmp_path / RECORD).read_text() == content
        assert not written_for_people(tmp_path)


def test_a_line_that_a_kill_has_cut_off_is_no_line(tmp_path):
    written(tmp_path, {"a": "1"})
    with (tmp_path / RECORD).open("a") as record:
        record.write('{"file": "b", "sha2')
    written(tmp_path, {"c": "1"})
    written(tmp_path, {"a": "2", "c": "2"}, overwrite=True)
    assert files_in(tmp_path) == {"a": "2", "c": "2"}


def test_a_record_that_leads_out_removes_nothing_there(tmp_path):
    written(tmp_path / "out", {"a": "1"})
    (tmp_path / "mine").write_text("1")
    record = tmp_path / "out" / RECORD
    line = json.loads(record.read_text().splitlines()[1])
    for name in ("../mine", str(tmp_path / "mine")):
        with record.open("a") as stream:
            stream.write(json.dumps({**line, "file": name}) + "\n")
    written(tmp_path / "out", {"b": "1"}, overwrite=True)
    assert files_in(tmp_path) == {"mine": "1", "out/b": "1"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from common.program.outputs import Outputs

left = int(sys.argv[2])

def killing(put):
    def put_or_die(draft, target):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(draft, target)
    return put_or_die

Path.replace, os.link = killing(Path.replace), killing(os.link)
with Outputs(Path(sys.argv[1]), "generate", overwrite=True) as outputs:
    outputs.claim({"a": "", "b": "", "last": ""})
    for name in ("a", "b", "last"):
        outputs.draft(name).write_text("new")
"""


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_a_kill_leaves_old_or_new_files_and_the_next_command_replaces_them(tmp_path, renamed):
    written(tmp_path, {"a": "old", "b": "old", "last": "old"})
    subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), str(renamed)], cwd=ROOT, check=False
    )
    found = {name: text for name, text in files_in(tmp_path).items() if "/" not in name}
    assert set(found.values()) <= {"old", "new"}
    # The last tells that all are there.
    assert found.get("last") == (None if renamed < 3 else "new")
    written(tmp_path, {"a": "2", "last": "2"}, overwrite=True)
    assert files_in(tmp_path) == {"a": "2", "last": "2"}
    assert not list(tmp_path.glob(".incomplete*"))


def test_what_is_for_people_is_known_until_somebody_changes_it(tmp_path):
    written(tmp_path, {"A/0.png": "1"}, data=True)
    written(tmp_path, {"grid.png": "1", "strip.png": "1"}, mode="walk")
    assert written_for_people(tmp_path) == {"grid.png", "strip.png"}
    (tmp_path / "grid.png").write_text("mine")
    assert written_for_people(tmp_path) == {"strip.png"}
    assert not written_for_people(tmp_path / "A") and not written_for_people(tmp_path / "gone")


def test_what_is_for_people_is_known_at_any_depth(tmp_path):
    written(tmp_path, {"ward/x_overlay.png": "1", "ward/a/x_overlay.png": "1"}, mode="predict")
    written(tmp_path / "ward", {"a/grid.png": "1"})
    written(tmp_path, {"ward/x.png": "1", "ward/a/x.png": "1"}, mode="predict", data=True)
    (tmp_path / "link").symlink_to(tmp_path / "ward")
    for ward in (tmp_path / "ward", tmp_path / "link"):
        assert written_for_people(ward) == {"x_overlay.png"}
        assert written_for_people(ward / "a") == {"x_overlay.png", "grid.png"}
        assert [path.name for path in images_below(ward)] == ["x.png", "x.png"]


def test_what_is_for_people_is_not_read_while_its_time_is_the_same(tmp_path, monkeypatch):
    written(tmp_path, {"grid.png": "1", "strip.png": "2"})
    os.utime(tmp_path / "strip.png", (0, 0))  # as a copy has another time
    read = []
    monkeypatch.setattr(
        "common.program.written.sha256_of", lambda file: read.append(file.name) or sha256_of(file)
    )
    assert written_for_people(tmp_path) == {"grid.png", "strip.png"}
    assert read == ["strip.png"]
    (tmp_path / "strip.png").write_text("3")
    assert written_for_people(tmp_path) == {"grid.png"}


def test_a_record_without_sizes_is_read(tmp_path):
    written(tmp_path, {"a": "1"})
    header, line = (tmp_path / RECORD).read_text().splitlines()
    older = {key: entry for key, entry in json.loads(line).items() if key not in _NEW}
    (tmp_path / RECORD).write_text(f"{header}\n{json.dumps(older)}\n")
    assert written_for_people(tmp_path) == {"a"}
    written(tmp_path, {"a": "2"}, overwrite=True)
    assert files_in(tmp_path) == {"a": "2"}
