"""Imports point one way: launch -> studies -> {gan, unet, classify} -> common."""

import ast

from tests.conftest import ROOT

LAYERS = {"common": 0, "gan": 1, "unet": 1, "classify": 1, "studies": 2, "launch": 3}


def imported(file):
    """Yields the top-level name of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def rooms():
    for room in LAYERS:
        yield from ((room, file) for file in (ROOT / room).rglob("*.py"))
    yield "launch", ROOT / "launch.py"


def test_every_room_imports_only_from_rooms_below_it():
    seen = 0
    for room, file in rooms():
        for other in imported(file):
            if other in LAYERS and other != room:
                seen += 1
                assert LAYERS[other] < LAYERS[room], f"{file} imports {other}"
    assert seen > 20


def test_only_one_file_says_pmap():
    saying = {f.relative_to(ROOT).as_posix() for _, f in rooms() if "jax.pmap" in f.read_text()}
    assert saying == {"common/devices/parallel.py"}


def test_tensorflow_is_imported_late_and_in_one_place():
    importing = {file for _, file in rooms() if "tensorflow" in set(imported(file))}
    assert [file.name for file in importing] == ["event_files.py"]
    top = ast.parse(importing.pop().read_text()).body
    assert "tensorflow" not in {a.name for n in top if isinstance(n, ast.Import) for a in n.names}


def test_launch_is_short():
    assert len((ROOT / "launch.py").read_text().splitlines()) < 100
