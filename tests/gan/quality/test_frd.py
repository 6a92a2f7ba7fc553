"""FRD is that of frd-score 1.0.1: its values below, and the package itself where it is installed.

It printed them with pyradiomics-bhklab 3.1.4; those of `features` came from its
`calculate_feature_statistics` and `calculate_frechet_distance`, given these instead of images.
"""

import importlib.util
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.program.errors import UserError
from gan.quality.features import Extractor, make_extractors
from gan.quality.figures import quality
from gan.quality.measures import radiomic_distance
from gan.quality.reference import Reference

needs_pyradiomics = pytest.mark.skipif(
    importlib.util.find_spec("radiomics") is None, reason="pip install -e '.[frd]'"
)


def features(seed, number, kinds=40, shift=0.0):
    """Features of many scales; two are equal in all real images, one of them in all others, too."""
    mixing = np.random.default_rng(9).normal(size=(kinds, kinds))
    scales = 10.0 ** np.random.default_rng(8).integers(-3, 6, kinds)
    made = scales * (np.random.default_rng(seed).normal(shift, 1, (number, kinds)) @ mixing + 50)
    made[:, 0] = 1023
    if not shift:
        made[:, 1] = 7
    return made.astype(np.float32)


def drawn(seed, number, noise=8.0, size=32):
    """Discs with stripes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    images = []
    for _ in range(number):
        row, column = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
        radius, waves = rng.uniform(0.15, 0.4), rng.uniform(2, 9)
        disc = np.hypot(y - row, x - column) < radius
        image = 60 + 120 * disc * (1 + 0.3 * np.sin(waves * 6.28 * x))
        images.append((image + rng.normal(size=(size, size)) * noise).clip(0, 255))
    return np.array(images).astype(np.uint8)[..., None]


def coloured(images):
    return np.concatenate([images, images[:, ::-1], 255 - images], -1)


def frd(real, generated):
    (extractor,) = make_extractors("pyradiomics", real.shape[1], real.shape[-1])
    return radiomic_distance(extractor.extract(real), extractor.extract(generated))


@pytest.mark.parametrize(("numbers", "value"), [((200, 150), 1.87009636), ((24, 20), 3.39821712)])
def test_the_distance_of_features_is_that_of_frd_score(numbers, value):
    real, generated = features(0, numbers[0]), features(1, numbers[1], shift=0.3)
    assert radiomic_distance(real, generated) == pytest.approx(value, abs=1e-6)
    assert radiomic_distance(real, real) < -20


@pytest.mark.parametrize(
    ("draw", "value"), [(lambda x: x, 7.08584763), (coloured, 6.88801801)], ids=["grey", "colour"]
)
@needs_pyradiomics
def test_frd_of_images_is_that_of_frd_score(draw, value):
    assert frd(draw(drawn(0, 8)), draw(drawn(1, 7, 14.0))) == pytest.approx(value, abs=1e-3)


@needs_pyradiomics
def test_frd_score_itself_agrees_on_other_images(tmp_path):
    pytest.importorskip("frd_score", reason="pip install frd-score")
    sets, folders = [drawn(5, 6, size=64), drawn(6, 9, 30.0, size=64)], []
    for name, images in zip("ab", sets, strict=True):
        folders.append(str(tmp_path / name))
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(tmp_path / name / f"{number}.png")
    # A process of its own: it starts others, and warns when it reads its settings.
    command = [sys.executable, "-m", "frd_score", *folders, "--num_workers=1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = float(re.search(r"FRD \(v1\): (\S+)", said)[1])
    assert frd(*sets) == pytest.approx(theirs, abs=1e-3)


@needs_pyradiomics
def test_an_image_of_one_grey_value_has_no_features():
    images = drawn(0, 3)
    images[1] = 9
    with pytest.raises(UserError, match="1 of 3 images have one grey value only"):
        frd(images, images)


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "radiomics", None)
    with pytest.raises(UserError, match=r"install it with pip install 'triptych\[frd\]'"):
        make_extractors("radiomic,pyradiomics", 64, 1)


def test_an_evaluation_has_frd_of_all_and_of_each_class_beside_its_floor():
    """The standard scores are those of the class, though features come in those of all images."""
    labels = np.arange(80) % 2
    real = features(0, 80) * np.where(labels, 1.0, 1.5)[:, None]
    generated = features(1, 80, shift=0.3)
    extractor = Extractor("pyradiomics", "given", True, lambda images: generated)
    reference = Reference(
        split="train",
        rows=np.arange(80),
        labels=labels,
        owners=tuple(map(str, range(80))),
        classes=("a", "b"),
        extractors={"pyradiomics": extractor},
        features={"pyradiomics": lambda: real},
    )
    found = quality(reference, "pyradiomics", generated, labels, 5)
    by_class = {one.comparison.class_name: one for one in found if one.name == "frd"}
    assert [dict(one.entries()).keys() for one in by_class.values()] == [
        {"frd_pyradiomics_train_80_80"},
        *[{"frd_pyradiomics_train_40_40"}] * 2,
    ]
    for name, rows in (("all", labels >= 0), ("a", labels == 0), ("b", labels == 1)):
        value = radiomic_distance(real[rows], generated[rows])
        assert by_class[name].value == pytest.approx(value, abs=1e-6)
        assert math.isfinite(by_class[name].floor)
        assert by_class[name].same_n > by_class[name].floor
