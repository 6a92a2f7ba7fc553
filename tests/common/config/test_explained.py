"""--mode=config: every setting with its value and its meaning, as Python."""

import importlib
from dataclasses import dataclass, field

import pytest

from common.config.explained import explained, meanings, meanings_of
from common.data.augmentation import Augmentation
from common.program.options import Command, Options
from common.program.settings import Section, flatten
from configs.acgan_covid import get_config
from gan.config import GANLoss
from studies.experiment import Experiment
from studies.modes import run_mode
from tests.conftest import ROOT


@dataclass(frozen=True)
class Parent(Section):
    """A class.

    Attributes:
      told, also_told: in the docstring,
        on two lines.
    """

    told: int = 0
    also_told: int = 0
    behind: int = 1  # behind "it"
    # Above it,
    # on two lines.
    above: str = "#"
    both: str = ""  # both
    nothing: int = 0
    terms: dict = field(  # a dictionary
        default_factory=lambda: {
            "entry": 0.0,  # of the dictionary
        }
    )


class Child(Parent):
    behind: int = 2
    both: str = ""  # its own
    new: int = 3  # new


def test_a_meaning_is_a_comment_or_a_line_of_the_docstring():
    assert meanings_of(Parent) == {
        "told": "in the docstring, on two lines.",
        "also_told": "in the docstring, on two lines.",
        "behind": 'behind "it"',
        "above": "Above it, on two lines.",
        "both": "both",
        "nothing": "",
        "terms": "a dictionary",
        "entry": "of the dictionary",
    }


def test_what_a_class_does_not_say_its_parent_says():
    found = meanings_of(Child)
    assert (found["behind"], found["both"], found["new"]) == ('behind "it"', "its own", "new")


def test_the_lines_are_the_config():
    config, other = get_config("tiny"), get_config().unlock()
    text = explained(config)
    exec(text, {"config": other})
    assert other.to_dict() == config.to_dict() != get_config().to_dict()
    assert max(map(len, text.splitlines())) <= 100


def test_the_mode_prints_the_config_with_its_overrides(capsys):
    config = get_config()
    config.seed = 7
    with pytest.raises(SystemExit, match="0"):
        run_mode(Command(mode="config"), Options(), Experiment("x.py", config, {}))
    assert capsys.readouterr().out == explained(config) + "\n"
    assert "config.seed = 7  # of all that is random" in explained(config)


def test_meanings_are_those_of_settings_sections_terms_and_networks():
    text = explained(get_config())
    for part in (
        "config.data.batch_size = 32  # global: over all devices and processes",
        "config.augment.rotation = 0.0  # degrees.",
        "config.loss.r1 = 0.0  # gamma",
        "config.model.generator.momentum = 0.8  # of the running statistics of BatchNorm.",
        "# `config.quality`: how generated images are measured every `train.eval_every`.",
    ):
        assert part in text, part
    order = [text.index(f"config.{name} =") for name in ("seed", "data.url", "data.sha256")]
    assert order == sorted(order)  # as declared: the one's comment goes on in the other's
    assert meanings_of(GANLoss)["decoding"] and meanings_of(Augmentation)["fill"]


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("[a-z]*.py")), ids=lambda x: x.stem)
def test_every_setting_of_every_experiment_has_a_meaning(file):
    config = importlib.import_module(f"configs.{file.stem}").get_config()
    told = meanings(config)
    assert [name for name, _ in flatten(config) if not told.get(name)] == []
