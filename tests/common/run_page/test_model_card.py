"""card.md: what those have to know to whom a run is passed on."""

import json
import re
from dataclasses import replace

import pytest

from common.config.tasks import declaration_of
from common.inspect.findings import Finding, Level
from common.inspect.kept import KeptInspection
from common.run_page.files import read_run
from common.run_page.model_card import model_card
from common.run_page.write import write_page
from common.runs.workdir import Run, open_run
from tests.written_run import CARD, NASTY, write_run

TASKS = ("gan", "unet", "classify", "translate", "pretrain")
SECTIONS = ("Intended use", "Limits", "Data", "Training", "Measures", "The same again")


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "mine")


@pytest.fixture
def files(run):
    return read_run(open_run(run))


def with_data(files, **changes):
    """The files of a run on other data."""
    return replace(files, run=replace(files.run, card=replace(CARD, **changes)))


def test_a_card_has_what_a_model_card_has(files):
    card = model_card(files)
    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == [*SECTIONS]
    assert card.startswith("---\nlibrary_name: triptych\ntags: [medical, jax, classify]\n---\n")
    for part in (
        *("# mine", "step 40 of 60", "not a medical device", "32x32, grey"),
        *("| train | 20 | unknown |", "| other | 8 |", "| data.held_out | 15,15 |"),
        *("Tells the classes apart in part", "| accuracy | 0.8 [0.7, 0.9] | higher |"),
        *("    python launch.py --config=configs/classify.py:tiny", "jax 0.10.2", "commit abc"),
    ):
        assert part in card, part


def test_it_is_written_with_the_page(run):
    write_page(open_run(run))
    assert (run / "card.md").read_text().startswith("---\n") and (run / "report.html").exists()


def test_names_from_files_are_text(files):
    card = model_card(files)
    assert card.count(NASTY.replace("<", r"\<")) >= 4  # data, class, verdict; not the command
    assert not re.search(r"^(?! {4}).*(?<!\\)<", card, re.MULTILINE)
    assert r"a\|b [c\](d)" in model_card(with_data(files, name="a|b\n[c](d)"))


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "is unknown which images are of one patient", "drawn by"),
        ({"synthetic": True}, "drawn by a program", "one patient"),
        ({"num_patients": {"train": 5, "val": 1, "test": 2}}, "| test | 4 | 2 |", "one patient"),
        ({"num_examples": {"train": 9}}, "There is no test split", "drawn by"),
    ],
)
def test_the_limits_follow_from_the_data(files, changes, said, unsaid):
    card = model_card(with_data(files, **changes))
    assert said in card and unsaid not in card


def test_the_findings_of_the_inspection_are_in_it(files, tmp_path):
    assert "These images were not inspected." in model_card(files)
    found = KeptInspection(tmp_path, "All is well.", (Finding(Level.LOOK, "It is dark."),))
    card = model_card(replace(files, inspection=found))
    assert "All is well." in card and "- check this: It is dark." in card


def test_without_an_evaluation_it_says_so(tmp_path):
    run = write_run(tmp_path / "mine", evaluated=False)
    assert "## Measures\n\nNot evaluated yet." in model_card(read_run(open_run(run)))


def test_measures_of_generated_images_stand_beside_those_of_real_ones(files):
    numbers = {"frechet_radiomic_train_64_100": {"same_n": 12.345, "floor": 3.0}}
    found = {"verdict": "Near.", "quality": {"radiomic": {"all": numbers}}}
    (evaluated,) = files.evaluations
    config = files.run.config.copy_and_resolve_references()
    config.task = "gan"
    card = model_card(
        replace(
            files,
            run=replace(files.run, config=config),
            evaluations=(replace(evaluated, found=found),),
        )
    )
    assert "| Fréchet distance (radiomic) | 12.3 (real images 3) | lower |" in card
    assert "Generated images show nobody." in card


def test_an_early_run_and_an_ensemble_have_a_card(run, tmp_path):
    member = open_run(run)
    (run / "run.json").write_text(json.dumps({"data": CARD.to_dict()}))
    assert "The same again" not in model_card(read_run(open_run(run)))
    both = Run(tmp_path / "both", member.config, member.card, (member, member))
    assert "mean of its members' predictions" in model_card(read_run(both))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_says_what_it_is_for_and_what_it_cannot(task):
    declared = declaration_of(task)
    assert declared.use.endswith(".") and declared.limits
