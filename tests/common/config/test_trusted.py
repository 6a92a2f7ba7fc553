"""A workdir that comes from someone else makes no code run."""

import json
import sys

import pytest

from common.config.tasks import declared_of, task_in
from common.config.trusted import is_trusted, trust


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A workdir that brings a task of its own along, whose import would leave a file."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = tmp_path / "foreign_task"
    package.mkdir()
    for name in ("__init__.py", "config.py", "task.py"):
        (package / name).write_text(
            f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        )
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "run.json").write_text(json.dumps({"task_folder": str(tmp_path)}))
    (workdir / "config.json").write_text(json.dumps({"task": "foreign_task"}))
    return workdir


def test_its_task_is_not_imported(foreign, caplog):
    assert task_in(foreign) == "foreign_task"
    assert declared_of("foreign_task") is None
    assert "nothing was trained on this account" in caplog.text and "PYTHONPATH" in caplog.text
    assert not (foreign.parent / "ran").exists()


def test_it_is_once_something_was_trained_from_that_folder(foreign):
    trust(foreign.parent)
    trust(foreign.parent / "another")
    assert is_trusted(foreign.parent) and not is_trusted(foreign)
    task_in(foreign)
    assert declared_of("foreign_task") is None  # its config.py declares nothing
    assert (foreign.parent / "ran").exists()


def test_a_damaged_list_trusts_nothing(foreign):
    file = foreign.parent / "cache" / "task_folders.json"
    file.parent.mkdir()
    for content in ("{", "3", '["a", 1]'):
        file.write_text(content)
        assert not is_trusted(foreign.parent)
    trust(foreign.parent)
    assert json.loads(file.read_text()) == ["a", str(foreign.parent)]
