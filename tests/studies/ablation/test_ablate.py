"""--mode=ablate from the command line: cells in processes of their own, and the comparison."""

import csv
import json
import math
import time
from pathlib import Path

import pytest

from studies.ablation.page import write_page
from studies.ablation.summary import Measure, summarise
from studies.ablation.sweep import Place
from studies.ablation.tables import conclusions, write_tables

SWEEP = ("--sweep=optimizer.learning_rate=0.001,1e30", "--sweep=seed=1")


def ablation(workdir, *flags):
    config = "--config=configs/small_cnn_chest_xray.py:tiny"
    return "--mode=ablate", config, f"--workdir={workdir}", *flags


@pytest.fixture(scope="module")
def failing(tmp_path_factory, launch):
    """Returns the workdir of an ablation one of whose arms diverges, and the process's end."""
    workdir = tmp_path_factory.mktemp("ablation") / "study"
    kept = f"--results={workdir.parent / 'kept.jsonl'}"
    return workdir, launch(*ablation(workdir, *SWEEP, "--at_once=2", kept), code=1)


def test_a_failed_arm_is_told_and_the_rest_is_compared(failing):
    workdir, end = failing
    last = end.stderr.strip().splitlines()[-1]
    assert "1 of 2 cells failed" in last and "1e+30/seed1" in last
    states = [row["state"] for row in read_table(workdir / "cells.csv")]
    assert states[0] == "finished" and states[1].startswith("Training diverged")
    assert states[1].endswith("Give these runs other settings.")
    rows = read_table(workdir / "ablation.csv")
    assert {row["measure"] for row in rows} == {"AUC", "F1 (macro)", "accuracy"}
    assert {(row["arm"], row["n"]) for row in rows} == {("optimizer.learning_rate=0.001", "1")}
    run = workdir / "cells" / "optimizer.learning_rate=0.001" / "seed1"
    assert json.loads((run / "config.json").read_text())["seed"] == 1
    assert "<table>" in (workdir / "ablation.html").read_text()
    assert (workdir / "ablation.png").stat().st_size > 1000


def test_runs_that_finished_elsewhere_are_compared_without_training(failing, launch, tmp_path):
    workdir, _ = failing
    sweep = "--sweep=optimizer.learning_rate=0.001"
    end = launch(*ablation(tmp_path, sweep, SWEEP[1], f"--results={workdir.parent / 'kept.jsonl'}"))
    assert "1 finished cell" in end.stdout + end.stderr
    assert not any((tmp_path / "cells").glob("*"))
    assert (tmp_path / "ablation.csv").read_text() == (workdir / "ablation.csv").read_text()


@pytest.mark.slow  # tests/studies/test_utility.py stops a study and goes on, in one process
def test_a_killed_cell_goes_on_and_ends_with_the_same_table(failing, launch, start):
    workdir, _ = failing
    cell = workdir / "cells" / "optimizer.learning_rate=0.001" / "seed1"
    before, trained = (workdir / "ablation.csv").read_text(), (cell / "metrics.jsonl").read_text()
    (cell / "finished").unlink()
    flags = ("--sweep=optimizer.learning_rate=0.001", SWEEP[1])
    study = start("launch.py", *ablation(workdir, *flags))
    wait_until(lambda: running(cell))
    study.kill()
    study.communicate()
    wait_until(lambda: not running(cell))  # the cell ends with its study
    launch(*ablation(workdir, *flags))
    assert (workdir / "ablation.csv").read_text() == before
    assert (cell / "metrics.jsonl").read_text() == trained


def read_table(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(place):
    """Returns whether a process runs the cell of a workdir."""
    return any(str(place) in command_line(process) for process in Path("/proc").glob("[0-9]*"))


def command_line(process):
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it has ended meanwhile
        return ""


def table(tmp_path, arms):
    """Writes the tables and the page of a made-up study, and returns their folder."""
    cells = {
        Place(arm, seed, None): value for arm, row in arms.items() for seed, value in enumerate(row)
    }
    rows = summarise({Measure("a_b & <i>", "highest", 0.5): cells}, list(arms))
    found = {place: {"score": value} for place, value in cells.items()}
    curves = {place: [{"step": 1, "val/x": 1.0}, {"step": 2, "val/x": math.nan}] for place in cells}
    failed = {Place("<script>", 7, None): "It failed."}
    write_tables(tmp_path, rows, rows, found, failed)
    write_page(tmp_path, "A <b>", rows, rows, curves, ("val/",), failed, "python launch.py")
    return rows, failed


def test_names_are_text_in_every_format(tmp_path):
    arms = {"plain": [1.0, 1.1, 0.9], "<script>alert(1)</script>|$x$_%": [2.0, 2.1, 1.9]}
    table(tmp_path, arms)
    page = (tmp_path / "ablation.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "&lt;i&gt;" in page
    latex = (tmp_path / "ablation.tex").read_text()
    assert r"a\_b \& <i>" in latex and r"|\$x\$\_\%" in latex and r"\toprule" in latex
    assert r"\|$x$_%" in (tmp_path / "ablation.md").read_text()


def test_the_conclusion_says_what_was_found_and_what_could_not_be_seen(tmp_path):
    rows, failed = table(tmp_path, {"plain": [1.0, 1.1, 0.9], "good": [2.0, 2.1, 1.95]})
    said = " ".join(conclusions(rows, failed))
    assert said.startswith("good is better than plain in a_b & <i>, by 1.02")
    assert "differences smaller than 0.0894" in said and "1 run failed (<script>, seed 7" in said
    assert r"\textbf{2.02 $\pm$ 0.0764}$^{*}$" in (tmp_path / "ablation.tex").read_text()
    rows, _ = table(tmp_path, {"plain": [1.0, 1.1, 0.9], "same": [1.1, 0.9, 1.0]})
    assert conclusions(rows, {})[0] == "No arm was shown to differ from plain."
    assert "**" not in (tmp_path / "ablation.md").read_text()
    rows, _ = table(tmp_path, {"plain": [1.0], "other": [2.0]})
    assert "add seeds" in conclusions(rows, {})[0]
