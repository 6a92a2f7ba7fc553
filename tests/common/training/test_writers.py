"""metrics.jsonl, the plain lines, and the curves."""

import errno
import io
import json
import logging
import re
import sys
import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from common.program.log import log
from common.report.curves import draw_curves
from common.runs.rows import read_rows
from common.runs.workdir import Run, update_record
from common.training import writers
from common.training.clock import Due
from common.training.replica import Replica
from common.training.writers import ConsoleWriter, JsonlWriter, Writers
from tests.written_run import CARD

HOSTILE = [
    '{"step": 1e999}',
    '{"step": 1e300}',
    '{"step": 2, "train/loss": 1' + 400 * "0" + "}",
    '{"step": 3, "train/loss": null}',
    '{"step": 1, "a": "x"}',
    '{"step": 1, "a": [0.5]}',
    100_000 * "[",
    '{"step":' + 100_000 * "[",
]
GREY = {"samples": np.zeros((4, 4, 1), np.uint8)}


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = JsonlWriter(tmp_path / "m.jsonl", restored_step=0)
    writer.write_scalars(10, {"train/loss": 0.5})
    assert lines(tmp_path / "m.jsonl") == [{"step": 10, "train/loss": 0.5}]
    writer.close()


def test_a_resumed_run_cuts_the_file_back_to_where_it_goes_on(tmp_path):
    file = tmp_path / "m.jsonl"
    rows = [{"step": step, "train/loss": step / 10} for step in (10, 20, 30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 40, "tra')
    writer = JsonlWriter(file, restored_step=20)
    writer.write_scalars(30, {"train/loss": 3.0})
    writer.close()
    assert lines(file) == [*rows[:2], {"step": 30, "train/loss": 3.0}]


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_rows(tmp_path / "m.jsonl") == [{"step": 1}]


def test_no_file_has_no_lines(tmp_path):
    assert read_rows(tmp_path / "m.jsonl") == []


def test_without_a_terminal_progress_is_plain_lines(capsys):
    writer = ConsoleWriter(first_step=0, num_steps=100, shown=("train/generator_loss", "val/"))
    writer.progress(1)
    writer.progress(50)
    writer.write_scalars(50, {"train/generator_loss": 0.25, "train/accuracy": 1.0})
    writer.close()
    said = capsys.readouterr().err
    assert said.startswith("step 50/100  generator_loss 0.250  ")
    assert "steps/s" in said and "left" in said and "accuracy" not in said


def test_an_evaluation_says_what_it_is_of(capsys):
    writer = ConsoleWriter(first_step=0, num_steps=9, shown=("train/loss", "val/", "quality/f"))
    writer.write_scalars(3, {"val/dice": 0.5, "val/iou": 1 / 3, "quality/f": 2.0, "quality/k": 1.0})
    writer.close()
    assert capsys.readouterr().err == "step 3/9  val  dice 0.500  iou 0.333  quality  f 2.000\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_evaluations_and_messages_stand_above_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    handlers = [logging.StreamHandler(terminal)]
    monkeypatch.setattr(log, "handlers", handlers)
    writer = ConsoleWriter(first_step=0, num_steps=9)
    writer.progress(3)
    writer.write_scalars(3, {"train/loss": 0.25})
    writer.write_scalars(3, {"val/loss": 0.5})
    log.warning("a message")
    writer.close()
    assert log.handlers == handlers
    lines = re.split(r"[\r\n]+", terminal.getvalue())
    for told in ("step 3/9  val  loss 0.500", "a message"):
        assert sum(line.strip() == told for line in lines) == 1
    assert "3/9" in lines[-2] and "loss 0.250" in lines[-2]  # the bar comes last


def test_curves_have_a_panel_per_metric(tmp_path):
    rows = [{"step": s, "train/loss": 1 / s, "val/loss": 2 / s, "train/norm": s} for s in (1, 2, 3)]
    draw_curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 1.5 * image.size[1]  # two panels side by side
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize(
    "broken", ['{"step": 20, "tra', "null", "[1]", '{"loss": 1}', "\x00\x00", *HOSTILE]
)
def test_only_broken_lines_are_left_out_and_the_log_says_so(tmp_path, caplog, broken):
    file = tmp_path / "m.jsonl"
    rows = [{"step": step, "train/loss": step / 10} for step in range(10, 160, 10)]
    text = [json.dumps(row) for row in rows]
    file.write_text("\n".join([text[0], broken, *text[2:]]) + "\n")
    assert read_rows(file) == [rows[0], *rows[2:]]
    JsonlWriter(file, restored_step=150).close()
    assert lines(file) == [rows[0], *rows[2:]]
    assert "left out is 1 line " in caplog.text


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'{"step": 1}\n{"st\xffep": 2}\n{"step": 3}\n')
    assert read_rows(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 3}]


def test_an_unfinished_last_line_is_nothing_to_speak_of(tmp_path, caplog):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    JsonlWriter(tmp_path / "m.jsonl", restored_step=9).close()
    assert lines(tmp_path / "m.jsonl") == [{"step": 1}] and not caplog.text


def test_what_the_background_thread_meets_ends_the_run(tmp_path, monkeypatch, without_tensorboard):
    def failing(file, picture):
        raise OSError(errno.EIO, "Input/output error", str(file))

    monkeypatch.setattr(writers, "write_picture", failing)
    with pytest.raises(OSError, match="000003_samples"), Writers(tmp_path, 0, 6) as all_of_them:
        all_of_them.write_images(3, GREY)


@pytest.fixture
def without_tensorboard(monkeypatch):
    monkeypatch.setattr(Writers, "_tensorboard", Mock())


def test_a_row_of_nan_is_a_row(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1, "val/auroc": NaN}\n')
    assert np.isnan(read_rows(tmp_path / "m.jsonl")[0]["val/auroc"])


def test_pictures_of_somebody_else_are_left_alone(tmp_path, without_tensorboard):
    folder = tmp_path / "pictures"
    with Writers(tmp_path, 0, 10) as first:
        for step in (5, 9):
            first.write_images(step, GREY)
    theirs = ("123456_patient.png", "000007_patient.png", "patient.webp")
    for name in theirs:
        (folder / name).write_text("mine")
    with Writers(tmp_path, 5, 10) as second:
        assert second.has_pictures(5) and not (folder / "000009_samples.png").exists()
        second.write_images(8, GREY)
    assert [(folder / name).read_text() for name in theirs] == ["mine"] * 3
    ours = {"000005_samples.png", "000008_samples.png", "samples.webp"}
    assert {path.name for path in folder.iterdir()} == {*theirs, *ours}


def test_of_a_run_that_recorded_no_names_later_pictures_go_when_it_draws(
    tmp_path, without_tensorboard
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("000009_samples.png", "000009_patient.png"):
        (folder / name).touch()
    with Writers(tmp_path, 5, 10) as resumed:
        assert not resumed.has_pictures(9)
        resumed.write_images(6, GREY)
    left = {path.name for path in folder.glob("*.png")}
    assert left == {"000006_samples.png", "000009_patient.png"}


def test_a_checkpoint_does_not_wait_for_tensorboard(tmp_path, monkeypatch):
    imported, saved = threading.Event(), []
    picture = tmp_path / "pictures" / "000003_samples.png"

    def slow(_):
        assert imported.wait(60)
        return Mock()

    monkeypatch.setattr(Writers, "_tensorboard", property(slow))
    with Writers(tmp_path, 0, 6) as all_of_them:
        all_of_them.write_scalars(3, {"train/loss": 0.5})
        all_of_them.write_images(3, GREY)
        saving = SimpleNamespace(
            writers=all_of_them,
            _checkpoints=SimpleNamespace(save=lambda *_: saved.append(picture.exists())),
            numbers=SimpleNamespace(latest={}),
            collapsed=False,
        )
        due = Due(log=True, evaluate=False, draw=False, save=True, stop=False)
        Replica.pause(saving, {}, 3, due)
        imported.set()
    assert saved == [True]


def test_an_error_of_tensorboard_ends_the_run_too(tmp_path, monkeypatch):
    def failing(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Writers, "_tensorboard", property(failing))
    with pytest.raises(OSError, match="Input/output"), Writers(tmp_path, 0, 6) as all_of_them:
        all_of_them.write_scalars(3, {"train/loss": 0.5})


def test_a_number_that_has_changed_is_said_though_it_can_be_read(tmp_path, caplog):
    (tmp_path / "run.json").write_text("{}")
    with Writers(tmp_path, 0, 6) as first:
        first.write_scalars(2, {"train/loss": 0.25})
        update_record(tmp_path, {"step": 2, **first.stated_numbers()})
        first.write_scalars(4, {"train/loss": 0.125})
    file = tmp_path / "metrics.jsonl"
    Writers(tmp_path, 4, 6).close()  # lines that came after the record are no change
    Writers(tmp_path, 2, 6).close()  # nor is a line that is cut back
    assert "was changed after this run wrote it" not in caplog.text
    file.write_text(file.read_text().replace("0.25", "0.75"))
    Writers(tmp_path, 2, 6).close()
    assert f"{file} was changed after this run wrote it" in caplog.text


def test_curves_are_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch, without_tensorboard):
    drawn = []

    def drawing(rows, file):
        drawn.append(len(rows))
        time.sleep(0.05)

    monkeypatch.setattr(writers, "draw_curves", drawing)
    with Writers(tmp_path, 0, 3) as all_of_them:
        for step in (1, 2, 3):
            all_of_them.write_scalars(step, {"train/loss": 1.0})
            all_of_them.write_images(step, GREY)
            all_of_them.flush()
    assert drawn == [1, 3]


def test_the_report_is_written_where_that_does_not_slow_training(
    tmp_path, monkeypatch, without_tensorboard
):
    written = []

    def writing(run):
        written.append(run)
        time.sleep(0.05)

    monkeypatch.setattr(writers, "try_page", writing)
    run = Run(tmp_path, ConfigDict(), CARD)
    with Writers(tmp_path, 0, 3) as all_of_them:
        for _ in range(3):
            all_of_them.write_page(run)
            all_of_them.flush()
    assert written == [run]
