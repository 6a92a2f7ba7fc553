"""Scores in the images' own size are those of the masks that predict writes."""

import json

import numpy as np
import pytest
from PIL import Image

from common.program.errors import UserError
from configs import unet
from tests.untrained import untrained
from unet.evaluate import evaluate
from unet.flags import UNetOptions
from unet.predict import predict

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network of 16 x 16 pixels on larger images of several sizes."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, number in (("train", 4), ("val", 2), ("test", 4)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for place in range(number):
            shape = 40 + 4 * place, 48
            mask = np.zeros(shape, np.uint8)
            mask[10:30, 8:34] = 255
            image = RNG.integers(0, 120, shape, np.uint8) + mask // 2
            Image.fromarray(image).save(folder / split / "images" / f"{place}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{place}.png")
    config = unet.get_config("tiny").unlock()
    config.model.update(depth=2, width=4)
    config.data.update(dir=str(folder), image_size=16, channels=1, group="")
    return untrained(config.lock(), tmp_path_factory.mktemp("run"))


def test_masks_are_scored_as_predict_writes_them(run, tmp_path):
    evaluate(run, UNetOptions(native=True, smallest="choose", average="mirror"))
    report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    images = f"{run.config.data.dir}/test/images"
    predict(run, UNetOptions(input=images, output=str(tmp_path / "masks")))
    counts = np.zeros(3)
    for file in sorted((tmp_path / "masks").glob("*.png")):
        truth = np.array(Image.open(f"{run.config.data.dir}/test/masks/{file.name}")) > 0
        found = np.array(Image.open(file)) > 0
        assert found.shape == truth.shape
        counts += [(found & truth).sum(), found.sum(), truth.sum()]
    hits, predicted, true = counts
    (scores,) = report["native_scores"].values()
    assert scores["pooled"]["dice"]["value"] == pytest.approx(2 * hits / (predicted + true))
    (at_network_size,) = report["scores"].values()
    assert at_network_size.keys() == scores.keys()
    assert at_network_size["pooled"]["dice"] != scores["pooled"]["dice"]


def test_what_validation_must_choose_needs_validation_images(run, tmp_path):
    with pytest.raises(UserError, match="--smallest=choose needs validation images beside"):
        evaluate(run, UNetOptions(smallest="choose", split="val"))
    other = UNetOptions(smallest="choose", input=run.config.data.dir, output=str(tmp_path / "x"))
    with pytest.raises(UserError, match="run --mode=evaluate with it first"):
        predict(run, other)
