"""The study "does synthetic data help?" through the command line, and its parts."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.program.errors import DivergenceError, UserError
from common.scores.classification import Predicted
from configs.utility_covid import get_config
from studies import utility
from studies.cell import StoppedError
from studies.config import read_study, run_config
from studies.folders import choose, group_of, link_arm, link_real, num_synthetic, write_images
from studies.progress import Progress
from studies.report import compare, conclusion
from tests.sentinels import put_sentinels, tree
from tests.test_launch import folder_of_images

_OWNERS = ("0000", "0000", "0001")
BASE = (
    "--mode=utility",
    "--config=configs/utility_covid.py:tiny",
    "--config.study.sizes=8",
    "--config.classifier.train.num_steps=3",
    "--config.gan.train.picture_every=0",
)
ARMS = "real,real+0.5,synthetic"


def study_of(**settings):
    config = get_config()
    config.study.update(settings)
    return read_study(config)


@pytest.mark.slow  # a minute; ablation/test_ablate.py runs cells from the command line
def test_it_runs_resumes_by_cells_and_reports_its_result(launch, tmp_path):
    work = tmp_path / "study"
    put_sentinels(tmp_path, "study")
    sentinels = tree(tmp_path)
    base = (*BASE, f"--config.study.arms={ARMS}", f"--workdir={work}")
    first = launch(*base)
    assert "drawings, not patients" in first.stdout and "cell 8 of 8" in first.stderr
    report = " ".join((work / "report.md").read_text().split())
    table = (work / "utility.csv").read_text()
    assert "of unknown patients, each counted as one" in report and "cover images and" in report
    assert "With 8 real images of each class, adding synthetic images, 0.5 for" in report
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["arm"] for row in rows] == ARMS.split(",")
    assert [row["real_images"] for row in rows] == ["16", "16", "0"]
    assert [row["synthetic_images"] for row in rows] == ["0", "8", "16"]
    found = json.loads((work / "utility.json").read_text())
    assert found["comparisons"] == 2 and found["synthetic"] and len(found["rows"]) == 3
    assert (work / "utility.png").stat().st_size > 1000

    cell = work / "cells" / "8_1"
    data = cell / "arms" / "real+0.5" / "data"
    assert len(list(data.glob("train/*/image*.png"))) == 16
    assert len(list(data.glob("train/*/synthetic*.png"))) == 8
    gan = json.loads((cell / "gan" / "run.json").read_text())["data"]
    assert gan["num_examples"] == {"train": 16}  # the same images and nothing else
    tests = {file.name for file in data.glob("test/*/*.png")}
    assert {file.name for file in work.glob("images/test/*/*.png")} == tests

    deleted = cell / "arms" / "real+0.5" / "run" / "evaluation" / "scored_images.csv"
    before = deleted.read_text()
    deleted.unlink()
    former = cell / "arms" / "real" / "run" / "evaluation" / "scored_images.csv"
    former.rename(former.with_name("predictions.csv"))  # as earlier versions named it
    kept = f"--results={work / 'kept.jsonl'}"
    again = launch(*base, kept)
    assert again.stderr.count("cell ") == 1 and "seed 1: real+0.5)" in again.stderr
    assert deleted.read_text() == before and (work / "utility.csv").read_text() == table

    other = launch(*base, "--config.gan.train.num_steps=5", code=2)
    assert "belongs to another config" in other.stderr
    # A cell is a run like any other.
    launch("--mode=evaluate", f"--workdir={deleted.parents[1]}")
    assert deleted.read_text() == before
    elsewhere = tmp_path / "study" / "elsewhere"
    taken = launch(*base[:-1], f"--workdir={elsewhere}", kept)
    assert "taken from" in taken.stderr and not (elsewhere / "cells").exists()
    assert (elsewhere / "utility.csv").read_text() == table
    after = tree(tmp_path)
    assert {name: after[name] for name in sentinels} == sentinels
    assert all(name.startswith("study/") for name in after.keys() - sentinels.keys())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arms": "real,real*2"}, "config.study.arms has 'real*2'"),
        ({"arms": "real,augmented+1"}, "not 'augmented'"),
        ({"arms": "real,real+0"}, "config.study.arms has 'real+0'"),
        ({"arms": "synthetic"}, "not 'real'"),
        ({"arms": "real,folder:"}, "config.study.arms has 'folder:'"),
        ({"arms": "real,synthetic:DIR"}, "config.study.arms has 'synthetic:DIR'"),
        ({"arms": "folder:DIR"}, "not 'real'"),
        ({"arms": "real,augmented+1:DIR"}, "not 'augmented'"),
        ({"sizes": "50,most"}, "config.study.sizes has 'most'"),
        ({"sizes": ""}, "config.study.sizes is empty"),
        ({"seeds": "0,x"}, "config.study.seeds has 'x'"),
        ({"folds": 2}, "config.study.folds is 2; write at least 3"),
        ({"looks": "3,x"}, "config.study.looks is '3,x'; write rising numbers"),
        ({"looks": "2,4"}, "config.study.looks is '2,4'; write rising numbers"),
        ({"looks": "5,4"}, "config.study.looks is '5,4'; write rising numbers"),
        ({"looks": "3"}, "config.study.looks is '3', but there are 3 seeds"),
    ],
)
def test_invalid_settings_are_refused_in_a_sentence(settings, said):
    with pytest.raises(UserError) as error:
        study_of(**settings)
    assert said in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "value"), [("splits", "70,15,15"), ("held_out", "9,9"), ("folds", 5)]
)
def test_images_are_not_divided_twice(name, value):
    config = get_config()
    config.study.folds, config.data[name] = 5, value
    with pytest.raises(UserError, match=rf"divides all images, and config\.data\.{name}={value}"):
        read_study(config)


def test_every_patient_is_a_test_patient_once(monkeypatch, tmp_path):
    """With copies in one part, and training, validation and test patients apart in every fold."""
    names = [
        f"{kind}/p{number:02d}_{i}.png" for kind in "ab" for number in range(10) for i in (0, 1)
    ]
    folder_of_images(tmp_path / "data", *names)
    copied = tmp_path / "data" / "a" / "p90_0.png"
    copied.write_bytes((tmp_path / "data" / "a" / "p03_0.png").read_bytes())
    config = get_config("tiny")
    config.data.update(
        dir=str(tmp_path / "data"), group=r"(p\d+)_", cache_dir=str(tmp_path / "cache")
    )
    config.study.update(folds=5, sizes="4,all", seeds="0,1", arms="real,augmented")
    cells = []

    def listed(made, *_):
        cells.extend(made)
        raise StoppedError

    monkeypatch.setattr(utility, "run_cells", listed)
    work = tmp_path / "study"
    assert not utility.run_utility(config, work)
    assert len(cells) == len({cell.name for cell in cells}) == 2 * 2 * 5 * 2
    assert cells[0].name == "4_0_fold0/arms/real/run" and cells[-1].choice.fold == 4

    def patients_of(files):
        return {file.name.split("_")[0] for file in files}

    tested = []
    for fold in range(5):
        own = work / "folds" / str(fold)
        parts = [patients_of(own.glob(f"{split}/*/*.png")) for split in ("train", "val", "test")]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
        tested += [file.resolve() for file in own.glob("test/*/*.png")]
        for cell in (cell for cell in cells if cell.choice.fold == fold):
            assert cell.choice.images == own
            chosen = patients_of(file for files in cell.choice.real.values() for file in files)
            assert chosen <= parts[0]
    assert sorted(tested) == sorted(work.glob("images/*/*/*.png")) and len(tested) == 41
    table = list(csv.DictReader((work / "images" / "images.csv").read_text().splitlines()))
    part_of = {row["image"]: row["file"].split("/")[0] for row in table}
    assert part_of["a/p90_0.png"] == part_of["a/p03_0.png"] == part_of["a/p03_1.png"]


@pytest.mark.parametrize(
    ("skill", "seeds"), [(3.0, 3), (1.0, 5)], ids=["clear after three", "never clear"]
)
def test_a_study_stops_at_the_first_look_at_which_all_is_clear(
    skill, seeds, monkeypatch, tmp_path, capsys
):
    config = get_config("tiny")
    config.data.cache_dir = str(tmp_path / "cache")
    config.study.update(seeds="0,1,2,3,4", looks="3,4", sizes="all", arms="real,augmented")
    config.study.relevant_gain = 1e-4
    found = found_by({"real": 1.0, "augmented": skill}, images=48, seeds=5)
    asked = []

    def run_cells(cells, *_):
        asked.append(len(cells))
        figures = {}
        for cell in cells:
            (one,) = found["50", cell.choice.seed, cell.arm.name]
            figures[cell.name] = {
                "images": list(one.ids),
                "patients": list(one.groups),
                "labels": one.labels.tolist(),
                "probabilities": one.probabilities.tolist(),
            }
        return SimpleNamespace(check=lambda: None, found=figures)

    monkeypatch.setattr(utility, "run_cells", run_cells)
    assert utility.run_utility(config, tmp_path / "study")
    assert asked == [2 * number for number in (3, 4, 5) if number <= seeds]
    said = json.loads((tmp_path / "study" / "utility.json").read_text())
    assert said["looks"] == [3, 4, 5] and said["seeds"] == list(range(seeds))
    assert said["level_of_differences"] == pytest.approx(1 - 0.05 / 3)
    page = (tmp_path / "study" / "report.md").read_text()
    assert "and for looks after 3, 4 and 5 seeds" in page
    assert ("it stopped after 3, because all was clear" in page) == (seeds == 3)


@pytest.mark.slow  # a minute
def test_folds_are_trained_tested_and_reported(launch, tmp_path):
    work = tmp_path / "study"
    flags = ("--config.study.arms=real,augmented", "--config.study.folds=3")
    launch(*BASE, *flags, "--config.study.seeds=0,1", f"--workdir={work}")
    found = json.loads((work / "utility.json").read_text())
    assert found["folds"] == 3 and found["test_images"] == 48
    assert "each once, in 3 folds, whose scores are averaged" in (work / "report.md").read_text()
    assert len(list(work.glob("cells/*/arms/*/run/evaluation/scored_images.csv"))) == 2 * 2 * 3


def test_arms_must_have_equal_steps():
    config = get_config()
    config.classifier.train.num_steps = "20 epochs"
    with pytest.raises(UserError, match=r"classifier\.train\.num_steps is '20 epochs'"):
        read_study(config)


def test_too_few_images_and_missing_splits_are_refused_before_anything_runs(launch, tmp_path):
    base = (*BASE[:2], f"--workdir={tmp_path / 'study'}")
    few = launch(*base, "--config.study.sizes=99", code=2)
    assert "config.study.sizes has 99, but class COVID has 16 training images" in few.stderr
    untested = launch(*base, "--config.data.splits=80,20,0", code=2)
    assert "has no test split" in untested.stderr and "--config.data.splits" in untested.stderr
    assert not (tmp_path / "study" / "cells").exists()


def test_a_larger_choice_of_one_seed_contains_a_smaller_one(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(9):
            (tmp_path / "train" / name / f"{number}.png").touch()
    few, many, everything = (choose(tmp_path, ("a", "b"), size, 3) for size in ("3", "6", "all"))
    assert set(few["a"]) < set(many["a"]) < set(everything["a"]) and len(everything["b"]) == 9
    assert [f.name for f in few["a"]] != [f.name for f in few["b"]]
    assert choose(tmp_path, ("a", "b"), "3", 4) != few
    assert num_synthetic(many, 0.5) == {"a": 3, "b": 3}
    assert num_synthetic(few, 0.1) == {"a": 1, "b": 1}


def test_runs_differ_from_the_configs_in_data_and_seed_alone():
    config = get_config()
    run = run_config(config.gan, config.data, 7, dir="DIR")
    assert (run.seed, run.data.dir, run.data.batch_size, run.task) == (7, "DIR", 32, "gan")
    assert run.train == config.gan.train and run.optimizer == config.gan.optimizer


def found_by(skills, images=200, seeds=3):
    """Returns what classifiers say that see more or less of the truth."""
    labels = np.arange(images) % 2
    ids, hard = tuple(map(str, range(images))), np.random.default_rng(0).normal(size=images)
    found = {}
    for arm, skill in skills.items():
        for seed in range(seeds):
            noise = np.random.default_rng([seed, len(arm)]).normal(size=images) * 0.1
            chance = 1 / (1 + np.exp(-(labels * skill + hard + noise)))
            probabilities = np.stack([1 - chance, chance], 1)
            found["50", seed, arm] = [Predicted(ids, ("",) * images, labels, probabilities)]
    return found


@pytest.mark.parametrize(
    ("skill", "verdict", "said"),
    [
        (3.0, "it helped", "raised the AUC in 1 of 1 comparisons"),
        (
            1.0,
            "no difference could be shown",
            "It has not been shown here that synthetic data help. Gains of more than 0.0",
        ),
        (0.0, "it harmed", "lowered it in 1"),
    ],
    ids=["helps", "nothing", "harms"],
)
@pytest.mark.parametrize("phantoms", [False, True])
def test_the_conclusion_goes_whichever_way_the_intervals_fall(skill, verdict, said, phantoms):
    study = study_of(sizes="50", arms="real,real+1")
    found = found_by({"real": 1.0, "real+1": skill})
    real, mixed = compare(study, ("a", "b"), {"50": 100}, found)
    assert not real.differences and mixed.sentence().endswith(f": {verdict}.")
    of_three = conclusion([real, mixed], 3, phantoms)
    assert said in of_three and ("drawings" in of_three) == phantoms
    one_seed = conclusion([real, mixed], 1, phantoms)
    assert "With one seed" in one_seed and "Gains" not in one_seed
    assert math.isclose(
        mixed.differences["accuracy"].value,
        mixed.scores["accuracy"].value - real.scores["accuracy"].value,
    )


def test_the_expected_time_is_that_of_each_kind_so_far():
    kinds, times = (
        ["gan", "classifier", "gan", "classifier"],
        [0.0, 0.0, 0.0, 30.0, 30.0, 30.0, 40.0],
    )
    for at_once, expected in ((1, "about 0:00:40"), (2, "about 0:00:20")):
        progress = Progress(kinds, at_once, iter(times).__next__)
        start = progress.begin("")
        assert progress.remaining == "unknown time"
        progress.end("gan", start)
        progress.end("classifier", progress.begin(""))
        assert progress.remaining == expected


def test_folders_of_a_study_have_any_labels_and_give_them_back(tmp_path):
    """`tests/test_outputs.py` has the generator, which writes the synthetic images."""
    labels = ("train", "../x", "covid", "COVID", "a,b\nc")
    made = tmp_path / "data"
    names = [f"{number:02d}.png" for number in range(3 * len(labels))]
    folder_of_images(made, *names)
    with (made / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "label", "split"))
        for number, name in enumerate(names):
            row, split = number % len(labels), ("train", "val", "test")[number // len(labels)]
            table.writerow((name, labels[row], split))
    data = default_config().data
    data.update(dir=str(made), image_size=8, cache_dir=str(tmp_path / "cache"))
    prepared = prepare(data)
    outside = set(tmp_path.iterdir())

    work = tmp_path / "study"
    images = write_images(prepared, work)
    chosen = choose(images, prepared.card.classes, "all", 0)
    assert all(len(files) == 1 for files in chosen.values()) and set(chosen) == set(labels)
    link_real(chosen, work / "cells" / "real")
    link_arm(chosen, {}, images, work / "cells" / "data")
    for folder, splits in (("real", ("train",)), ("data", ("train", "val", "test"))):
        data.dir = str(work / "cells" / folder)
        again = prepare(data)
        assert set(again.card.classes) == set(labels) and set(again.splits) == set(splits)
        for split in splits:
            seen, first = again.splits[split], prepared.splits[split]
            every = range(len(labels))
            for label in labels:
                pixels = [
                    part.read(every)["image"][
                        part.read(every)["label"] == card.classes.index(label)
                    ]
                    for part, card in ((seen, again.card), (first, prepared.card))
                ]
                np.testing.assert_array_equal(*pixels)
    assert set(tmp_path.iterdir()) == outside | {work}


@pytest.mark.parametrize(
    ("group", "names", "owners"),
    [
        ("", ["image000000.png", "image000001.png", "image000002.png"], ["", "", ""]),
        (
            r"(p\d)_|x",
            [f"patient{who}_image00000{image}.png" for image, who in enumerate(_OWNERS)],
            ["p1", "p1", ""],
        ),
    ],
    ids=["nobody", "some"],
)
def test_only_known_patients_are_called_so(tmp_path, group, names, owners):
    files = [f"{split}/A/{name}" for split in ("train", "test") for name in ("p1_a", "p1_b", "x")]
    folder_of_images(tmp_path / "data", *(f"{file}.png" for file in files))
    data = default_config().data
    data.update(dir=str(tmp_path / "data"), image_size=8, cache_dir=str(tmp_path / "cache"))
    data.group = group
    images = write_images(prepare(data), tmp_path / "study")
    assert sorted(path.name for path in images.glob("test/A/*")) == names
    rows = list(csv.DictReader((images / "images.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == 2 * owners
    assert bool(group_of(images)) == bool(group)


@pytest.mark.parametrize("part", ["gan", "classifier"])
def test_a_diverged_run_suggests_only_what_a_study_offers(monkeypatch, tmp_path, part):
    def diverge(config, workdir):
        raise DivergenceError("Training diverged in step 3: x is nan.", "--allow_config_change")

    monkeypatch.setattr(utility, "train", diverge)
    config = get_config("tiny")
    with pytest.raises(DivergenceError) as raised:
        utility._train(run_config(config[part], config.data, 0), tmp_path)
    said = str(raised.value)
    assert said.startswith(f"In {tmp_path}: Training diverged in step 3: x is nan. Lower the")
    assert f"config.{part}.optimizer" in said and "--allow_config_change" not in said
