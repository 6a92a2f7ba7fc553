"""A network that knows real targets segments translations: what the scores compare."""

import json

import numpy as np
import pytest

from common.program.errors import UserError
from configs import pix2pix_brain_mri, unet_brain_mri
from tests.untrained import untrained
from translate import evaluate as evaluation
from translate.flags import TranslateOptions
from translate.inference import TrainedTranslator
from translate.round_trip import segment_all
from translate.task import evaluate

SIZE = 24
CLASSES = ("background", "tumour")


class Bright:
    """Finds what is bright."""

    def __init__(self):
        self.facts = {"run": "bright"}

    def masks(self, images):
        return (images[..., 0] > 100).astype(np.uint8)


def images_of(*masks):
    return np.stack([200 * mask for mask in masks])[..., None].astype(np.uint8)


def test_it_is_the_dice_of_images_with_truth_by_patient():
    """Two patients: all is found in targets, half in translations, nothing in the input."""
    whole, half, nothing = (np.zeros((8, 8), np.uint8) for _ in range(3))
    whole[:4], half[:2] = 1, 1
    blocks = [
        (
            {
                "target": images_of(whole, whole),
                "translated": images_of(half, half),
                "input": images_of(nothing, nothing),
            },
            [whole, nothing],
        ),
        (
            dict.fromkeys(("target", "translated"), images_of(whole))
            | {"input": images_of(nothing)},
            [whole],
        ),
    ]
    found = segment_all(Bright(), blocks, CLASSES, ("p1", "p1", "p2"))
    dice = {kind: found.dice[kind]["tumour"]["dice"].value for kind in found.dice}
    assert dice == pytest.approx({"target": 1, "translated": (2 / 3 + 1) / 2, "input": 0})
    gain = found.gains["input"]["tumour"]["dice"]
    assert (gain.value, gain.low, gain.high) == pytest.approx((5 / 6, 2 / 3, 1))
    assert "with Dice 0.83 [0.67, 1.00]: in real targets with 1.00" in found.verdict


def config_of(module, **data):
    config = module.get_config("tiny")
    config.data.update(image_size=SIZE, num_phantoms=8, **data)
    config.model.update(width=2, depth=2)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained(config_of(pix2pix_brain_mri), tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_a_run_of_a_unet_is_opened_by_its_workdir(run, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "weights_are_bundled", lambda: False)
    monkeypatch.setattr(TrainedTranslator, "translate", lambda self, images: images)
    flair = config_of(unet_brain_mri, channels=1, take="G")
    untrained(flair, tmp_path / "unet")
    evaluate(run, TranslateOptions(segmenter=str(tmp_path / "unet")))
    found = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    trip = found["round_trip"]
    assert trip["dice"]["translated"] == trip["dice"]["input"]
    assert {*trip["dice"]} == {"target", "translated", "input"}
    assert trip["segmenter"]["checkpoint_step"] == 1


def test_a_run_of_another_kind_is_refused(run, tmp_path):
    untrained(config_of(unet_brain_mri), tmp_path / "colour")
    for workdir, sentence in (
        (tmp_path / "colour", "takes images of 24 pixels and 3 channels and finds 2 classes"),
        (run.workdir, "is a run of 'translate'; name one of a U-Net"),
    ):
        with pytest.raises(UserError) as raised:
            evaluate(run, TranslateOptions(segmenter=str(workdir)))
        assert sentence in str(raised.value)
