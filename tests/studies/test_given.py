"""Arms of a study that train on the images of a folder, whoever drew them. Nothing is trained."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.program.errors import UserError
from configs.utility_covid import get_config
from studies import utility
from tests.test_launch import folder_of_images

CLASSES = ("COVID", "NonCOVID")


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Runs a study whose classifiers guess; returns its runs."""
    trained = []

    def train(config, workdir):
        trained.append(workdir.relative_to(tmp_path / "study/cells").as_posix())
        return True

    def evaluate(workdir, options):
        files = sorted(workdir.parent.glob("data/test/*/*.png"))
        shares = np.random.default_rng(len(files)).random(len(files))
        (workdir / "evaluation").mkdir(parents=True)
        with (workdir / "evaluation/scored_images.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("image", "patient", "truth", *(f"probability_{x}" for x in CLASSES)))
            for file, p in zip(files, shares, strict=True):
                table.writerow((file.name, "", file.parent.name, p, 1 - p))

    monkeypatch.setattr(utility, "_train", train)
    monkeypatch.setattr(utility, "evaluate", evaluate)
    monkeypatch.setattr(utility, "open_run", lambda workdir: workdir)

    def run(arms):
        config = get_config("tiny")
        config.study.update(arms=arms, sizes="8", seeds="0")
        config.data.cache_dir = str(tmp_path / "cache")
        trained.clear()
        assert utility.run_utility(config, tmp_path / "study")
        return sorted(trained)

    return run


def drawn_by_another(folder, each=20):
    return folder_of_images(folder, *(f"{name}/{n}.png" for name in CLASSES for n in range(each)))


def test_an_arm_trains_on_the_images_of_a_folder_and_is_compared_like_any_other(study, tmp_path):
    made = drawn_by_another(tmp_path / "synth")
    arms = ("real", f"folder:{made}", f"real+0.5:{made}")
    trained = study(",".join(arms))
    rows = list(csv.DictReader((tmp_path / "study/utility.csv").read_text().splitlines()))
    assert len(trained) == 3 and not any("gan" in name for name in trained)  # none is needed
    assert [row["arm"] for row in rows] == list(arms)
    assert [row["real_images"] for row in rows] == ["16", "0", "16"]
    assert [row["synthetic_images"] for row in rows] == ["0", "16", "8"]
    assert [row["compared_with"] for row in rows] == ["", "real", "real"]
    assert all(row["roc_auc_macro_difference"] for row in rows[1:])
    report = " ".join((tmp_path / "study/report.md").read_text().split())
    assert f"training on images of {made} only, as many as the real ones, changed the" in report
    assert f"adding images of {made}, 0.5 for each real one, changed the AUC of 'real'" in report

    alone, mixed = (Path(name).parent for name in trained if "synth" in name)
    cells = tmp_path / "study/cells"
    for arm, real, synthetic in ((alone, 0, 8), (mixed, 8, 4)):
        for name in CLASSES:
            files = sorted((cells / arm / "data/train" / name).iterdir())
            kinds = [file.name.startswith("synthetic") for file in files]
            assert kinds == [False] * real + [True] * synthetic
            assert ["given" in file.resolve().parts for file in files] == kinds
    few, many = ({f.name for f in (cells / arm).glob("data/*/*/synth*")} for arm in (mixed, alone))
    assert few < many


def test_an_arm_whose_folder_changed_is_another_one(study, tmp_path, monkeypatch):
    monkeypatch.setattr(utility, "write_results", lambda *args: "")  # takes a second
    made = drawn_by_another(tmp_path / "synth")
    arms = f"real,folder:{made},real+1:{made}"
    first = study(arms)
    assert study(arms) == []
    made = made.rename(tmp_path / "elsewhere").rename(tmp_path / "synth")
    assert study(arms) == []
    Image.new("L", (20, 20), 255).save(made / "COVID/0.png")
    again = study(arms)
    assert len(again) == 2 and not set(again) & set(first)
    white = [
        f
        for f in (tmp_path / "study/given").glob("*/*/*/*/*")
        if Image.open(f).getextrema() == (255, 255)
    ]
    assert len(white) == 1
    assert study(arms) == []


def test_a_folder_that_an_arm_can_not_take_is_refused_before_anything_runs(study, tmp_path):
    made = drawn_by_another(tmp_path / "synth", each=3)
    other = folder_of_images(tmp_path / "other", "COVID/1.png", "healthy/1.png")
    for arms, said in (
        (f"real,folder:{tmp_path}/none", f"there is no {tmp_path}/none; name a folder"),
        (f"real,real+1:{other}", f"the classes of {other} are COVID, healthy, those of"),
        (f"real,folder:{made}", "needs 8 images of class COVID for 8 real ones, but"),
        (f"real,folder:{tmp_path}/synth/COVID/0.png", "the classes of"),
    ):
        with pytest.raises(UserError) as raised:
            study(arms)
        text = str(raised.value)
        assert said in text and "config.study.arms" in text and "\n" not in text
        assert not (tmp_path / "study/cells").exists()
