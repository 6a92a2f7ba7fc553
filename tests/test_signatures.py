"""Signatures say what functions take and return."""

import ast

import pytest

from tests.signatures import annotations, count, names


def test_a_name_is_found_in_parameters_in_what_is_returned_and_in_texts():
    for said in ("x: Any", "*x: list[Any]", "x: 'dict[str, Any]'", "*, x: typing.Any = 0"):
        (function,) = ast.parse(f"def f({said}) -> None: pass").body
        assert any("Any" in names(one) for one in annotations(function)), said
    (function,) = ast.parse("def f(x: Anything) -> Callable[..., int]: pass").body
    assert not any("Any" in names(one) for one in annotations(function))


def test_fewer_than_three_in_a_hundred_signatures_say_any():
    saying, every = count("Any")
    assert every.total() > 1500
    assert saying.total() < 0.03 * every.total(), saying.most_common(5)


@pytest.mark.parametrize("task", ["gan", "unet", "classify", "translate", "pretrain"])
def test_a_task_is_given_a_config_where_it_begins_and_nowhere_below(task):
    saying, _ = count("ConfigDict")
    found = {file: number for file, number in saying.items() if number and file.startswith(task)}
    assert found.keys() == {f"{task}/config.py", f"{task}/task.py"}
    assert found[f"{task}/task.py"] == 1  # make_task
