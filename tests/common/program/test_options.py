"""Flags: a value that means nothing, and a flag of another mode or task, are refused by name."""

import ast
from dataclasses import fields

import pytest

from common.config.known_tasks import KnownTasks
from common.config.tasks import options_of
from common.program.errors import UserError
from common.program.options import MODES, Command
from gan.flags import GANOptions
from launch import TASKS
from tests.conftest import ROOT
from unet.flags import UNetOptions

BUILT_IN = ("gan", "unet", "classify", "translate", "pretrain")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"num_images": 0}, "--num_images is 0; it must be a whole number from 1"),
        ({"seed": -1}, "--seed is -1"),
        ({"truncation": float("nan")}, "--truncation is nan"),
        ({"axis": -1}, "--axis is -1"),
        ({"frames": 1}, "--frames is 1"),
        ({"rows": 0}, "--rows is 0"),
        ({"threshold": 1.0}, "--threshold is 1.0; it must be a number from 0 and less than 1"),
        ({"threshold": -0.5}, "--threshold is -0.5"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_what_may_be(flags, expected):
    with pytest.raises(UserError, match=expected):
        (UNetOptions if "threshold" in flags else GANOptions)(**flags)


@pytest.mark.parametrize("flags", [{"num_processes": 0}, {"process_id": -1}])
def test_so_it_is_of_the_command_itself(flags):
    with pytest.raises(UserError, match="it must be a whole number from"):
        Command(**flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"num_processes": 2}, "need --coordinator"),
        ({"process_id": 1}, "need --coordinator"),
        ({"coordinator": "x:1", "num_processes": 2, "process_id": 2}, "less than --num_processes"),
    ],
)
def test_processes_that_could_not_find_each_other_are_refused(flags, expected):
    with pytest.raises(UserError, match=expected):
        Command(**flags)


@pytest.mark.parametrize(
    ("flag", "mode", "task", "expected"),
    [
        ("overlays", "predict", "classify", r"of config.task 'classify' .* predict \(unet\)"),
        ("explain", "predict", "unet", r"it is for predict \(classify\)"),
        (
            "input",
            "generate",
            "gan",
            r"it is for run, inspect, evaluate \(gan, unet, classify, translate\)",
        ),
        ("num_images", "evaluate", "gan", r"it is for generate \(gan\)"),
        ("output", "train", "", "--mode=train takes no --output"),
        ("restart", "evaluate", "", "it is for train"),
        ("profile", "utility", "", "it is for train"),
        ("coordinator", "utility", "", "it is for train, generate"),
        ("allow_config_change", "predict", "unet", "it is for train"),
        ("config.data.dir", "predict", "", "--mode=predict takes no --config"),
        ("output", "run", "", "--mode=run takes no --output"),
        ("workdir", "inspect", "", "--mode=inspect takes no --workdir"),
    ],
)
def test_a_flag_of_another_mode_or_task_is_refused_naming_what_takes_it(flag, mode, task, expected):
    with pytest.raises(UserError, match=expected):
        TASKS.check_flags([flag], mode, task)


def test_the_flags_of_a_mode_are_taken_and_those_of_libraries_do_not_matter():
    TASKS.check_flags(["output", "num_images", "workdir", "mode", "verbosity"], "generate", "gan")
    TASKS.check_flags(["input", "workdir", "restart", "config", "config.data.window"], "run")
    TASKS.check_flags(["config", "config.data.dir", "restart", "workdir"], "train")
    TASKS.check_flags(["overlays"], "predict")  # a task that has it may be found yet


def test_a_task_may_have_modes_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "counting").mkdir()
    (tmp_path / "counting" / "task.py").touch()
    (tmp_path / "counting" / "config.py").write_text(
        "from common.config.declaration import Declaration, Mode\n"
        "TASK = Declaration(dict, {}, modes={'count': Mode(('output',))})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tasks = KnownTasks(("counting",))
    assert tasks.modes == (*MODES, "count") and "count" not in TASKS.modes
    tasks.check_flags(["output", "workdir", "coordinator"], "count", "counting")
    with pytest.raises(UserError, match="it is for run, inspect"):
        tasks.check_flags(["input"], "count", "counting")


def options_read_in(task):
    """Yields the names of the options that the code of a task reads."""
    for file in (ROOT / task).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("options"):
                yield node.attr


def test_every_option_has_something_that_takes_it_and_a_task_declares_what_it_reads():
    for kind in TASKS.kinds:
        assert all(TASKS.uses_of(field.name) for field in fields(kind))
    for task in BUILT_IN:
        names = {field.name for field in fields(options_of(task))}
        declared = {name for name in names if any(task in x for x in TASKS.uses_of(name).values())}
        shared = {"input"} if task == "gan" else set()  # which says why it compares with no others
        assert set(options_read_in(task)) & names <= declared | shared, task
