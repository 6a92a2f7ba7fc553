"""A signal in training: what is saved, and what a person reads then."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from common.devices import processes
from common.program.accidents import told_in
from common.program.errors import UserError
from common.training import loop
from common.training import train as training
from common.training.loop import Loop
from common.training.train import train
from configs.toy_gan_1d import get_config
from tests.interrupted import signalled_after

pytestmark = pytest.mark.usefixtures("one_program")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def config(cache):
    config = get_config("tiny")
    config.data.cache_dir = cache
    config.train.update(num_steps="6", log_every="2", picture_every="0", eval_every="0")
    return config


def test_two_signals_at_once_save_and_say_so(config, tmp_path, monkeypatch, capsys):
    signalled_after(3, monkeypatch, (signal.SIGTERM, signal.SIGHUP))
    assert not train(config, tmp_path / "run")
    assert "SIGTERM: saved step 3 of 6" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "3").exists()


def test_a_signal_while_the_processes_agree_counts_at_the_next_step(
    config, tmp_path, monkeypatch, capsys
):
    highest, sent = processes.highest, []

    def interrupted(number):
        agreed = highest(number)
        if not isinstance(number, bool) and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return agreed

    monkeypatch.setattr(training, "_step_to_go_on_from", lambda *_: 0)  # they agree on that, too
    monkeypatch.setattr(processes, "highest", interrupted)
    assert not train(config, tmp_path / "run")
    assert "SIGTERM: saved step 2 of 6" in capsys.readouterr().out


def test_a_signal_after_the_last_step_finds_it_finished(config, tmp_path, monkeypatch, capsys):
    record = loop.record_utilisation

    def recording(run):
        os.kill(os.getpid(), signal.SIGTERM)
        record(run)

    monkeypatch.setattr(loop, "record_utilisation", recording)
    assert not train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "step 6 of 6" in said and "is finished" in said and "again" not in said


def test_a_signal_to_another_process_is_named_in_this_one(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "_step_to_go_on_from", lambda *_: 0)
    monkeypatch.setattr(
        processes, "highest", lambda one: one if isinstance(one, bool) else signal.SIGINT
    )
    assert not train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "SIGINT: saved step 1 of 6" in said and "ended early" not in said


def test_a_workdir_that_is_removed_meanwhile_is_named_and_not_made_anew(
    config, tmp_path, monkeypatch
):
    due = Loop._due

    def removing(self, now, stop):
        if now == 2:
            shutil.rmtree(tmp_path / "run")
        return due(self, now, stop)

    monkeypatch.setattr(Loop, "_due", removing)
    with pytest.raises(UserError, match="removed"), told_in(tmp_path / "run"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def listens(process):
    """Says whether a process handles the signals that would end it; Python itself does SIGINT."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16)
    return all(caught & 1 << number - 1 for number in (signal.SIGTERM, signal.SIGHUP))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_training_says_that_nothing_is_done(start, tmp_path, number):
    process = start(
        "launch.py", "--config=configs/acgan_covid.py:tiny", f"--workdir={tmp_path / 'run'}"
    )
    while process.poll() is None and not listens(process.pid):  # seconds on a busy machine
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, "")
    # The first sentence is that of the imports of launch.py itself, which a busy machine may be at.
    assert re.fullmatch(
        rf"launch.py: {number.name}: stopped before (training|it) began; run the same command"
        r" again\.\n",
        err,
    )


@pytest.mark.slow
def test_a_signal_while_it_compiles_ends_it_and_the_next_run_goes_all_the_way(
    start, launch, tmp_path
):
    args = ("--config=configs/acgan_covid.py:tiny", f"--workdir={tmp_path / 'run'}")
    process = start("launch.py", *args, TRIPTYCH_CACHE=str(tmp_path / "cache"))
    for line in process.stderr:
        if "drawings, not patients" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.endswith("stopped before training began; run the same command again.\n")
    assert "is finished" in launch(*args).stdout


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["generate", "evaluate", "inspect"])
def test_a_signal_ends_the_other_modes_with_one_sentence(launch, start, tmp_path, mode):
    run = tmp_path / "run"
    config = "--config=configs/acgan_covid.py:tiny"
    if mode != "inspect":
        launch(config, f"--workdir={run}")
    given = config if mode == "inspect" else f"--workdir={run}"
    process = start("launch.py", f"--mode={mode}", given, f"--output={tmp_path / 'out'}")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT and "Traceback" not in err
    assert err.endswith("launch.py: SIGINT: stopped early; earlier results are kept.\n")
