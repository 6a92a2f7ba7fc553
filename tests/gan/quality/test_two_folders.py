"""Any folder of images beside any other: --mode=evaluate --real=DIR --input=DIR."""

import json

import numpy as np
import pytest
from PIL import Image

from common.networks import lpips
from common.program.errors import UserError
from gan.flags import GANOptions
from gan.quality import variety
from gan.quality.folders import evaluate_without_run


def write(folder, classes, num, seed, brightness=1.0):
    """Writes images of blots, different from seed to seed."""
    random = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(num):
            small = Image.fromarray(random.integers(0, 256, (6, 6), np.uint8))
            pixels = brightness * np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{seed}_{i}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Real images in train and test, and generated ones: good, dark, and copies of real ones."""
    place = tmp_path_factory.mktemp("folders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPTYCH_CACHE", str(place / "cache"))
        patch.setattr(variety, "_MOST", 8)  # images, whose pairs VGG16 compares
        patch.setattr(lpips, "_BATCH", 8)
        for split, seed in (("train", 0), ("test", 1)):
            write(place / "real" / split, ("A", "B"), 30, seed)
        write(place / "good", ("A", "B"), 40, 2)
        write(place / "dark", ("A", "B"), 40, 3, brightness=0.3)
        write(place / "copies", ("A", "B"), 30, 0)
        write(place / "other", ("A", "C"), 3, 4)
        write(place / "few", ("A", "B"), 8, 5)
        yield place


def report_of(folders, name, output):
    options = GANOptions(
        real=str(folders / "real"),
        input=str(folders / name),
        image_size=32,
        extractors="radiomic",
        output=str(output / name),
    )
    evaluate_without_run(options)
    return json.loads((output / name / "evaluation.json").read_text())


def test_better_images_have_better_figures(folders, tmp_path, capsys):
    good, dark = (report_of(folders, name, tmp_path) for name in ("good", "dark"))
    assert capsys.readouterr().out.startswith("80 images of ")
    frechet = [
        report["quality"]["radiomic"]["all"]["frechet_radiomic_train_60_80"]["same_n"]
        for report in (good, dark)
    ]
    assert 5 * frechet[0] < frechet[1]
    assert good["verdict"].startswith("As near to real images as other real images are")
    assert dark["verdict"].startswith("Far from real images")
    assert good["images"] == 80 and "checkpoint_step" not in good
    assert set(good["diversity"]) == {"A", "B"}
    assert not good["memorization"]["memorized"]


def test_copies_of_training_images_are_found(folders, tmp_path):
    found = report_of(folders, "copies", tmp_path)["memorization"]
    assert found["memorized"] and "membership_auc" not in found
    assert (tmp_path / "copies" / "memorization.png").exists()


def test_other_classes_are_refused(folders, tmp_path):
    with pytest.raises(UserError, match=r"are A, C, those of .* are A, B; name the folders"):
        report_of(folders, "other", tmp_path)


@pytest.mark.slow  # the others call what it calls
def test_the_command_needs_no_run(folders, launch, tmp_path):
    flags = ("--image_size=32", "--extractors=radiomic", f"--output={tmp_path / 'found'}")
    both = (f"--real={folders / 'real'}", f"--input={folders / 'few'}")
    said = launch("--mode=evaluate", *both, *flags).stdout
    assert said.startswith("16 images of ")
    assert (tmp_path / "found" / "quality.csv").exists()
    failed = launch("--mode=evaluate", *flags, code=2)
    assert "--mode=evaluate needs --workdir=DIR" in failed.stderr


def test_it_needs_both_folders(folders):
    with pytest.raises(UserError, match="needs --input=DIR"):
        evaluate_without_run(GANOptions(real=str(folders / "real")))
