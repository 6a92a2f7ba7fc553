"""Imports point one way: launch -> studies -> tasks -> common, room by room."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter

import pytest

from tests.conftest import ROOT

# Tasks do not import each other, but for translate, which stands on gan, and pretrain on classify.
LAYERS = {
    "common": 0,
    "gan": 1,
    "unet": 1,
    "classify": 1,
    "translate": 2,
    "pretrain": 2,
    "studies": 3,
    "launch": 4,
    "triptych": 4,
}

# What a room of common/ may import from besides itself; a folder within one is a room of its own
# where it stands here. docs/architecture.md says what is in each.
ROOMS = {
    "program": "",
    "ops": "",
    "devices": "ops program",
    "data": "program",
    "data.phantoms": "",
    "data.files": "data program",
    "data.copies": "data program",
    "data.sources": "data data.files data.phantoms program",
    "data.prepared": "data data.copies data.files data.sources program",
    "networks": "devices ops program",
    "scores": "data devices program",
    "config": "data program",
    "learning": "config devices program",
    "runs": "config data data.prepared learning program scores",
    "report": "data data.files program",
    "inspect": "config data data.copies data.files data.prepared data.sources program report"
    " scores",
    "run_page": "config inspect program report runs",
    "unlike": "data data.prepared program runs",
    "export": "ops program runs",
}
SEES_ALL = "training"
LOOSE = {"__init__.py"}  # files in common/ itself


def files():
    """Yields every file of the program, with its module's name."""
    for top in (*LAYERS, "bench", "configs"):
        for file in sorted((ROOT / top).rglob("*.py")) or [ROOT / f"{top}.py"]:
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts), file


@cache
def modules():
    return {name.removesuffix(".__init__"): file for name, file in files()}


@cache
def imported(file):
    """Returns the names of all that a file imports, inside functions too, as far as known."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in whole}
    beside = {name: f"bench.{name}" for name in found if f"bench.{name}" in modules()}
    return {beside.get(name, name) if file.parent.name == "bench" else name for name in found}


def room_of(name):
    """Returns the room of common/ that a module is in: "data.files" of common.data.files.dicom."""
    file = modules().get(name)
    parts = name.split(".")[1:] if file and file.name == "__init__.py" else name.split(".")[1:-1]
    inner = ".".join(parts[:2])
    return inner if inner in ROOMS else parts[0]


def test_every_layer_imports_only_from_layers_below_it():
    seen = 0
    for name, file in modules().items():
        here = name.split(".")[0]
        for other in {other.split(".")[0] for other in imported(file)} & LAYERS.keys() - {here}:
            seen += 1
            assert LAYERS[other] < LAYERS.get(here, 5), f"{file} imports {other}"
    assert seen > 100


def test_translation_takes_losses_from_gan_and_nothing_else_from_tasks():
    tasks = ("gan.", "unet.", "classify.")
    ours = [file for name, file in modules().items() if name.startswith("translate.")]
    taken = {other for file in ours for other in imported(file) if other.startswith(tasks)}
    assert taken == {"gan.losses"}


def test_pretraining_takes_networks_from_classify_and_nothing_else_from_tasks():
    tasks = ("gan.", "unet.", "classify.", "translate.")
    ours = [file for name, file in modules().items() if name.startswith("pretrain.")]
    taken = {other for file in ours for other in imported(file) if other.startswith(tasks)}
    assert taken == {"classify.config", "classify.networks", "classify.state"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_common_imports_only_from_those_below_it(room):
    allowed = {room, *ROOMS[room].split()}
    inside = [name for name in modules() if f"{name}.".startswith(f"common.{room}.")]
    inside = [name for name in inside if room_of(name) == room]
    assert inside
    for name in inside:
        ours = (other for other in imported(modules()[name]) if other.startswith("common."))
        rooms = {other: room_of(other) for other in ours}
        wrong = {other for other, where in rooms.items() if where not in allowed}
        assert not wrong, f"{name} imports {wrong}"


def test_every_room_of_common_has_its_rule_and_the_rules_have_no_circle():
    folders = {file.parent for name, file in modules().items() if name.startswith("common.")}
    rooms = {".".join(folder.relative_to(ROOT / "common").parts) for folder in folders} - {""}
    assert rooms == {*ROOMS, SEES_ALL}
    TopologicalSorter({room: set(below.split()) for room, below in ROOMS.items()}).prepare()
    assert {file.name for file in (ROOT / "common").glob("*.py")} == LOOSE


def test_no_files_import_each_other_in_a_circle():
    known = modules()
    graph = {name: (imported(file) & known.keys()) - {name} for name, file in known.items()}
    TopologicalSorter(graph).prepare()  # CycleError names the circle
    assert sum(map(len, graph.values())) > 800


def test_the_operations_are_used_by_their_face_alone():
    outside = {
        other
        for name, file in modules().items()
        if not name.startswith("common.ops")
        for other in imported(file)
        if other.startswith("common.ops")
    }
    assert outside == {"common.ops"}


def test_only_one_file_says_pmap():
    saying = {name for name, file in modules().items() if "jax.pmap" in file.read_text()}
    assert saying == {"common.devices.apply"}


def test_tensorflow_is_imported_late_and_in_one_place():
    files = [
        file
        for name, file in modules().items()
        if "tensorflow" in {other.split(".")[0] for other in imported(file)}
        and name.split(".")[0] in LAYERS
    ]
    assert [file.name for file in files] == ["event_files.py"]
    top = ast.parse(files.pop().read_text()).body
    assert "tensorflow" not in {a.name for n in top if isinstance(n, ast.Import) for a in n.names}


def test_the_project_is_one_import():
    import gan.losses
    import triptych

    assert triptych.gan is gan and triptych.gan.losses.LOSSES is gan.losses.LOSSES
    assert {"gan", "unet", "classify", "translate", "pretrain", "common", "studies"} <= set(
        dir(triptych)
    )
    with pytest.raises(AttributeError, match="no attribute 'gann'"):
        _ = triptych.gann


def test_files_and_functions_are_short():
    assert len((ROOT / "launch.py").read_text().splitlines()) <= 100
    for name, file in modules().items():
        text = file.read_text()
        assert len(text.splitlines()) <= 400, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < 60, f"{name}.{node.name}"


def test_python_is_one_that_has_a_file_of_constraints():
    version = "{}.{}".format(*sys.version_info)
    assert (ROOT / "constraints" / f"{version}.txt").is_file()
