"""Whatever happens, a person reads one sentence; the traceback lies in the error.log of the run."""

import errno
import os
import shutil

import pytest

from common.program.accidents import as_told, told_in
from common.program.command_line import guarded
from common.program.errors import DivergenceError, FaultError, UserError


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path / "run"


def raised_within(workdir, error):
    with pytest.raises((UserError, FaultError, DivergenceError)) as raised, told_in(workdir):
        raise error
    return raised.value


def caused(error, cause):
    error.__cause__ = cause
    return error


LIBRARY = ValueError("INTERNAL: writing params\n" + "  at a line of a library\n" * 900)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EIO, "Input/output error", "/d/x"), "(Input/output error: /d/x)"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/d"), "is read-only"),
        (OSError(errno.ENOTCONN, "Transport endpoint", "/d"), "(Transport endpoint: /d)"),
        (caused(LIBRARY, OSError(errno.EIO, "Input/output error", "/d/x")), "fails; check it"),
        (RuntimeError("UNKNOWN: [OS error 28: ENOSPC No space left on device]"), "disk is full"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "memory is used up"),
        (MemoryError("Unable to allocate 9 GiB"), "memory is used up"),
        (ExceptionGroup("many", [OSError(errno.EIO, "Input/output error")]), "fails; check it"),
        (caused(RuntimeError("a worker"), UserError("x.png is empty.")), "x.png is empty."),
    ],
)
def test_an_accident_of_the_machine_is_the_users_to_mend(workdir, error, says):
    told = raised_within(workdir, error)
    assert isinstance(told, UserError) and says in str(told)
    assert len(str(told)) < len(str(workdir)) + 500 and "\n" not in str(told)


def test_what_fails_at_closing_does_not_hide_what_failed_before(workdir):
    with pytest.raises(UserError, match="The disk is full"), told_in(workdir):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            raise ValueError("no image")


def test_what_was_expected_and_handled_is_not_taken_for_the_fault(workdir):
    with pytest.raises(FaultError, match="KeyError"), told_in(workdir):
        try:
            (workdir / "gone").read_text()
        except FileNotFoundError:
            {}["x"]


def test_what_was_handled_is_not_taken_for_the_fault_even_if_the_disk_was_full(workdir):
    with pytest.raises(FaultError, match="KeyError"), told_in(workdir):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            {}["x"]


def test_the_traceback_is_in_the_log_and_the_sentence_says_so(workdir):
    told = raised_within(workdir, OSError(errno.EIO, "Input/output error", "/d/x"))
    log = workdir / "error.log"
    assert str(told).endswith(f"The traceback is in {log}.")
    assert "Traceback (most recent call last)" in log.read_text()
    raised_within(workdir, KeyError("x"))
    assert "KeyError: 'x'" in log.read_text() and "Input/output error" in log.read_text()


def test_a_fault_of_the_program_says_what_and_where(workdir, capsys):
    told = raised_within(workdir, KeyError("image"))
    assert isinstance(told, FaultError)
    assert str(told).startswith("The program is at fault: KeyError: 'image'.")
    assert "error.log" in str(told)


def test_a_folder_that_holds_no_run_gets_no_log(tmp_path, capsys):
    """The traceback is on standard error then."""
    told = raised_within(tmp_path, KeyError("image"))
    assert "KeyError: 'image'" in capsys.readouterr().err
    assert "error.log" not in str(told) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [UserError("x"), DivergenceError("x"), FaultError("x")])
def test_what_is_a_sentence_already_stays_as_it_is(workdir, error):
    assert raised_within(workdir, error) is error
    assert not (workdir / "error.log").exists()


def test_a_workdir_that_is_gone_is_named(workdir):
    with pytest.raises(UserError, match=f"The workdir {workdir} was removed"), told_in(workdir):
        shutil.rmtree(workdir)
        (workdir / "pictures" / "x.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("error", "code", "traceback"),
    [
        (UserError("It is wrong."), 2, False),
        (DivergenceError("It is wrong."), 1, False),
        (FaultError("It is wrong."), 1, False),
        (OSError(errno.EIO, "It is wrong"), 2, False),
        (KeyError("It is wrong"), 1, True),
    ],
)
def test_the_exit_code_and_the_one_line(error, code, traceback, capsys):
    def work():
        raise error

    with pytest.raises(SystemExit) as leaving:
        guarded(work)
    said = capsys.readouterr().err
    assert leaving.value.code == code and "It is wrong" in said
    assert ("Traceback" in said) == traceback
    assert traceback or said.count("\n") == 1


def test_every_number_of_the_system_has_a_sentence():
    for number in errno.errorcode:
        told = as_told(OSError(number, os.strerror(number), "/d/x"), None)
        assert isinstance(told, UserError) and os.strerror(number) in str(told)
