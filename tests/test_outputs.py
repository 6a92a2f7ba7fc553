"""No mode writes outside its output, or replaces a file that the program did not write."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from classify.evaluate import evaluate as evaluate_classifier
from classify.flags import ClassifyOptions
from classify.predict import predict as predict_classes
from common.config.defaults import default_config
from common.config.tasks import options_of
from common.data.sources.listing import images_below
from common.data.sources.open import open_source
from common.inspect import command
from common.inspect.command import run_inspect
from common.program.errors import UserError
from common.program.options import Options
from common.program.written import RECORD
from common.runs.workdir import open_run
from common.training.train import train
from configs.acgan_covid import get_config as acgan
from configs.pix2pix_brain_mri import get_config as pix2pix
from configs.small_cnn_chest_xray import get_config as small_cnn
from configs.toy_gan_1d import get_config as toy
from configs.unet_brain_mri import get_config as unet
from gan.flags import GANOptions
from gan.generate import generate
from gan.quality.evaluate import evaluate as evaluate_gan
from tests.common.program.test_labels import HOSTILE
from tests.sentinels import SENTINEL, put_sentinels, tree
from tests.untrained import untrained
from translate.evaluate import evaluate as evaluate_translation
from translate.predict import predict as predict_translations
from unet.evaluate import evaluate as evaluate_unet
from unet.flags import UNetOptions
from unet.predict import predict as predict_masks


class Mode(NamedTuple):
    """A mode with everything but where it writes to."""

    run: Callable[..., object]
    options: dict[str, object]

    def __call__(self, output, **options):
        self.run({"output": str(output), **self.options, **options})


def write_images(folder, *names):
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Without VGG16, whose passes take a minute, and with rough statistics of the generators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan.quality.variety.weights_are_bundled", lambda: False)
        patch.setattr("translate.evaluate.weights_are_bundled", lambda: False)
        patch.setattr("gan.trained._ESTIMATION_BATCHES", 1)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def scans(place):
    """Images of two classes, with names that outputs have, too."""
    names = ("predictions.png", "x.png", "deep/er.png")
    return write_images(place / "scans", *(f"{c}/{n}" for c in ("A", "B") for n in names))


@pytest.fixture(scope="module")
def runs(place):
    """A run of each task, its weights at random."""
    small = unet("tiny").unlock()
    small.data.update(num_phantoms=8)
    return {
        "gan": untrained(acgan("tiny"), place / "gan"),
        "unet": untrained(small.lock(), place / "unet"),
        "classify": untrained(small_cnn("tiny"), place / "classify"),
        "translate": untrained(pix2pix("tiny"), place / "translate"),
    }


@pytest.fixture(scope="module")
def modes(runs, scans):
    def inspect(given):
        options = Options(**given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "talk", lambda **_: None)  # it adds a handler to the log
            run_inspect(None, options.input, options.output, overwrite=options.overwrite)

    def of(task, mode):
        return lambda given: mode(runs[task], options_of(task)(**given))

    given = {"input": str(scans)}
    few = {"images_per_class": 4, "extractors": "pixels"}
    return {
        "generate": Mode(of("gan", generate), {"num_images": 3}),
        "walk": Mode(of("gan", generate), {"walk": "spherical", "frames": 3}),
        "evaluate a GAN": Mode(of("gan", evaluate_gan), few),
        "evaluate a segmentation": Mode(of("unet", evaluate_unet), {}),
        "evaluate a classifier": Mode(of("classify", evaluate_classifier), {}),
        "masks": Mode(
            of("unet", predict_masks), {**given, "overlays": True, "probabilities": True}
        ),
        "classes": Mode(of("classify", predict_classes), {**given, "explain": True}),
        "evaluate a translation": Mode(of("translate", evaluate_translation), {}),
        "translations": Mode(of("translate", predict_translations), given),
        "inspect": Mode(inspect, given),
    }


MODES = (
    *("generate", "walk", "evaluate a GAN", "evaluate a segmentation", "evaluate a classifier"),
    *("masks", "classes", "evaluate a translation", "translations", "inspect"),
)


@pytest.mark.parametrize("name", MODES)
def test_sentinels_stay_and_nothing_new_lies_outside(modes, runs, scans, place, tmp_path, name):
    mode, out = modes[name], tmp_path / "out"
    put_sentinels(tmp_path)
    sentinels = tree(tmp_path)
    elsewhere = {folder: tree(folder) for folder in (scans, *(r.workdir for r in runs.values()))}

    mode(out, overwrite=True)
    first = tree(tmp_path)
    written = [name for name in first.keys() - sentinels.keys() if first[name] is not None]
    assert {file: first[file] for file in sentinels} == sentinels
    assert all(file.startswith("out/") for file in written) and f"out/{RECORD}" in written

    with pytest.raises(UserError, match="--overwrite"):
        mode(out)
    assert tree(tmp_path) == first
    mode(out, overwrite=True)
    assert tree(tmp_path).keys() == first.keys()

    results = sorted(set(written) - {f"out/{RECORD}"})
    for file in {results[0], results[-1]}:
        shutil.rmtree(out)
        put_sentinels(tmp_path / "in")
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(SENTINEL)
        before = tree(tmp_path)
        with pytest.raises(UserError, match="by an earlier version of this program") as error:
            mode(out, overwrite=True)
        assert str(tmp_path / file) in str(error.value)
        assert tree(tmp_path) == before
        shutil.rmtree(tmp_path / "in")
    for folder, content in elsewhere.items():
        assert tree(folder) == content


@pytest.mark.parametrize("name", MODES)
def test_a_place_that_is_none_for_results_is_refused(modes, runs, scans, tmp_path, name):
    (tmp_path / "file").write_bytes(SENTINEL)
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    places = ["/", tmp_path / "file", tmp_path / "file" / "out", "/proc/out"]
    places += [run.workdir for run in runs.values()]
    places += [runs["gan"].workdir / "checkpoints"]
    if "input" in modes[name].options:
        places.append(scans)
    for place in places:
        with pytest.raises(UserError):
            modes[name](place, overwrite=True)
    assert tree(tmp_path) == before


def test_the_default_folder_of_an_evaluation_is_written_again_but_for_what_was_changed(runs):
    run = runs["classify"]
    evaluate_classifier(run, ClassifyOptions())
    evaluate_classifier(run, ClassifyOptions())
    table = run.workdir / "evaluation" / "scored_images.csv"
    table.write_bytes(SENTINEL)
    with pytest.raises(UserError, match="or has been changed since"):
        evaluate_classifier(run, ClassifyOptions())
    assert table.read_bytes() == SENTINEL
    shutil.rmtree(table.parent)


def test_two_sets_of_one_name_do_not_share_an_evaluation(runs, tmp_path):
    for ward in ("one", "two"):
        write_images(tmp_path / ward / "scans", "NORMAL/a.png", "PNEUMONIA/b.png")
    evaluate_classifier(runs["classify"], ClassifyOptions(input=str(tmp_path / "one" / "scans")))
    with pytest.raises(UserError, match="exists; add --overwrite or name another --output"):
        evaluate_classifier(
            runs["classify"], ClassifyOptions(input=str(tmp_path / "two" / "scans"))
        )
    shutil.rmtree(runs["classify"].workdir / "evaluation-scans")


@pytest.mark.parametrize("name", ["masks", "classes"])
def test_a_picture_is_never_replaced_by_what_is_predicted_of_it(modes, tmp_path, name):
    write_images(tmp_path / "in", "y.png")
    before = tree(tmp_path)
    for given in ("in/y.png", "in"):
        for overwrite in (False, True):
            with pytest.raises(UserError, match="--output"):
                modes[name](tmp_path / "in", input=str(tmp_path / given), overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["masks", "classes"])
def test_pictures_for_people_in_inner_folders_are_no_images(modes, tmp_path, name):
    write_images(tmp_path / "in", "x.png", "ward/a/x.png")
    modes[name](tmp_path / "out", input=str(tmp_path / "in"))
    found = {
        path.relative_to(tmp_path / "out").as_posix() for path in images_below(tmp_path / "out")
    }
    masks = {f"{stem}{kind}.png" for stem in ("x", "ward/a/x") for kind in ("", "_probability")}
    assert found == (masks if name == "masks" else set())


def test_masks_of_other_images_stay_when_one_is_made_again(modes, tmp_path):
    write_images(tmp_path / "in", "x.png", "y.png")
    modes["masks"](tmp_path / "out", input=str(tmp_path / "in"))
    before = tree(tmp_path / "out").keys()
    modes["masks"](tmp_path / "out", input=str(tmp_path / "in" / "x.png"), overwrite=True)
    before |= {"unlike-x.png.csv"}  # a table for each input
    assert tree(tmp_path / "out").keys() == before
    (tmp_path / "in" / "y.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be segmented"):
        modes["masks"](tmp_path / "out", input=str(tmp_path / "in"), overwrite=True)
    assert tree(tmp_path / "out").keys() == before
    (tmp_path / "in" / "y.png").unlink()
    modes["masks"](tmp_path / "out", input=str(tmp_path / "in"), overwrite=True)
    tables = {"unlike-in.csv", "unlike-x.png.csv"}
    assert {name[0] for name in tree(tmp_path / "out").keys() - {RECORD} - tables} == {"x"}


@pytest.mark.parametrize("name", ["masks", "classes"])
def test_two_images_of_one_output_are_refused_before_any_work(modes, tmp_path, name):
    write_images(tmp_path / "in", "x.png", "x.tif")
    with pytest.raises(UserError, match=r"in/x\.png and .*in/x\.tif would both be written to"):
        modes[name](tmp_path / "out", input=str(tmp_path / "in"))
    assert not (tmp_path / "out").exists()


def test_images_above_or_beside_links_stay_below_the_output(modes, tmp_path):
    write_images(tmp_path / "real", "a.png")
    write_images(tmp_path / "in", "#1.png", "-x.png", "=cmd().png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "real" / "a.png")
    before = {**tree(tmp_path)}
    modes["classes"](tmp_path / "out", input=str(tmp_path / "in" / ".." / "in"))
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    pictures = {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/**/*.png")}
    assert pictures == {"#1.png", "-x.png", "=cmd().png", "b.png", "link/a.png"}
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        assert {row["file"] for row in csv.DictReader(stream)} == pictures


def test_fewer_images_remove_only_what_the_program_wrote(modes, tmp_path):
    modes["generate"](tmp_path, num_images=6)
    (tmp_path / "COVID" / "001_patient.png").write_bytes(SENTINEL)
    (tmp_path / "COVID" / "000002.png").write_bytes(SENTINEL)
    modes["generate"](tmp_path, num_images=1, overwrite=True)
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [
        *("000000.png", "000002.png", "001_patient.png", "grid.png")
    ]
    assert not (tmp_path / "NonCOVID").exists()


def test_one_class_leaves_no_folder_of_another_and_the_grid_shows_up_to_a_hundred(modes, tmp_path):
    sizes = {}
    for number, options in {
        "64 of one": {"num_images": 64, "label": "COVID"},
        "100 of two": {"num_images": 100},
    }.items():
        out = tmp_path / number
        modes["generate"](out, **options)
        with Image.open(out / "grid.png") as picture:
            sizes[number] = picture.size
    assert {path.name for path in (tmp_path / "64 of one").iterdir()} == {
        *("COVID", "grid.png", "labels.csv", RECORD)
    }
    # 16 pixels, each four times, gaps of two, and a line of text.
    assert sizes["64 of one"] == (662, 7 * 66 + 2 + 19)
    assert sizes["100 of two"] == (662, 10 * 66 + 2 + 19)


def steps_of_toy(number):
    config = toy("tiny").unlock()
    config.train.update(num_steps=str(number), picture_every="1", eval_every="0")
    return config.lock()


@pytest.mark.slow
def test_training_leaves_what_lies_beside(tmp_path):
    put_sentinels(tmp_path)
    (tmp_path / "out" / "pictures").mkdir()
    before = tree(tmp_path)
    assert train(steps_of_toy(2), tmp_path / "out")
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("out/") for name in after.keys() - before.keys())


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "pictures/000002_density.png", "checkpoints/2/x", "run.json", "cells/x"],
)
def test_training_refuses_a_folder_that_is_no_runs(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(SENTINEL)
    with pytest.raises(UserError, match=r"has .* but no config\.json"):
        train(steps_of_toy(2), tmp_path)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [SENTINEL]


@pytest.fixture(scope="module")
def hostile(place):
    """A folder around runs whose labels are hostile, and two runs."""
    around = place / "hostile"
    images = around / "data"
    files = [f"{number:02d}.png" for number in range(2 * len(HOSTILE))]
    write_images(images, *files)
    with (images / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream, quoting=csv.QUOTE_ALL)
        table.writerow(("file", "label", "split"))
        for number, file in enumerate(files):
            split = "train" if number < len(HOSTILE) else "test"
            table.writerow((file, HOSTILE[number % len(HOSTILE)], split))
    made = {}
    for name, get_config in (("gan", acgan), ("classify", small_cnn)):
        config = get_config("tiny").unlock()
        config.data.update(dir=str(images), image_size=16)
        made[name] = untrained(config.lock(), around / name)
    return around, made


def written_below(around, output, run, options):
    """Runs a mode and returns what it has written, having seen that all lies in its output."""
    before = tree(around)
    run(options)
    new = tree(around).keys() - before.keys()
    below = output.relative_to(around).as_posix()
    assert all(name == below or name.startswith(f"{below}/") for name in new)
    return new


def test_hostile_labels_are_generated_and_read_back(hostile):
    around, made = hostile
    assert set(made["gan"].card.classes) == set(HOSTILE)
    out = around / "generated"
    options = GANOptions(output=str(out), num_images=2 * len(HOSTILE))
    written_below(around, out, lambda given: generate(made["gan"], given), options)
    data = default_config().data
    data.dir = str(out)
    contents = open_source(data).contents()
    assert set(contents.classes) == set(HOSTILE)
    assert len(contents.splits["train"]) == 2 * len(HOSTILE)
    one = GANOptions(output=str(around / "one"), num_images=2, label="../x")
    generate(made["gan"], one)
    alone = {path.name: path.read_bytes() for path in (around / "one").glob("*/*.png")}
    assert alone == {
        record.path.name: record.path.read_bytes()
        for record in contents.splits["train"]
        if contents.classes[record.label] == "../x"
    }


def test_hostile_labels_in_tables_and_figures(hostile):
    around, made = hostile
    out = around / "evaluated"
    options = ClassifyOptions(output=str(out))
    new = written_below(around, out, lambda o: evaluate_classifier(made["classify"], o), options)
    assert f"{out.name}/figures.png" in new
    with (out / "scored_images.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["truth"] for row in rows} == set(HOSTILE)
    out = around / "predicted"
    options = ClassifyOptions(input=str(around / "data"), output=str(out))
    written_below(around, out, lambda o: predict_classes(made["classify"], o), options)
    with (out / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert set(rows[0]) >= {f"probability_{label}" for label in HOSTILE}
    assert {row["label"] for row in rows} <= set(HOSTILE)


def test_hostile_labels_in_an_inspection_and_an_evaluation_of_a_generator(hostile):
    around, made = hostile
    options = Options(output=str(around / "found"), input=str(around / "data"))
    written_below(around, around / "found", lambda o: run_inspect(None, o.input, o.output), options)
    out = around / "quality"
    options = GANOptions(output=str(out), images_per_class=2, extractors="pixels")
    written_below(around, out, lambda o: evaluate_gan(made["gan"], o), options)


def test_hostile_classes_of_masks(runs, scans, tmp_path):
    labels = ("background", *HOSTILE)
    config = unet("tiny").unlock()
    config.data.update(num_phantoms=8)
    config.data.mask_values = ",".join(f"{i}=c{i}" for i in range(len(labels)))
    run = untrained(config.lock(), tmp_path / "run", mask_classes=list(labels))
    out, one = tmp_path / "out", scans / "A" / "x.png"
    options = UNetOptions(input=str(one), output=str(out), probabilities=True)
    written_below(tmp_path, out, lambda o: predict_masks(run, o), options)
    assert len(list(out.iterdir())) == len(labels) + 2  # mask, probabilities, table and record


def test_what_generate_wrote_is_a_set_of_images_without_complaint(modes, tmp_path, capsys, caplog):
    modes["generate"](tmp_path / "made", num_images=40)
    capsys.readouterr()
    with caplog.at_level("INFO"):
        modes["inspect"](tmp_path / "out", input=str(tmp_path / "made"))
    assert "grid.png" not in capsys.readouterr().out + caplog.text
    (tmp_path / "made" / "labels.csv").unlink()
    data = default_config().data
    data.dir = str(tmp_path / "made")
    assert open_source(data).classes == ("COVID", "NonCOVID")


@pytest.mark.parametrize(("name", "field"), [("masks", "output"), ("inspect", "input")])
def test_a_tilde_is_the_home_folder(modes, scans, tmp_path, monkeypatch, name, field):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "scans", "a.png")
    paths = {"input": str(scans), "output": str(tmp_path / "out"), field: f"~/{field}"}
    (tmp_path / "scans").rename(tmp_path / "input")
    modes[name](paths["output"], input=paths["input"])
    assert (tmp_path / ("output" if field == "output" else "out") / RECORD).exists()
    assert not (tmp_path / "~").exists()


def test_runs_are_opened_in_the_home_folder(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(runs["gan"].workdir.parent))
    assert open_run(Path("~/gan")).card == runs["gan"].card
