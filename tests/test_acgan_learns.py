"""End to end: from phantoms to generated images whose class a stranger can tell."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.data.phantoms import KINDS, LUNG_CT_CLASSES

SIZE = 32


def read_generated(folder):
    """Returns flat images and labels as `--mode=generate` wrote them."""
    rows = list(csv.DictReader((folder / "labels.csv").read_text().splitlines()))
    images = []
    for row in rows:
        with Image.open(folder / row["file"]) as image:
            images.append(np.asarray(image).ravel())
    labels = [LUNG_CT_CLASSES.index(row["label"]) for row in rows]
    return np.stack(images), np.array(labels)


@pytest.mark.slow
def test_a_classifier_of_real_phantoms_names_the_class_of_generated_ones(launch, tmp_path):
    """The default recipe at half the size and a third of the steps."""
    workdir, out = tmp_path / "run", tmp_path / "new"
    launch(
        "--config=configs/acgan_covid.py",
        f"--config.data.image_size={SIZE}",
        "--config.train.num_steps=500",
        "--config.train.picture_every=0",
        "--config.train.eval_every=0",
        f"--workdir={workdir}",
        optimised=True,
    )
    launch("--mode=generate", f"--workdir={workdir}", f"--output={out}", "--num_images=200")
    real = KINDS["covid_ct"].draw(1, 600, SIZE)  # another seed than the training set's
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    judge.fit(real.images[:400].reshape(400, -1), real.labels[:400])
    assert judge.score(real.images[400:].reshape(200, -1), real.labels[400:]) > 0.95
    images, labels = read_generated(out)
    assert judge.score(images, labels) >= 0.9
    # Not one picture per class again and again: the latent varies them as patients do.
    for label in (0, 1):
        spread = images[labels == label].std(axis=0).mean()
        real_spread = real.images[real.labels == label].reshape(-1, SIZE**2).std(axis=0).mean()
        assert spread > real_spread / 2
