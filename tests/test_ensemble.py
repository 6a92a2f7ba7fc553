"""An ensemble is a run whose probabilities are the mean of its members'."""

import json
import shutil

import jax
import numpy as np
import pytest

from classify import predict as classify_predict
from classify.evaluate import evaluate as evaluate_classifier
from classify.flags import ClassifyOptions
from classify.inference import MeanInference, load_inference
from classify.outputs import softmax
from common.devices import placement
from common.program.errors import UserError
from common.report.images import write_picture
from common.runs.ensemble import ensemble_of, make_ensemble
from common.runs.evaluation import held_out
from common.runs.judge import open_judge
from common.runs.workdir import check_owner, exclusive, open_run
from common.training.task import make_task
from configs import small_cnn_chest_xray, toy_gan_1d, unet_brain_mri
from tests.untrained import untrained
from unet import predict as unet_predict
from unet.evaluate import evaluate as evaluate_unet
from unet.flags import UNetOptions
from unet.segment import load_windows, segment

SIZE = 16
RNG = np.random.default_rng(0)


def classifier_of(seed, folder, width=4, **data):
    config = small_cnn_chest_xray.get_config("tiny").unlock()
    config.model.network.width = width
    config.data.update(image_size=SIZE, num_phantoms=24, **data)
    config.seed = seed
    return untrained(config.lock(), folder)


def segmenter_of(seed, folder, **model):
    config = unet_brain_mri.get_config("tiny").unlock()
    config.model.update(depth=2, width=4, **model)
    config.data.update(image_size=SIZE, num_phantoms=12)
    config.seed = seed
    return untrained(config.lock(), folder)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    return [classifier_of(seed, folder / f"of_{seed}", 4 + seed) for seed in range(3)]


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenters")
    return [segmenter_of(seed, folder / f"of_{seed}") for seed in range(3)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of new images, which fit the networks or do not."""
    folder = tmp_path_factory.mktemp("images")
    for number, size in enumerate((SIZE, SIZE, 40)):
        write_picture(folder / f"{number}.png", RNG.integers(0, 256, (size, size, 1), np.uint8))
    return folder


def together(runs, folder):
    return ensemble_of([run.workdir for run in runs], folder)


def files_of(folder):
    """Returns the content of every file, but for the journal of what was written."""
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.name: file.read_bytes() for file in found if not file.name.startswith(".")}


@pytest.mark.parametrize("task", ["classify", "unet"])
def test_an_ensemble_of_one_is_that_run_to_the_bit(task, three, segmenters, images, tmp_path):
    single, evaluate, predict, options = {
        "classify": (three[0], evaluate_classifier, classify_predict.predict, ClassifyOptions),
        "unet": (segmenters[0], evaluate_unet, unet_predict.predict, UNetOptions),
    }[task]
    for run, name in ((single, "single"), (together([single], tmp_path / "one"), "ensemble")):
        evaluate(run, options())
        shutil.move(run.workdir / "evaluation", tmp_path / name / "scores")
        shutil.copytree(tmp_path / name / "scores", run.workdir / "evaluation")
        predict(run, options(input=str(images), output=str(tmp_path / name / "predicted")))
        shutil.rmtree(run.workdir / "evaluation")
    alone, one = files_of(tmp_path / "single"), files_of(tmp_path / "ensemble")
    assert alone == one and len(alone) >= 4


def test_three_classifiers_predict_the_mean_of_their_probabilities(three, tmp_path):
    run = together(three, tmp_path / "three")
    pixels = RNG.integers(0, 256, (40, SIZE, SIZE, 1), np.uint8)
    members = [load_inference(one)[0] for one in three]
    parts = [softmax(one.logits(pixels), 1.0) for one in members]
    mean = softmax(load_inference(run)[0].logits(pixels), 1.0)
    np.testing.assert_allclose(mean, np.mean(parts, 0), rtol=1e-12)
    assert np.abs(parts[0] - parts[1]).max() > 1e-3
    maps = [one.attention(pixels[0], 1) for one in members]
    np.testing.assert_array_equal(MeanInference(members).attention(pixels[0], 1), np.mean(maps, 0))


def test_its_temperature_and_thresholds_are_its_own(three, images, tmp_path):
    run = together(three, tmp_path / "three")
    evaluate_classifier(run, ClassifyOptions())
    report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    assert report["temperature_fitted_on"] == report["operating_points_chosen_on"] == "val"
    assert report["split"] == "test" and not (three[0].workdir / "evaluation").exists()
    options = ClassifyOptions(input=str(images), output=str(tmp_path / "predicted"))
    classify_predict.predict(open_run(run.workdir), options)
    head = (tmp_path / "predicted" / "predictions.csv").read_text().splitlines()[0]
    assert "found_PNEUMONIA" in head


def test_three_segmenters_predict_the_mean_of_their_probabilities(segmenters, tmp_path):
    run = together(segmenters, tmp_path / "three")
    channels = run.card.channels
    pixels = [RNG.integers(0, 256, (size, size, channels), np.uint8) for size in (SIZE, 40)]
    parts = [list(segment(pixels, load_windows(one)[0])) for one in segmenters]
    for place, found in enumerate(segment(pixels, load_windows(run)[0])):
        np.testing.assert_allclose(found, np.mean([part[place] for part in parts], 0), atol=1e-6)
    evaluate_unet(run, UNetOptions())
    report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    assert report["threshold_chosen_on"] == "val"


def test_it_judges_as_one_classifier(three, tmp_path):
    channels = three[0].card.channels
    pixels = RNG.integers(0, 256, (20, SIZE, SIZE, channels), np.uint8)
    one, several = (
        open_judge(together(runs, tmp_path / name).workdir, SIZE, channels)
        for runs, name in ((three[:1], "one"), (three, "three"))
    )
    members = [open_judge(run.workdir, SIZE, channels) for run in three]
    assert one.identity == members[0].identity
    assert len({several.identity, *(member.identity for member in members)}) == 4
    np.testing.assert_array_equal(one.features(pixels), members[0].features(pixels))
    np.testing.assert_array_equal(
        several.features(pixels),
        np.concatenate([member.features(pixels) for member in members], 1),
    )
    labels = np.arange(20) % 2
    losses = [
        judge.report(pixels, labels, tmp_path / "x.png", "x").scores["log_loss"]
        for judge in (one, members[0], several)
    ]
    assert losses[0] == losses[1] != losses[2]


def train_on(run, step):
    """Saves a newer checkpoint of a run, as training it longer does."""
    with exclusive(run.workdir), run.checkpoints as checkpoints:
        state = make_task(run.config, run.card).init(jax.random.key(99))
        checkpoints.save(step, placement.to_host(placement.replicate(state)), {})


def test_a_changed_or_missing_member_is_refused_in_a_sentence(tmp_path):
    runs = [classifier_of(seed, tmp_path / str(seed)) for seed in range(2)]
    run = together(runs, tmp_path / "both")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("0", "1", "both"):
        shutil.copytree(tmp_path / name, moved / name)
    assert [one.step for one in open_run(moved / "both").members] == [1, 1]

    train_on(runs[1], 2)
    with pytest.raises(UserError, match=r"/1, a member of .*both, has changed since") as raised:
        open_run(run.workdir)
    assert str(raised.value).count(". ") == 0

    file = moved / "0" / "config.json"
    fields = json.loads(file.read_text())
    for section, change in (("train", {"keep_last": 9}), ("model", {"mirror": True})):
        assert open_run(moved / "both").members
        fields[section] |= change
        file.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"/0, a member of .*both, has changed since"):
        open_run(moved / "both")
    shutil.rmtree(moved / "0")
    with pytest.raises(UserError, match="/0 holds no run"):
        open_run(moved / "both")


def test_what_cannot_be_averaged_is_refused_in_a_sentence(three, segmenters, tmp_path):
    gan = untrained(toy_gan_1d.get_config("tiny"), tmp_path / "gan")
    colour = classifier_of(0, tmp_path / "colour", channels=3)
    ensemble = together(three[:2], tmp_path / "two")
    standardised = segmenter_of(0, tmp_path / "standardised", input="standardised")
    for runs, said in (
        ([gan], "predicts nothing that could be averaged"),
        ([three[0], segmenters[0]], "config.task 'unet' there is 'classify' here"),
        ([three[0], colour], "config.data.channels 3 there is 1 here"),
        ([three[0], three[0]], "names a run twice"),
        ([ensemble], "is an ensemble; name its members instead"),
    ):
        with pytest.raises(UserError, match=said):
            together(runs, tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(UserError, match="in use; choose another --workdir"):
        together(three, three[0].workdir)
    with pytest.raises(UserError, match=r"needs --members=RUN1,RUN2"):
        make_ensemble("", str(tmp_path / "never"))
    with pytest.raises(UserError, match="is of an ensemble; choose another --workdir"):
        check_owner(ensemble.workdir, three[0].config)
    with pytest.raises(UserError, match=r"differ in config\.model\.input"):
        load_windows(together([segmenters[0], standardised], tmp_path / "mixed"))


def test_members_must_have_held_out_the_same_test_images(tmp_path):
    splits = [
        classifier_of(0, tmp_path / f"s{seed}", splits="50,25,25", split_seed=seed)
        for seed in (1, 2)
    ]
    with pytest.raises(UserError, match="have not held out the same test images"):
        held_out(together(splits, tmp_path / "never"), ClassifyOptions())


def test_it_is_made_and_used_by_commands(launch, three, images, tmp_path):
    names = ",".join(str(run.workdir) for run in three)
    made = launch("--mode=ensemble", f"--members={names}", f"--workdir={tmp_path / 'three'}")
    assert "An ensemble of 3 runs" in made.stdout
    assert len(open_run(tmp_path / "three").members) == 3
    modes = ("--mode=evaluate", f"--workdir={tmp_path / 'three'}")
    said = launch(*modes, "--operating_point=best", code=2).stderr  # a flag of the members' task
    assert "--operating_point is 'best'" in said
    launch(*modes, "--operating_point=sensitivity=0.9")
    launch("--mode=predict", modes[1], f"--input={images}", f"--output={tmp_path / 'found'}")
    assert "found_PNEUMONIA" in (tmp_path / "found" / "predictions.csv").read_text()
