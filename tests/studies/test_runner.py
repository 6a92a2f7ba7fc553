"""The runner of studies: what it runs, in which order, and what becomes of failures."""

import hashlib
import json
from dataclasses import dataclass, field

import pytest
from ml_collections import ConfigDict

from common.config.tasks import options_of
from common.program.errors import DivergenceError, FaultError, UserError
from configs import acgan_covid, small_cnn_chest_xray, unet_brain_mri
from configs.utility_covid import get_config
from studies import runner
from studies.cell import Cell, StoppedError, effective
from studies.config import run_config
from studies.runner import run_cells

SETTINGS = ConfigDict({"task": "none", "data": {"dir": "here"}, "width": 1})


@dataclass(frozen=True, kw_only=True)
class Noted(Cell):
    """A cell that only notes that it ran, and finds the length of its name."""

    noted: list[str]
    error: Exception | None = None
    stopped: bool = False

    def run(self, workdir):
        self.noted.append(self.name)
        workdir.mkdir(parents=True, exist_ok=True)
        print(f"{self.name} speaks")
        if self.error:
            raise self.error
        if self.stopped:
            return False
        (workdir / "done").touch()
        return True

    def is_finished(self, workdir):
        return (workdir / "done").exists()

    def figures(self, workdir):
        return {"length": len(self.name)}


@dataclass
class Study:
    """Cells a, b/x (which requires a) and c, any of which may fail."""

    errors: dict[str, Exception] = field(default_factory=dict)
    stopped: str = ""
    width: int = 1
    folder: str = "here"

    def run(self, workdir, results=None):
        """Returns the outcome, and which cells ran."""
        workdir.mkdir(exist_ok=True)
        config = ConfigDict({"task": "none", "data": {"dir": self.folder}, "width": self.width})
        noted = []
        cells = [
            Noted(
                *(name, config, needs),
                noted=noted,
                error=self.errors.get(name),
                stopped=name == self.stopped,
            )
            for name, needs in (("a", ()), ("b/x", ("a",)), ("c", ()))
        ]
        return run_cells(cells, workdir, results), noted


@pytest.mark.parametrize(
    ("config", "before"),
    [
        (acgan_covid, "b2fb22d219c56ec1"),
        (small_cnn_chest_xray, "ca95da8fc7bd91e3"),
        (unet_brain_mri, "5923306826741ea6"),
    ],
)
def test_files_of_finished_cells_stay_valid_when_there_are_new_settings(config, before):
    """A new setting goes into `_YOUNGER` of studies/cell.py."""
    settings = json.dumps(effective(config.get_config()))
    assert hashlib.sha256(settings.encode()).hexdigest()[:16] == before


def test_each_cell_runs_once_in_its_own_folder(tmp_path, capsys):
    outcome, ran = Study().run(tmp_path / "study")
    outcome.check()
    assert ran == ["a", "b/x", "c"]
    assert outcome.found == {"a": {"length": 1}, "b/x": {"length": 3}, "c": {"length": 1}}
    assert (tmp_path / "study" / "cells" / "b" / "x" / "done").exists()
    assert (tmp_path / "study" / "log.txt").read_text().count("speaks") == 3
    assert "speaks" not in capsys.readouterr().out
    again, ran = Study().run(tmp_path / "study")
    assert (again, ran) == (outcome, [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("A file is missing."), UserError),
        (DivergenceError("Loss is nan.", "Start anew."), DivergenceError),
        (KeyError("x"), FaultError),
        (MemoryError(), UserError),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_failed_cell_stops_only_those_that_require_it(tmp_path, error, kind):
    outcome, ran = Study({"a": error}).run(tmp_path)
    assert ran == ["a", "c"] and list(outcome.found) == ["c"]
    with pytest.raises(kind) as raised:
        outcome.check()
    said = str(raised.value)
    assert said.startswith("1 of 3 cells failed (a: ") and ", and b/x did not run" in said
    mended, ran = Study().run(tmp_path)
    mended.check()
    assert ran == ["a", "b/x"]


def test_a_signal_stops_all_and_is_no_failure(tmp_path):
    with pytest.raises(StoppedError):
        Study(stopped="b/x").run(tmp_path)
    assert Study().run(tmp_path)[1] == ["b/x", "c"]


def test_cells_that_finished_on_another_machine_are_taken(tmp_path, caplog):
    file = tmp_path / "results" / "study.jsonl"
    first, _ = Study({"b/x": UserError("No.")}).run(tmp_path / "here", file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["cell"], line["figures"]) for line in lines] == list(first.found.items())

    elsewhere = Study(folder="another")
    outcome, ran = elsewhere.run(tmp_path / "there", file)
    assert ran == ["a", "b/x"]  # of what the second requires there were only figures
    assert len(file.read_text().splitlines()) == 3
    taken, ran = elsewhere.run(tmp_path / "nowhere", file)
    assert (taken, ran) == (outcome, [])

    before = file.read_text()
    _, ran = Study(width=2).run(tmp_path / "wider", file)
    assert ran == ["a", "b/x", "c"] and len(file.read_text().splitlines()) == 3
    assert file.read_text() != before


def test_flags_of_an_evaluation_count_if_they_are_not_at_their_defaults():
    config = acgan_covid.get_config("tiny")
    options = options_of("gan")
    given = [None, options(), options(images_per_class=7)]
    one, same, other = (
        runner._hashes([Cell("a", config, options=flags)], "data")["a"] for flags in given
    )
    assert one == same != other


def test_a_changed_cell_changes_those_that_require_it(tmp_path):
    config, other = SETTINGS, ConfigDict({**SETTINGS.to_dict(), "width": 2})
    of = [[Cell("a", own), Cell("b", config, ("a",)), Cell("c", config)] for own in (config, other)]
    one, two = (runner._hashes(cells, "data") for cells in of)
    assert {name for name in one if one[name] != two[name]} == {"a", "b"}
    assert set(one.values()).isdisjoint(runner._hashes(of[0], "other data").values())


@pytest.mark.parametrize("line", ["{", '{"cell": "a"}', '{"cell": 1, "config": "", "figures": {}}'])
def test_a_damaged_file_of_results_is_refused_in_a_sentence(tmp_path, line):
    file = tmp_path / "study.jsonl"
    file.write_text(f'{{"cell": "x", "config": "", "figures": {{}}}}\n{line}\n')
    with pytest.raises(UserError, match=r"Line 2 of .* is damaged: .*; remove the line"):
        Study().run(tmp_path / "study", file)


@pytest.mark.slow  # ablation/test_ablate.py trains and evaluates cells
def test_a_cell_is_by_default_trained_and_evaluated(tmp_path):
    study = get_config("tiny")
    config = ConfigDict(run_config(study.classifier, study.data, 0))
    config.train.update(num_steps="2", checkpoint_every="2", eval_every="0", best_metric="")
    cell, place = Cell("one", config), tmp_path / "cells" / "one"
    outcome = run_cells([cell], tmp_path)
    outcome.check()
    assert 0 <= outcome.found["one"]["scores.accuracy.value"] <= 1
    assert outcome.found["one"]["checkpoint_step"] == 2 and cell.is_finished(place)
    longer = Cell("one", config.copy_and_resolve_references())
    longer.config.unlock()
    longer.config.train.update(num_steps="4", checkpoint_every="4")
    assert not longer.is_finished(place)
    outcome = run_cells([longer], tmp_path)
    outcome.check()
    assert outcome.found["one"]["checkpoint_step"] == 4 and longer.is_finished(place)
