"""Pairs that are one image twice are found, and named by patient."""

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.inspect.findings import Level
from common.inspect.inspection import inspect

RNG = np.random.default_rng(0)


def findings_of(folder, grey, **changes):
    """Inspects three patients with three colour images each, of which some are grey."""
    for patient in "ABC":
        for number in range(3):
            channels = 1 if patient in grey else 3
            pixels = RNG.integers(0, 256, (16, 16, channels), np.uint8)
            image = Image.fromarray(np.broadcast_to(pixels, (16, 16, 3)).copy())
            image.save(folder / f"{patient}_{number}.png")
    data = default_config().data
    data.update(dir=str(folder), take="R>G", group="(.+)_", **changes)
    found = inspect(data)
    told = [x for x in found.findings if "target equals the image" in x.sentence]
    return told, found.survey


def test_nothing_is_said_of_pairs_that_differ(tmp_path):
    told, survey = findings_of(tmp_path, "")
    assert told == [] and len(survey.images) == 9


@pytest.mark.parametrize(("kept", "level", "count"), [("drop", Level.LOOK, 6), ("keep", 0, 9)])
def test_equal_pairs_are_named_by_patient(tmp_path, kept, level, count):
    (told,), survey = findings_of(tmp_path, "B", equal_pairs=kept)
    assert told.level == level and told.sentence.startswith("In 3 pairs of 1 patient (B) the")
    assert len(survey.images) == count
    assert kept != "keep" or "--config.data.equal_pairs=drop" in told.remedy


def test_if_all_pairs_are_equal_nothing_is_to_be_learnt(tmp_path):
    (told,), _ = findings_of(tmp_path, "ABC")
    assert told.level == Level.MEND and told.sentence.startswith("In every pair")


def test_a_target_of_another_size_is_broken(tmp_path):
    for kind, side in (("images", 16), ("targets", 12)):
        (tmp_path / kind).mkdir()
        Image.fromarray(RNG.integers(0, 256, (16, side), np.uint8)).save(tmp_path / kind / "a.png")
    (tmp_path / "images" / "b.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    (tmp_path / "targets" / "b.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    data = default_config().data
    data.update(dir=str(tmp_path), equal_pairs="keep")
    (broken,) = inspect(data).survey.broken
    assert "The target of images/a.png has 12x16 pixels, its image 16x16" in broken.why
