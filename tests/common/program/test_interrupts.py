"""A signal ends a program with one sentence; while training goes on it is a request to stop."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from common.program import interrupts
from common.program.interrupts import stop_request
from tests.conftest import ROOT

SENTENCE = "stopped early; earlier results are kept."


@pytest.fixture
def program(tmp_path):
    """Starts a small program that listens; it prints a line when it is ready for a signal."""
    running = []

    def start(body, *wrapper):
        file = tmp_path / "program.py"
        lines = (
            "import os, signal, sys, time",
            "from pathlib import Path",
            f"sys.path.insert(0, {str(ROOT)!r})",
            "from common.program.interrupts import finish, listen, stop_request",
            f"listen({SENTENCE!r})",
        )
        file.write_text("\n".join([*lines, textwrap.dedent(body)]))
        process = subprocess.Popen(
            [*wrapper, sys.executable, file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_one_sentence_though_a_library_is_busy(program, number):
    busy = program(
        """
        import hashlib
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        """
    )
    busy.send_signal(number)
    out, err = busy.communicate(timeout=5)
    assert busy.returncode == 128 + number
    assert err == f"{busy.args[-1]}: {number.name}: {SENTENCE}\n" and not out


def test_what_nohup_lets_pass_does_not_end_it(program):
    lasting = program("print('ready', flush=True); time.sleep(0.2); print('done')", "nohup")
    lasting.send_signal(signal.SIGHUP)
    out, _ = lasting.communicate(timeout=5)
    assert (lasting.returncode, out) == (0, "done\n")


def test_what_a_shell_has_ignored_does_not_end_it(program):
    """So are Ctrl-C and what a script starts with "&"."""
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    lasting = program("print('ready', flush=True); time.sleep(0.2); print('done')", *ignoring)
    lasting.send_signal(signal.SIGINT)
    out, _ = lasting.communicate(timeout=5)
    assert (lasting.returncode, out) == (0, "done\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_though_nobody_reads_what_it_says(program, number):
    """As where the terminal is closed; and though the work in progress can't be removed."""
    lonely = program(
        """
        from common.program.interrupts import before_end
        before_end.append(lambda: 1 / 0)
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    lonely.stderr.close()
    lonely.send_signal(number)
    assert lonely.wait(timeout=5) == 128 + number


def test_work_in_progress_is_removed(program, tmp_path):
    scratch = program(
        """
        from common.program.scratch import scratch_folder
        with scratch_folder(Path("cache")) as folder:
            (folder / "half").write_text("")
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    scratch.send_signal(signal.SIGTERM)
    scratch.communicate(timeout=5)
    assert not list((tmp_path / "cache").iterdir())


SAVING = """
    with stop_request() as stop:
        stop.begin()
        print("ready", flush=True)
        while not stop.requested:
            time.sleep(0.001)
        time.sleep({seconds})  # it saves
        print("saved after", stop.signal_name)
"""


def test_two_signals_at_once_are_one_request(program):
    saving = program(SAVING.format(seconds=0.3))
    saving.send_signal(signal.SIGTERM)
    saving.send_signal(signal.SIGINT)
    out, err = saving.communicate(timeout=5)
    assert (saving.returncode, err) == (0, "")
    assert out in ("saved after SIGTERM\n", "saved after SIGINT\n")


def test_a_signal_later_than_two_seconds_after_the_first_ends_it_at_once(program):
    saving = program(SAVING.format(seconds=60))
    saving.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        saving.wait(2.1)
    saving.send_signal(signal.SIGINT)
    _, err = saving.communicate(timeout=5)
    assert saving.returncode == 128 + signal.SIGINT
    assert "a second time: ended at once; earlier checkpoints are kept." in err


def test_a_signal_after_the_request_has_been_heeded_ends_it(program):
    between = program(
        """
        with stop_request() as stop:
            stop.begin()
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    between.send_signal(signal.SIGTERM)
    assert SENTENCE in between.communicate(timeout=5)[1]


def test_a_signal_after_the_end_does_not_change_the_exit_code(program):
    leaving = program(
        """
        import threading
        threading.Thread(target=time.sleep, args=(60,)).start()  # which the exit waits for
        print("ready", flush=True)
        finish(0)
        """
    )
    with pytest.raises(subprocess.TimeoutExpired):
        leaving.wait(0.2)
    leaving.send_signal(signal.SIGTERM)
    _, err = leaving.communicate(timeout=5)
    assert (leaving.returncode, err) == (0, "")


def test_a_failure_waits_for_nothing(program):
    failed = program(
        """
        import threading
        threading.Thread(target=time.sleep, args=(60,)).start()
        print("ready", flush=True)
        finish(2)
        """
    )
    failed.communicate(timeout=5)
    assert failed.returncode == 2


def test_in_a_process_of_others_the_second_signal_is_theirs_and_then_all_are(monkeypatch):
    monkeypatch.setattr(interrupts, "_ECHO_SECONDS", 0.0)
    theirs = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with pytest.raises(KeyboardInterrupt), stop_request() as stop:
        stop.begin()
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_name == "SIGINT"
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == theirs


def test_in_another_thread_than_the_main_one_there_are_no_signals_to_note():
    handlers = []

    def train():
        with stop_request() as stop:
            stop.begin()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
