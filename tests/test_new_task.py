"""docs/new_task.md adds a task outside the program; here it trains, resumes and evaluates."""

import ast
import json
import re
import shlex

import pytest

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs/new_task.md").read_text()
CONFIG = "deblur_chest_xray.py:tiny"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder with the document's files, and nothing else of the program."""
    folder = tmp_path_factory.mktemp("mine")
    names = re.findall(r"^## \d\. .*`(.+\.py)`$", DOCUMENT, re.MULTILINE)
    programs = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    for name, program in zip(names, programs, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(program)
    return folder


@pytest.fixture(scope="module")
def trained(mine, launch):
    """Its workdir, and what was said while it trained to step 3 and then to the end."""
    workdir = mine / "run"
    command = (f"--config={mine / CONFIG}", f"--workdir={workdir}")
    return workdir, [launch(*command, f"--config.train.num_steps={end}") for end in (3, 6)]


def test_it_trains_resumes_and_says_what_it_declares(trained):
    workdir, (first, second) = trained
    assert "step 3 of 3" in first.stdout and "step 6 of 6" in second.stdout
    assert "resuming from step 3" in second.stderr and re.search(r"loss 0\.\d+", second.stderr)
    assert f"scores:      python launch.py --mode=evaluate --workdir={workdir}\n" in second.stdout
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows if "val/loss" in row} == {3, 6}
    assert (workdir / "pictures" / "000006_sharpened.png").exists()


def test_it_evaluates_by_the_workdir_alone_with_a_flag_of_its_own(trained, launch, tmp_path):
    def error(*flags):
        out = tmp_path / "-".join(("out", *flags))
        launch("--mode=evaluate", f"--workdir={trained[0]}", f"--output={out}", *flags)
        return json.loads((out / "evaluation.json").read_text())["error"]

    assert error() < error("--blur=9")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--blur=0"], "--blur is 0; it must be a whole number from 1 to 31."),
        (["--blur=much"], "flag --blur=much"),
        (["--seed=1"], "--mode=evaluate of config.task 'deblur' takes no --seed; it is for"),
        (["--blurr=1"], "Unknown command line flag 'blurr'. Did you mean: blur"),
        (["--mode=predict"], "Runs of config.task 'deblur' have no --mode=predict; use --mode=ev"),
    ],
)
def test_its_wrong_flags_are_met_with_one_sentence(trained, launch, flags, expected):
    said = launch("--mode=evaluate", f"--workdir={trained[0]}", *flags, code=2).stderr
    assert said.startswith("launch.py: ") and expected in said and said.count("\n") == 1


def test_its_settings_are_checked_and_may_not_change_on_resume(mine, trained, launch):
    command = (f"--config={mine / CONFIG}", f"--workdir={trained[0]}")
    said = launch(*command, "--config.model.blur=0", code=2).stderr
    assert "config.model.blur is 0; it must be a whole number from 1 to 31." in said
    said = launch(*command, "--config.model.blur=5", code=2).stderr
    assert "model.blur (3 there, 5 now)" in said


def test_help_has_its_flags_and_settings(mine, launch):
    said = launch("--helpfull", f"--config={mine / CONFIG}").stdout
    assert (
        "  --blur=N    ablate (deblur), evaluate (deblur)\n      Width in pixels of the blur"
        in said
    )
    assert (
        "evaluate (deblur, gan, unet, classify, translate, pretrain)" in said
        and "--overlays" in said
    )
    assert "--config.model.width=16" in said and "a whole number from 1 to 1024" in said


def test_one_that_fails_or_is_not_there_is_told_in_a_sentence(mine, launch, tmp_path):
    said = launch(f"--config={mine / CONFIG}", "--config.task=deblurr", code=2).stderr
    assert (
        "config.task is 'deblurr'; it must be one of classify, gan, pretrain, translate, unet, or"
        in said
    )
    for file, code in (("task.py", ""), ("config.py", "TASK = 1 / 0"), ("__init__.py", "")):
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / file).write_text(code)
    (tmp_path / "it.py").write_text(
        "from common.config.defaults import default_config\n"
        "def get_config():\n    config = default_config()\n    config.task = 'broken'\n"
        "    return config\n"
    )
    said = launch(f"--config={tmp_path / 'it.py'}", f"--workdir={tmp_path / 'run'}", code=2).stderr
    assert "broken/config.py fails: ZeroDivisionError: division by zero." in said


def test_the_commands_of_the_document_are_those_that_are_tested():
    commands = re.findall(r"^ {4}python launch\.py (.*)$", DOCUMENT, re.MULTILINE)
    flags = [re.sub(r"=.*", "", flag) for command in commands for flag in shlex.split(command)]
    assert flags == ["--config", "--workdir", "--mode", "--workdir", "--blur"]


def test_common_depends_on_no_task_by_its_name():
    """In its code; docstrings may give examples."""
    for file in sorted((ROOT / "common").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        texts = [x.value for x in nodes if isinstance(x, ast.Constant) and id(x) not in alone]
        words = " ".join(text for text in texts if isinstance(text, str))
        found = re.findall(r"(?<![\w/])(?:gan|unet|classify)(?![\w/])", words)
        assert not found, f"{file} names {found}"
