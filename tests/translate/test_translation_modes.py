"""Scoring and translating with a run: what is written, where, and what is refused."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from common.data.fit import fit_image
from common.data.records import Decoded
from common.devices import apply
from common.program.errors import UserError
from configs import cyclegan_brain_mri, pix2pix_brain_mri
from tests.checkpoint_leaves import read_leaves
from tests.dicom_files import DEEP, read, save
from tests.untrained import untrained
from translate import evaluate as evaluation
from translate.flags import TranslateOptions
from translate.inference import TrainedTranslator
from translate.reading import read_image
from translate.task import evaluate, predict

RNG = np.random.default_rng(0)
SIZE = 24


def config_of(module, **data):
    config = module.get_config("tiny")
    config.data.update(image_size=SIZE, num_phantoms=8, **data)
    config.model.update(width=2, depth=2, blocks=0, patch_width=2, pool_size=1)
    return config


@pytest.fixture(autouse=True)
def _without_lpips(monkeypatch):
    monkeypatch.setattr(evaluation, "weights_are_bundled", lambda: False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained run of phantoms whose target is another image."""
    folder = tmp_path_factory.mktemp("run")
    return untrained(config_of(pix2pix_brain_mri, name="mri_pair", take=""), folder)


@pytest.fixture
def as_they_are(monkeypatch):
    """Translators that return what they are given."""
    monkeypatch.setattr(TrainedTranslator, "translate", lambda self, images: images)


def report(folder):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.mark.usefixtures("as_they_are")
def test_a_network_that_does_nothing_scores_like_the_input(run, capsys):
    evaluate(run, TranslateOptions())
    found = report(run.workdir / "evaluation")
    assert found["scores"]["translated"] == found["scores"]["input"]
    zero = {"value": 0, "low": 0, "high": 0}
    assert found["differences"]["input"]["body"] == dict.fromkeys(("mae", "psnr", "ssim"), zero)
    assert found["scores"]["regression"]["body"]["mae"] != found["scores"]["input"]["body"]["mae"]
    assert found["images"] == 2 and found["images_with"] == {"image": 2, "body": 2}
    names = {"worst.png", "median.png", "best.png", "images.csv", "evaluation.json"}
    assert names <= {file.name for file in (run.workdir / "evaluation").iterdir()}
    said = capsys.readouterr().out
    assert "neither surely nearer nor farther than the input itself" in said


def pairs(folder, **kinds):
    """Writes pictures of these kinds, named 0.png, 1.png, ..."""
    for kind, pictures in kinds.items():
        (folder / kind).mkdir(parents=True)
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def noise(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


@pytest.mark.usefixtures("as_they_are")
def test_another_folder_of_pairs_is_scored(run, tmp_path):
    """Each target is its image and 51 grey levels: an error of 0.2, and a PSNR of 14 dB."""
    images = [RNG.integers(0, 200, (SIZE, SIZE), np.uint8) for _ in range(3)]
    folder = pairs(tmp_path / "other", images=images, targets=[image + 51 for image in images])
    evaluate(run, TranslateOptions(input=str(folder)))
    found = report(run.workdir / "evaluation-other")
    scores = found["scores"]["translated"]["image"]
    assert scores["mae"]["value"] == pytest.approx(0.2, rel=1e-5)
    assert scores["psnr"]["value"] == pytest.approx(-20 * np.log10(0.2), rel=1e-5)
    assert found["split"] == "all" and found["images"] == 3


def test_images_without_targets_can_not_be_scored(run, tmp_path):
    (tmp_path / "alone").mkdir()
    Image.fromarray(noise(SIZE, SIZE)).save(tmp_path / "alone" / "a.png")
    with pytest.raises(UserError, match="has no targets to compare translations with"):
        evaluate(run, TranslateOptions(input=str(tmp_path / "alone")))


def test_a_run_on_pairs_does_not_translate_back(run, tmp_path):
    options = TranslateOptions(back=True, input=str(tmp_path), output=str(tmp_path / "out"))
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png")
    for mode in (evaluate, predict):
        with pytest.raises(UserError, match="translates one way, so it takes no --back"):
            mode(run, options)


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory):
    return untrained(config_of(cyclegan_brain_mri), tmp_path_factory.mktemp("cycle"))


@pytest.mark.usefixtures("as_they_are")
def test_a_run_without_pairs_has_no_regression_beside_it(both_ways, tmp_path):
    card = replace(both_ways.card, classes=("A", "B"), has_targets=False)
    folder = pairs(tmp_path / "unseen", images=[noise(SIZE, SIZE)], targets=[noise(SIZE, SIZE)])
    evaluate(replace(both_ways, card=card), TranslateOptions(input=str(folder)))
    found = report(both_ways.workdir / "evaluation-unseen")
    assert {*found["scores"]} == {"translated", "input"} and found["regression"] is None
    assert "regression" not in found["verdict"]


def test_back_is_the_other_generator(both_ways, monkeypatch):
    given = []
    monkeypatch.setattr(apply, "in_batches", lambda _, variables, batch: given.append(variables))
    for back in (False, True):
        TrainedTranslator(both_ways, back=back)
    saved = read_leaves(both_ways.workdir, 1)
    for name, variables in zip(("average", "back_average"), given, strict=True):
        kernel = variables["params"]["output"]["kernel"]
        np.testing.assert_array_equal(kernel, saved[f"/{name}/params/output/kernel"])
    assert (saved["/average/params/output/kernel"] != kernel).any()


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize(("back", "channel"), [(False, 0), (True, 1)])
def test_an_image_is_seen_as_in_training_and_gets_its_size_back(both_ways, fit, back, channel):
    config = both_ways.config.copy_and_resolve_references()
    config.data.fit = fit
    run = replace(both_ways, config=config)
    pixels = noise(SIZE, SIZE, 3)
    found = read_image(lambda: Decoded.from_bytes(pixels, "RGB"), run, 4, back=back)
    one = pixels[..., channel : channel + 1]
    np.testing.assert_array_equal(found.shown, fit_image(one, SIZE, 1, fit))
    np.testing.assert_array_equal(found.restored(found.shown), one)
    tall = read_image(lambda: Decoded.from_bytes(noise(70, 30, 3), "RGB"), run, 4, back=back)
    assert not any(side % 4 for side in tall.shown.shape[:2])
    assert tall.restored(tall.shown).shape == (70, 30, 1)
    small = read_image(lambda: Decoded.from_bytes(noise(2, 9, 3), "RGB"), run, 4, back=back)
    assert min(small.shown.shape[:2]) >= SIZE and small.restored(small.shown).shape == (2, 9, 1)


@pytest.fixture
def ward(tmp_path):
    """Files of every kind: pictures, DICOM with one frame and with two, a turned volume."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(noise(30, 20)).save(folder / "a.png")
    Image.fromarray(noise(30, 20, 3)).save(folder / "deep" / "b.jpg")
    Image.fromarray(noise(30, 20)).save(folder / "c.gif")
    place = {"PixelSpacing": [0.5, 0.7], "ImagePositionPatient": [1, 2, 3]}
    save(folder / "d.dcm", DEEP, SeriesInstanceUID="1.2", **place, WindowCenter=9, WindowWidth=4)
    save(folder / "e.dcm", DEEP, SeriesInstanceUID="1.2", RescaleSlope=2, RescaleIntercept=-5)
    frames = np.stack([DEEP, DEEP // 2])
    save(folder / "1.2.3", DEEP, NumberOfFrames=2, PixelData=frames.tobytes())
    affine = np.array([[0, -2, 0, 9], [3, 0, 0, 8], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    voxels = RNG.integers(0, 900, (20, 30, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "v.nii.gz")
    return folder


@pytest.mark.usefixtures("as_they_are")
def test_each_file_is_translated_in_its_own_size_format_and_place(run, ward, tmp_path, capsys):
    out = tmp_path / "out"
    predict(run, TranslateOptions(input=str(ward), output=str(out)))
    assert "10 images are translated" in capsys.readouterr().out
    for name, kind in (("a.png", "PNG"), ("deep/b.jpg", "JPEG"), ("c.png", "PNG")):
        with Image.open(out / name) as picture:
            assert (picture.size, picture.mode, picture.format) == ((20, 30), "L", kind)
    first, second, many = (pydicom.dcmread(out / x) for x in ("d.dcm", "e.dcm", "1.2.3.dcm"))
    given = pydicom.dcmread(ward / "d.dcm")
    for keyword in ("PatientID", "PixelSpacing", "ImagePositionPatient", "Rows", "Columns"):
        assert first[keyword] == given[keyword]
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != given.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.ImageType == ["DERIVED", "SECONDARY"] and "not acquired" in first.SeriesDescription
    assert "WindowCenter" not in first and "RescaleSlope" not in second
    assert read(out / "d.dcm").shape == (48, 64, 1) and many.pixel_array.shape == (2, 48, 64)
    before, after = nibabel.load(ward / "v.nii.gz"), nibabel.load(out / "v.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.shape == before.shape and after.get_data_dtype() == np.uint8
    order = np.corrcoef(np.asarray(before.dataobj).ravel(), np.asarray(after.dataobj).ravel())
    assert order[0, 1] > 0.9  # each voxel where it was


@pytest.mark.usefixtures("as_they_are")
def test_a_broken_file_does_not_stop_the_others(run, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(9, 9)).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    options = TranslateOptions(input=str(tmp_path / "in"), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"1 file could not be translated; the first: .*bad\.png"):
        predict(run, options)
    assert (tmp_path / "out" / "good.png").exists()


def test_targets_beside_images_are_no_input(run, tmp_path):
    folder = pairs(tmp_path / "in", images=[noise(9, 9)], targets=[noise(9, 9)])
    options = TranslateOptions(input=str(folder), output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"masks or targets beside its images; name .*images\."):
        predict(run, options)


def test_predicting_needs_folders(run):
    with pytest.raises(UserError, match="needs --input=PATH for the images and --output=DIR"):
        predict(run, TranslateOptions())
