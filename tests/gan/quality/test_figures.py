"""Quality beside its floor: constructed sets whose faults are known, and real training runs."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from classify.evaluate import evaluate as evaluate_classifier
from classify.flags import ClassifyOptions
from common.data.phantoms import KINDS
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.runs.workdir import open_run
from common.training.task import make_task
from common.training.train import train
from configs import acgan_covid, small_cnn_chest_xray, toy_gan_1d
from gan.flags import GANOptions
from gan.generate import generate
from gan.quality import sample
from gan.quality.evaluate import evaluate
from gan.quality.features import Extractor, make_extractors
from gan.quality.figures import Comparison, quality, with_floor
from gan.quality.reference import Reference, reference_of
from gan.quality.watch import spread
from tests.untrained import untrained

CLASSES = ("COVID", "NonCOVID")
(RADIOMIC,) = make_extractors("radiomic", 32, 1)


def phantoms(seed, number=240):
    return KINDS["covid_ct"].draw(seed, number, 32)


def reference(real, extractor=RADIOMIC):
    return Reference(
        split="train",
        rows=np.arange(len(real.images)),
        labels=real.labels,
        owners=tuple(map(str, range(len(real.images)))),
        classes=CLASSES,
        extractors={extractor.name: extractor},
        features={extractor.name: lambda: extractor.extract(real.images)},
    )


REAL = phantoms(0)
REFERENCE = reference(REAL)


def compared(images, labels, known="all"):
    found = quality(REFERENCE, "radiomic", RADIOMIC.extract(images), labels, 5)
    return {figure.name: figure for figure in found if figure.comparison.class_name == known}


def blurred(images, width):
    return ndimage.gaussian_filter(images.astype(float), (0, width, width, 0)).astype(np.uint8)


def noisy(images, deviation):
    noise = np.random.default_rng(3).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def test_new_real_images_score_the_floor():
    new = phantoms(1)
    found = compared(new.images, new.labels)
    assert found["frechet"].same_n < 1.5 * found["frechet"].floor
    for name in ("precision", "recall", "density", "coverage"):
        assert found[name].same_n > found[name].floor - 0.1


def test_copies_of_the_reference_are_at_no_distance():
    found = compared(REAL.images, REAL.labels)
    assert found["frechet"].value < 1e-6 and found["coverage"].value == 1.0


@pytest.mark.parametrize("worse", [pytest.param(blurred, marks=pytest.mark.slow), noisy])
def test_figures_fall_as_images_get_worse(worse):
    new = phantoms(1)
    strengths = (0.3, 0.7, 2) if worse is blurred else (2, 8, 30)
    found = [compared(worse(new.images, strength), new.labels) for strength in strengths]
    for name in ("frechet", "kernel"):
        values = [some[name].value for some in found]
        assert values == sorted(values) and values[0] < values[-1] / 5
    for name in ("precision", "density", "coverage"):
        values = [some[name].value for some in found]
        assert values == sorted(values, reverse=True)


def test_a_lost_class_shows_in_its_own_figures_and_in_all():
    new = phantoms(1)
    found = quality(
        REFERENCE, "radiomic", RADIOMIC.extract(new.images[new.labels == 0].repeat(2, 0)),
        np.repeat(np.arange(2), (new.labels == 0).sum()), 5
    )  # fmt: skip
    frechet = {figure.comparison.class_name: figure for figure in found if figure.name == "frechet"}
    assert frechet["COVID"].same_n < 1.5 * frechet["COVID"].floor
    assert frechet["NonCOVID"].same_n > 2 * frechet["NonCOVID"].floor
    assert frechet["all"].same_n > 1.5 * frechet["all"].floor


def test_the_name_of_a_figure_says_its_protocol():
    new = phantoms(1)
    found = quality(REFERENCE, "radiomic", RADIOMIC.extract(new.images), new.labels, 5)
    names = {(f.comparison.class_name, name) for f in found for name, _ in f.entries()}
    assert ("all", "frechet_radiomic_train_240_240") in names
    assert ("all", "kernel_standard_error_radiomic_train_240_240") in names
    ours, theirs = (int((x.labels == 0).sum()) for x in (REAL, new))
    assert ("COVID", f"coverage_radiomic_train_{ours}_{theirs}") in names


def test_all_is_mixed_as_the_real_images_are():
    few = replace(REFERENCE, labels=np.repeat([0, 1], (180, 60)))
    assert few.proportions(300) == [300, 100]
    assert replace(few, classes=()).proportions(300) == [300]


def test_a_class_with_too_few_images_is_left_out_with_a_warning(caplog):
    few = replace(REFERENCE, labels=np.repeat([0, 1], (229, 11)))
    with caplog.at_level("WARNING"):
        found = quality(few, "radiomic", RADIOMIC.extract(REAL.images), REAL.labels, 5)
    assert {figure.comparison.class_name for figure in found} == {"all", "COVID"}
    assert "of NonCOVID: 11 real images" in caplog.text


def beside_floors(real, owners, generated, k):
    of = Comparison("numbers", "all", "train", len(real), len(generated))
    return {figure.name: figure for figure in with_floor(of, real, owners, generated, k)}


def test_halves_share_no_patient():
    """Images of a patient that are all alike make halves that mix patients look perfect."""
    patients = np.random.default_rng(0).normal(size=(40, 6))
    real = patients.repeat(8, 0)
    owners = np.arange(40).repeat(8).astype(str).tolist()
    found = beside_floors(real, owners, np.random.default_rng(1).normal(size=(320, 6)), 3)
    assert found["coverage"].floor < 0.5


def test_the_floor_of_few_generated_images_is_of_a_random_part_of_a_half():
    """Rows are sorted by class; the first of a half would be of one class only."""
    real = np.random.default_rng(0).normal(size=(200, 3)) + 20 * (np.arange(200) > 99)[:, None]
    found = beside_floors(real, [str(i) for i in range(200)], real[::5], 3)
    assert found["frechet"].floor < 60


def test_too_few_images_in_a_half_have_no_figures():
    real = np.random.default_rng(0).normal(size=(14, 3))
    assert beside_floors(real, ["a"] * 10 + list("bcde"), real, 5) == {}
    assert beside_floors(real, ["a"] * 14, real, 5) == {}


def test_spread_is_the_variance_within_classes():
    labels = np.arange(240) % 2
    real = np.random.default_rng(0).normal(size=(240, 4)) + 100 * labels[:, None]
    known = replace(REFERENCE, labels=labels)
    assert spread(known, real, real, labels) == pytest.approx(1)
    half = 0.5 * (real - 100 * labels[:, None]) + 3 * labels[:, None]
    assert spread(known, real, half, labels) == pytest.approx(0.25)


class TestReference:
    def test_its_features_are_computed_once(self, tmp_path):
        config = acgan_covid.get_config("tiny")
        seen = []

        def extract(images):
            seen.append(len(images))
            return images.reshape(len(images), -1)[:, :3].astype(np.float32)

        config.data.cache_dir = str(tmp_path)
        prepared = prepare(config.data)
        extractor = Extractor("three", "three 1", False, extract)
        make = partial(reference_of, prepared, "train", True, cache=str(tmp_path))
        first, again = make([extractor]), make([extractor])
        assert not seen  # until they are asked for
        assert np.array_equal(first.features["three"](), again.features["three"]())
        assert sum(seen) == len(prepared.splits["train"])
        make([replace(extractor, identity="three 2")]).features["three"]()
        assert sum(seen) == 2 * len(prepared.splits["train"])
        assert len(make([extractor], most=10).labels) == 10

    def test_a_broken_file_is_recomputed(self, tmp_path):
        config = acgan_covid.get_config("tiny")
        config.data.cache_dir = str(tmp_path)
        make = partial(reference_of, prepare(config.data), "train", True, cache=str(tmp_path))
        extractors = make_extractors("pixels", 16, 1)
        whole = make(extractors).features["pixels"]()
        (file,) = (tmp_path / "quality").glob("*.npy")
        file.write_bytes(file.read_bytes()[:99])
        assert np.array_equal(make(extractors).features["pixels"](), whole)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("radiomics", "'radiomics' names no features"),
        ("inception", "'inception' names no features"),
        ("vgg16:file", "'vgg16:file' names no features"),
        ("pixels,pixels", "one kind twice"),
        (" ,", "No features are named"),
        ("classifier:nowhere", "holds no run"),
        ("inception:nowhere.pth", "nowhere.pth"),
    ],
)
def test_names_of_no_features_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        make_extractors(names, 32, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acgan")
    config = acgan_covid.get_config("tiny")
    config.train.update(picture_every="0", best_is="lowest")
    config.train.best_metric = "quality/frechet_pixels_train_64_32"
    train(config, folder / "run")
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    config = small_cnn_chest_xray.get_config("tiny")
    config.data.update(name="covid_ct", image_size=16)
    run = untrained(config, tmp_path_factory.mktemp("judge") / "run")
    evaluate_classifier(run, ClassifyOptions())
    return run.workdir


class TestEvaluation:
    """Through the mode, on a tiny AC-GAN and a tiny classifier of the same phantoms."""

    @pytest.fixture(autouse=True)
    def _without_vgg16(self, monkeypatch):
        """Its passes take a minute; tests/common/networks/test_lpips.py has them."""
        monkeypatch.setattr("gan.quality.variety.weights_are_bundled", lambda: False)

    def test_it_reports_every_figure_and_the_judge(self, run, judge, tmp_path, capsys):
        names = f"radiomic,pixels,classifier:{judge}"
        options = GANOptions(
            output=str(tmp_path), images_per_class=20, extractors=names, judge=str(judge)
        )
        evaluate(run, options)
        report = json.loads((tmp_path / "evaluation.json").read_text())
        assert set(report["quality"]) == {"radiomic", "pixels", "classifier"}
        assert "frechet_pixels_train_64_40" in report["quality"]["pixels"]["all"]
        assert report["checkpoint_step"] in (3, 6) and report["synthetic"]
        assert report["judge"]["generated"]["images"] == 40
        assert report["judge"]["of_real_images"]["split"] == "test"
        assert 0 <= report["judge"]["generated"]["scores"]["accuracy"]["value"] <= 1
        assert (tmp_path / "judge.png").exists()
        assert set(report["diversity"]) == set(CLASSES)
        said = capsys.readouterr().out
        assert "GAN-test accuracy" in said and "drawings, not patients" in said

    def test_the_measured_images_are_those_that_generate_writes(self, run, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(
            "gan.quality.evaluate.draw_images",
            lambda *args: seen.append(sample.draw_images(*args)) or seen[0],
        )
        evaluate(
            run, GANOptions(output=str(tmp_path / "e"), images_per_class=8, extractors="pixels")
        )
        generate(run, GANOptions(output=str(tmp_path / "g"), num_images=6, label="NonCOVID"))
        images, labels = seen[0]
        for i in range(6):
            with Image.open(tmp_path / "g" / "NonCOVID" / f"{i:06d}.png") as written:
                assert np.array_equal(np.asarray(written), images[labels == 1][i, :, :, 0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"images_per_class": 1}, "must be a whole number from 2"),
            ({"input": "folder"}, "give --input and --real and leave out --workdir"),
            ({"judge": "nowhere"}, "holds no run"),
            ({"extractors": "fid"}, "names no features"),
        ],
    )
    def test_invalid_options_are_refused(self, run, tmp_path, options, message):
        with pytest.raises(UserError, match=message):
            evaluate(run, GANOptions(output=str(tmp_path), **options))

    def test_a_gan_is_no_judge(self, run, tmp_path):
        with pytest.raises(UserError, match="name one of a classifier"):
            evaluate(run, GANOptions(output=str(tmp_path), judge=str(run.workdir)))

    def test_quality_is_measured_in_training_and_chose_the_checkpoint(self, run):
        name, file = run.config.train.best_metric, run.workdir / "metrics.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        scored = {row["step"]: row[name] for row in rows if name in row}
        assert set(scored) == {3, 6}
        like = jax.eval_shape(make_task(run.config, run.card).init, jax.random.key(0))
        assert run.best_state(like)[0] == min(scored, key=scored.get)

    def test_strict_requires_a_verdict_and_obeys_it(self, run, tmp_path, caplog):
        def options(**more):
            return GANOptions(output=str(tmp_path / "out"), num_images=2, overwrite=True, **more)

        with pytest.raises(UserError, match="It is unknown whether the generator of step"):
            generate(run, options(strict=True))
        evaluate(run, GANOptions(images_per_class=20, extractors="pixels"))
        generate(run, options(strict=True))
        file = run.workdir / "evaluation" / "evaluation.json"
        report = json.loads(file.read_text())
        assert report["memorization"]["verdict"].startswith("No sign of memorisation")
        report["memorization"] |= {"memorized": True, "verdict": "The generator repeats all."}
        file.write_text(json.dumps(report))
        with pytest.raises(UserError, match=r"The generator repeats all\. Leave out --strict"):
            generate(run, options(strict=True))
        with caplog.at_level("WARNING"):
            generate(run, options())
        assert "The generator repeats all." in caplog.text

    @pytest.mark.slow
    def test_a_collapse_ends_the_training_when_told(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("gan.quality.watch._LEAST_SPREAD", 1e9)
        config = acgan_covid.get_config("tiny")
        config.train.update(picture_every="0", checkpoint_every="6", log_every="3", eval_every="2")
        config.quality.on_collapse = "stop"
        train(config, tmp_path / "run")
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["step"] == 4 and "collapses onto few pictures" in record["warnings"][0]
        assert "collapses onto few pictures" in capsys.readouterr().out
        with open_run(tmp_path / "run").checkpoints as checkpoints:
            assert checkpoints.latest_step() == 4


def test_a_generator_without_classes_has_figures_of_all(tmp_path):
    config = toy_gan_1d.get_config("tiny")
    config.train.picture_every = "0"
    config.optimizer.discriminator_steps = 1  # less to compile
    train(config, tmp_path / "run")
    evaluate(
        open_run(tmp_path / "run"), GANOptions(output=str(tmp_path / "e"), images_per_class=40)
    )
    report = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert set(report["quality"]["pixels"]) == {"all"} and report["diversity"] == {"all": {}}
