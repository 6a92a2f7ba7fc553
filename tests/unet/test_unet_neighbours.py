"""A U-Net that sees the slices around an image: what it was trained on is what it predicts on."""

import json

import numpy as np
import pytest
from PIL import Image

from common.program.errors import UserError
from configs import unet
from tests.untrained import untrained
from unet.evaluate import evaluate
from unet.flags import UNetOptions
from unet.masks import open_segmenter
from unet.predict import open_predictor, predict

RNG = np.random.default_rng(0)
SHAPE = 20, 24


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network on two patients of three slices in each split."""
    folder = tmp_path_factory.mktemp("stacks")
    for split in ("train", "val", "test"):
        for kind, most in (("images", 256), ("masks", 2)):
            (folder / split / kind).mkdir(parents=True)
            for name in (f"{split}_{patient}_{i}" for patient in "ab" for i in range(3)):
                pixels = RNG.integers(0, most, SHAPE, np.uint8)
                Image.fromarray(pixels).save(folder / split / kind / f"{name}.png")
    config = unet.get_config("tiny").unlock()
    config.model.update(depth=2, width=4)
    config.data.update(dir=str(folder), image_size=16, channels=1, group="(.+)_", neighbours=1)
    return untrained(config.lock(), tmp_path_factory.mktemp("run"))


def test_masks_are_scored_as_predict_writes_them(run, tmp_path):
    evaluate(run, UNetOptions(native=True))
    report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    images = f"{run.config.data.dir}/test/images"
    predict(run, UNetOptions(input=images, output=str(tmp_path / "masks"), overlays=True))
    hits = total = 0
    for file in sorted((tmp_path / "masks").glob("*[0-9].png")):
        truth = np.array(Image.open(f"{run.config.data.dir}/test/masks/{file.name}")) > 0
        found = np.array(Image.open(file)) > 0
        hits, total = hits + (found & truth).sum(), total + found.sum() + truth.sum()
    (scores,) = report["native_scores"].values()
    assert hits > 0 and scores["pooled"]["dice"]["value"] == pytest.approx(2 * hits / total)


def test_a_slice_by_itself_is_seen_beside_itself_and_told(run, tmp_path, caplog):
    image = f"{run.config.data.dir}/test/images/test_a_1.png"
    predict(run, UNetOptions(input=image, output=str(tmp_path)))
    assert "seen beside itself" in caplog.text


@pytest.mark.parametrize("opened", [open_predictor, open_segmenter])
def test_images_without_an_order_are_refused(run, opened):
    with pytest.raises(UserError, match="sees the slices around an image"):
        opened(run)
