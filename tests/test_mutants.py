"""Places where a program can be changed, and whether its tests notice."""

import ast
import subprocess

import pytest

from tests import mutants

TEXT = '''"""Text with 1 number."""

@decorated(3)
def clamped(x: "Float[1]", low: int = 0) -> int:
    """Returns 2 things."""
    if x < low and not False:
        return -x * 2.5
    return f"{x + 1}" if x is None else (x
        % 7)
'''


def changes(text):
    """Returns each mutant's changed line by what stood there, without spaces."""
    return [(m.before, m.after) for m in mutants.mutants_of("a.py", text)]


def test_comparisons_operations_numbers_and_conditions_are_changed():
    assert sorted(changes(TEXT)) == sorted(
        [
            ("0", "(1)"),
            ("x < low", "(x <= low)"),
            ("x < low and not False", "(x < low or not False)"),
            ("not False", "(False)"),
            ("False", "(True)"),
            ("-x", "(x)"),
            ("-x * 2.5", "(-x / 2.5)"),
            ("2.5", "(3.5)"),
            ("x is None", "(x is not None)"),
            ("x % 7", "(x * 7)"),
            ("7", "(8)"),
            (
                'f"{x + 1}" if x is None else (x % 7)',
                "(f'{x + 1}' if not x is None else x % 7)",
            ),
        ]
    )


def test_each_mutant_is_a_program_with_one_place_changed():
    whole = TEXT.encode()
    for mutant in mutants.mutants_of("a.py", TEXT):
        changed = whole[: mutant.start] + mutant.after.encode() + whole[mutant.end :]
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(whole))
        assert mutant.before == " ".join(whole[mutant.start : mutant.end].decode().split())


def test_a_larger_sample_begins_with_the_smaller_one():
    found = mutants.mutants_of("a.py", TEXT)
    assert mutants.sample_of(found, 9, seed=3)[:4] == mutants.sample_of(found, 4, seed=3)
    assert mutants.sample_of(found, 9, seed=3) != mutants.sample_of(found, 9, seed=4)


@pytest.fixture
def project(tmp_path):
    """A folder with a module, and a test of it that looks at one of its two functions."""
    (tmp_path / "tests" / "room").mkdir(parents=True)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "sums.py").write_text(
        "def up(x):\n    return x + 1\n\n\ndef down(x):\n    return x - 1\n"
    )
    (tmp_path / "tests" / "room" / "test_sums.py").write_text(
        "from room.sums import up\n\n\ndef test_up():\n    assert up(2) == 3\n"
    )
    return tmp_path


def test_what_a_test_notices_is_told_from_what_none_does(project, monkeypatch):
    monkeypatch.setattr(mutants, "tests_of", lambda file: f"tests/room/test_{file.stem}.py")
    file = project / "room" / "sums.py"
    before = file.read_text()
    said = {
        mutant.name: mutants.noticed_by(mutant, project)
        for mutant in mutants.mutants_of("room/sums.py", before)
    }
    by_up = "FAILED tests/room/test_sums.py::test_up"
    assert said == {
        "room/sums.py:2:16: 1 -> (2)": by_up,
        "room/sums.py:2:12: x + 1 -> (x - 1)": by_up,
        "room/sums.py:6:16: 1 -> (2)": "",
        "room/sums.py:6:12: x - 1 -> (x + 1)": "",
    }
    assert file.read_text() == before


def test_tests_that_do_not_end_notice(project, monkeypatch):
    def never(*args, **keywords):
        raise subprocess.TimeoutExpired(args, keywords["timeout"])

    monkeypatch.setattr(subprocess, "run", never)
    (mutant, *_) = mutants.mutants_of("room/sums.py", "x = 1 + y")
    assert mutants.noticed_by(mutant, project) == "tests/room: no end within 900 seconds"
