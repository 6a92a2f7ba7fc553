"""`make` installs what fits this machine, in versions that were tested with its Python."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = sorted((ROOT / "constraints").glob("*.txt"))


def program(folder, name, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
    (folder / name).chmod(0o755)
    return folder


def said_by_make(*words, path=(), code=0, **variables):
    """Returns what `make` would do, and what it says; nothing is installed."""
    environment = {**os.environ, **variables}
    environment["PATH"] = os.pathsep.join([*map(str, path), os.environ["PATH"]])
    for name in ("ACCEL", "DATA", "PYTHON", "VENV", "JAX_PLATFORMS", "MAKEFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    done = subprocess.run(
        ["make", "--dry-run", "VENV=no-such-folder", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def nvidia_smi(tmp_path):
    return program(tmp_path / "bin", "nvidia-smi", "echo 'NVIDIA H100, 580.65.06, 9.0'")


@pytest.mark.parametrize("goal", ["run", "test"])
def test_the_device_is_said_once_and_jax_comes_with_its_packages(nvidia_smi, goal):
    done = said_by_make(goal, f"PYTHON={sys.executable}", path=[nvidia_smi])
    assert done.stderr.count("computing on NVIDIA H100; driver 580.65.06") == 1
    assert "--editable '.[cuda13]'" in done.stdout


def test_the_cpu_can_be_asked_for_where_there_is_a_gpu(nvidia_smi):
    done = said_by_make("run", f"PYTHON={sys.executable}", "ACCEL=cpu", path=[nvidia_smi])
    assert "--editable '.[cpu]'" in done.stdout and "cuda" not in done.stdout


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ACCEL=gpu", 'ACCEL is "gpu"; it must be one of: cpu cuda12 cuda13 tpu'),
        ("VENV=my folder/.venv", "its path must not have spaces"),
    ],
)
def test_a_word_that_means_nothing_here_is_refused(word, expected):
    assert expected in said_by_make("run", f"PYTHON={sys.executable}", word, code=2).stderr


def test_an_empty_word_for_your_data_is_not_taken_for_none():
    words = ("run", f"PYTHON={sys.executable}", "ACCEL=cpu")
    assert '--mode=run --input="$DATA"' in said_by_make(*words, "DATA=").stdout
    assert "--mode=run" not in said_by_make(*words).stdout


def test_a_python_in_a_folder_with_a_space_is_taken(tmp_path):
    path = program(tmp_path / "my programs", "python3.13", f'exec {sys.executable} "$@"')
    for goal in ("run", "test-newest-3.13"):
        # Also where the environment is there: it is, in the suite that test-newest runs.
        done = said_by_make(goal, "ACCEL=cpu", "--always-make", path=[path]).stdout
        assert f'"{path}/python3.13" -m venv' in done


def test_what_is_installed_comes_one_after_the_other_however_many_jobs_make_may_have(tmp_path):
    log = tmp_path / "log"
    pip = [f"echo begin >> {log}; sleep 0.2; echo end >> {log}"]
    venv = ['mkdir -p "$3/bin"; cp "$0" "$3/bin/python"', 'touch "$3/bin/pip"']
    cases = ['case "$2" in', "venv)", *venv, ";;", "pip)", *pip, ";;", "esac"]
    python = program(tmp_path, "python", *cases) / "python"
    words = (f"VENV={tmp_path / 'venv'}", f"PYTHON={python}", "ACCEL=cpu", "DATA=x")
    subprocess.run(["make", "--jobs=4", "run", *words], cwd=ROOT, capture_output=True, check=True)
    assert log.read_text().split() == ["begin", "end"] * 4


def test_what_needs_no_hardware_does_not_look_at_it(nvidia_smi):
    assert said_by_make("clean", path=[nvidia_smi]).stderr == ""


def test_the_newest_tested_python_that_runs_is_taken(tmp_path):
    real = f'exec {sys.executable} "$@"'
    path = program(tmp_path / "bin", "python3.12", real)
    program(path, "python3.13", "exit 127")  # as pyenv's where another version is chosen
    program(path, "python3.11", real)
    chosen = said_by_make("run", "TESTED=3.13 3.12 3.11", path=[path], PYENV_ROOT=str(tmp_path))
    assert f'"{path}/python3.12" -m venv' in chosen.stdout
    pyenv = program(tmp_path / "versions" / "3.13.7" / "bin", "python", real)
    program(tmp_path / "versions" / "3.13.7t" / "bin", "python", real)  # without the lock
    chosen = said_by_make("run", "TESTED=3.13 3.12 3.11", path=[path], PYENV_ROOT=str(tmp_path))
    assert f'"{pyenv}/python" -m venv' in chosen.stdout


def test_the_suite_runs_where_it_always_does_and_a_newer_python_is_looked_at(tmp_path):
    real = f'exec {sys.executable} "$@"'
    path = program(tmp_path / "bin", "python3.11", real)
    nowhere = {"path": [path], "PYENV_ROOT": str(tmp_path)}
    for version in ("3.12", "3.13"):
        program(path, f"python{version}", "exit 127")
    assert "smoke" not in said_by_make("test", **nowhere).stdout
    program(path, "python3.12", real)
    # Also where the environments are there.
    done = said_by_make("test", "--always-make", **nowhere).stdout
    assert f'"{path}/python3.11" -m venv no-such-folder' in done
    assert f'"{path}/python3.12" -m venv .venv-smoke' in done
    assert "-m pytest" in done and "tests/smoke.py" in done


def test_the_lowest_and_the_newest_versions_are_tested_apart(tmp_path):
    for version in ("3.11", "3.12", "3.13"):  # whichever this machine has
        bin_folder = program(tmp_path / "bin", f"python{version}", f'exec {sys.executable} "$@"')
    # Also where the environments are there: one of them is, in the suite that these goals run.
    lowest, newest = (
        said_by_make(f"test-{kind}", "--always-make", path=[bin_folder]).stdout
        for kind in ("lowest", "newest")
    )
    assert "constraints/lowest.txt --editable '.[test]'" in lowest
    for version in ("3.12", "3.13"):
        assert f"venv-newest-{version}/bin/python -m pytest" in newest
    assert "--constraint constraints" not in newest


def needed(*extras):
    """Returns the names and bounds of what the project and some extras ask for by name."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.name != PROJECT["name"]]


def versions(file):
    lines = [line.split("==") for line in file.read_text().split()]
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize("file", CONSTRAINTS, ids=lambda file: file.stem)
def test_every_tested_version_is_one_that_is_allowed(file):
    tested = versions(file)
    extras = ("test", "dicom", "docs", "nifti", "pictures", "pretrained", "slurm", "tensorboard")
    for one in needed(*extras):
        if one.marker is None or one.marker.evaluate():
            version = tested.get(canonicalize_name(one.name))
            assert version and version in one.specifier, one


def test_the_lowest_versions_are_the_lowest_that_are_allowed():
    lowest = versions(ROOT / "constraints" / "lowest.txt")
    for one in needed("dicom", "docs", "nifti", "pictures", "pretrained", "slurm", "tensorboard"):
        if one.marker is None or one.marker.evaluate():
            bounds = [bound for bound in one.specifier if bound.operator in (">=", "==")]
            (bound,) = bounds or [None]
            found = lowest[canonicalize_name(one.name)]
            # 0.8 may have been published as 0.8.0 or 0.8.1.
            assert bound is None or found.startswith(bound.version), one


def test_there_are_tested_versions_for_every_python_that_make_takes():
    pythons = re.search(r"^TESTED = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pythons and {*pythons[1].split()} <= {file.stem for file in CONSTRAINTS}


@pytest.mark.slow  # it asks the package index
@pytest.mark.parametrize("extra", ["cuda12", "cuda13", "tpu"])
def test_pip_finds_the_tested_jax_for_every_accelerator(extra):
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    constraints = ROOT / "constraints" / f"{python}.txt"
    dry = ("--dry-run", "--ignore-installed", "--quiet", "--report=-")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *dry, f"-c{constraints}", f"jax[{extra}]"],
        capture_output=True,
        text=True,
        check=True,
    )
    plugin = {"tpu": "libtpu"}.get(extra, f"jax-{extra}-plugin")
    version = re.search(r"^jax==(.+)$", constraints.read_text(), re.MULTILINE)[1]
    found = [one["metadata"] for one in json.loads(done.stdout)["install"]]
    found = {canonicalize_name(one["name"]): one["version"] for one in found}
    assert found["jax"] == version and plugin in found
