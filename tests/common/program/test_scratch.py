"""Specification of `scratch`: work in progress leaves nothing behind."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.program.scratch import move_into_place, scratch_folder
from tests.conftest import ROOT

# Makes a scratch folder with a file in it, says where, and waits for a line or for its end.
_PROGRAM = """
import sys
from pathlib import Path
from common.program.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").mkdir()
    (folder / "half" / "image.png").write_bytes(b"half an image")
    print(folder, flush=True)
    sys.stdin.readline()
"""


def test_the_folder_lies_beside_and_goes_with_its_content(tmp_path):
    with scratch_folder(tmp_path / "prepared") as folder:
        assert folder.parent == tmp_path / "prepared"
        assert folder.name.startswith(".incomplete-")
        (folder / "file").write_text("half")
    assert not list((tmp_path / "prepared").iterdir())


def test_what_was_moved_out_of_it_stays(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "whole").mkdir()
        move_into_place(folder / "whole", tmp_path / "sets" / "whole")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "sets",
        "sets/whole",
    ]


def test_the_first_of_two_that_make_the_same_stays(tmp_path):
    for name in ("first", "second"):
        with scratch_folder(tmp_path) as folder:
            (folder / "whole").mkdir()
            (folder / "whole" / "file").write_text(name)
            move_into_place(folder / "whole", tmp_path / "whole")
    assert (tmp_path / "whole" / "file").read_text() == "first"


def test_what_cannot_be_moved_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "gone", tmp_path / "place")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_goes_when_the_work_fails(tmp_path, error):
    with pytest.raises(error), scratch_folder(tmp_path) as folder:
        (folder / "file").write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_folders_of_threads_live_together(tmp_path):
    together = threading.Barrier(8)

    def work(_: int) -> bool:
        with scratch_folder(tmp_path) as folder:
            together.wait(timeout=60)
            return folder.is_dir()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert not list(tmp_path.iterdir())


def test_folders_that_are_made_at_once_do_not_remove_each_other(tmp_path):
    def work(number: int) -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "file").write_text(str(number))
            assert (folder / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def worker(tmp_path) -> Callable[[], tuple[subprocess.Popen, Path]]:
    """Starts a process that works in a scratch folder."""

    def run() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return process, Path(process.stdout.readline().strip())

    return run


def end(process: subprocess.Popen) -> int:
    process.communicate("\n", timeout=60)
    return process.returncode


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path, worker):
    killed, dead = worker()
    living, held = worker()
    assert dead.is_dir()
    killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (dead / "half" / "image.png").exists()
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {held, own}
        assert (held / "half" / "image.png").exists()
    assert end(living) == 0
    assert not list(tmp_path.iterdir())


def test_a_living_process_removes_what_another_left(tmp_path, worker):
    killed, dead = worker()
    killed.kill()
    killed.communicate(timeout=60)
    with scratch_folder(tmp_path) as own:
        process, folder = worker()
        assert set(tmp_path.iterdir()) == {own, folder}
        assert end(process) == 0
    assert not dead.exists()


def test_folders_that_an_older_version_left_without_a_lock_are_removed(tmp_path):
    (tmp_path / ".incomplete-old" / "half").mkdir(parents=True)
    with scratch_folder(tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]


def test_nothing_is_written_through_a_link_of_such_a_name(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / ".incomplete-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path / "place"):
        assert not list((tmp_path / "elsewhere").iterdir())


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "complete").mkdir()
    (tmp_path / ".incomplete-notes.txt").write_text("mine")
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"complete", ".incomplete-notes.txt"}
