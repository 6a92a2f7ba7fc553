"""Runs of an earlier commit open, give the same numbers and go on bit for bit."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.checkpoint_leaves import read_leaves
from tests.conftest import ROOT

COMMIT = "f7ffabe"  # the last one before modules of common/ moved
GIVEN = ROOT / "docs" / "acgan_covid.png"
RENAMED = {"scores/predictions.csv": "scores/scored_images.csv"}
CONFIGS = ("acgan_covid", "unet_brain_mri", "vgg16_covid")

pytestmark = pytest.mark.slow


def run(code, *words):
    """Runs launch.py of some checkout."""
    command = [sys.executable, str(code / "launch.py"), *map(str, words)]
    done = subprocess.run(command, cwd=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The program as it was at the commit."""
    folder = tmp_path_factory.mktemp("earlier") / "code"
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "cat-file", "-e", f"{COMMIT}^{{commit}}"], check=False).returncode:
        pytest.skip(f"this copy of the project does not have the commit {COMMIT}")
    subprocess.run([*git, "worktree", "add", "--detach", folder, COMMIT], check=True)
    yield folder
    subprocess.run([*git, "worktree", "remove", "--force", folder], check=True)


@pytest.fixture(scope="module", params=CONFIGS)
def runs(request, earlier, tmp_path_factory):
    """A run begun by the earlier program and finished by it, and one finished by this."""
    folder = tmp_path_factory.mktemp(request.param)
    begin = (f"--config=configs/{request.param}.py:tiny", "--config.train.num_steps=3")
    run(earlier, *begin, f"--workdir={folder / 'before'}")
    shutil.copytree(folder / "before", folder / "now")
    for code, name in ((earlier, "before"), (ROOT, "now")):
        run(code, begin[0], f"--workdir={folder / name}")
    return folder


def rows(workdir):
    """Returns the lines of metrics.jsonl without the times, which are never the same."""
    read = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in read]


def test_a_run_goes_on_bit_for_bit(runs):
    expected, found = rows(runs / "before"), rows(runs / "now")  # which has new metrics, too
    pairs = zip(expected, found, strict=True)
    assert [{name: row.get(name) for name in old} for old, row in pairs] == expected
    before, now = (read_leaves(runs / name, 6) for name in ("before", "now"))
    assert before.keys() == now.keys() and len(before) > 20
    assert not [path for path in before if before[path].tobytes() != now[path].tobytes()]


def results(code, workdir, folder):
    """Returns every file that the modes of a finished run write, by its path."""
    images = folder / "images"
    task = json.loads((workdir / "config.json").read_text())["task"]
    run(code, "--mode=evaluate", f"--workdir={workdir}", f"--output={folder / 'scores'}")
    if task == "gan":
        run(code, "--mode=generate", f"--workdir={workdir}", f"--output={images}", "--num_images=8")
    else:
        given = workdir.parent / "given"
        run(
            code, "--mode=predict", f"--workdir={workdir}", f"--input={given}", f"--output={images}"
        )
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        RENAMED.get(name, name): content_of(file)
        for file in files
        if not (name := file.relative_to(folder).as_posix()).split("/")[-1].startswith(".")
    }


def content_of(file):
    """Returns a file's bytes; of a report its numbers, whose sentences have been reworded."""
    if file.suffix != ".json":
        return file.read_bytes()
    return numbers_of(json.loads(file.read_text()))


def numbers_of(tree):
    if isinstance(tree, dict):
        return {name: numbers_of(x) for name, x in tree.items() if not isinstance(x, str)}
    if isinstance(tree, list):
        return [numbers_of(x) for x in tree if not isinstance(x, str)]
    return tree


def test_the_modes_write_the_same_files(runs, earlier, tmp_path):
    shutil.copytree(
        ROOT / "docs" / "gallery", runs / "given", ignore=shutil.ignore_patterns("*.webp")
    )
    shutil.copy(ROOT / "docs" / "acgan_covid.png", runs / "given")
    found = {}
    for name, code in (("earlier", earlier), ("here", ROOT)):
        found[name] = results(code, runs / "before", tmp_path / name)
    before, now = found["earlier"], found["here"]
    assert before.keys() == now.keys() and len(before) > 3
    changed = [name for name in before if before[name] != now[name]]
    assert not changed


def test_a_study_goes_on_with_its_cells(earlier, tmp_path):
    study = (
        "--mode=utility",
        "--config=configs/utility_covid.py:tiny",
        *("--config.study.sizes=8", "--config.study.seeds=0", "--config.study.arms=real,real+1"),
        f"--workdir={tmp_path / 'study'}",
    )
    run(earlier, *study)
    table = (tmp_path / "study" / "utility.csv").read_bytes()
    cells = tmp_path / "study" / "cells" / "8_0"
    written = (cells / "gan" / "run.json").stat().st_mtime_ns
    shutil.rmtree(cells / "arms" / "real+1" / "run")
    run(ROOT, *study)
    assert (tmp_path / "study" / "utility.csv").read_bytes() == table
    assert (cells / "gan" / "run.json").stat().st_mtime_ns == written
