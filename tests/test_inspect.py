"""Specification of `launch.py --mode=inspect`."""

import csv
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.common.inspect.conftest import picture

CONFIG = "--config=configs/acgan_covid.py:tiny"
EVERY_CLASS = ("train/A", "train/B", "val/A", "val/B", "test/A", "test/B")


@pytest.fixture
def healthy(tmp_path):
    """A folder with nothing wrong in it."""
    folder = tmp_path / "scans"
    for seed in range(180):
        path = folder / EVERY_CLASS[seed % 6] / f"{chr(97 + seed // 30)}{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(path)
    return folder


def inspected(launch, *flags, code, output):
    said = launch("--mode=inspect", *flags, f"--output={output}", code=code)
    assert "Traceback" not in said.stderr
    assert said.stdout.rstrip().endswith(f"{output}/inspect.html")
    return said.stdout, (output / "inspect.html").read_text()


def test_a_healthy_set_ends_with_0_and_a_page(launch, healthy, tmp_path):
    said, page = inspected(launch, f"--input={healthy}", code=0, output=tmp_path / "out")
    assert "A               30   30    30   90" in said
    assert "Nothing wrong was found" in said and "Nothing wrong was found" in page
    assert "FIX THIS" not in said
    assert (tmp_path / "out" / "copies.csv").read_text() == "picture,kind,split,class,image\n"


def test_what_invalidates_results_ends_with_1(launch, healthy, tmp_path):
    first = sorted((healthy / "train" / "A").iterdir())[0]
    shutil.copy(first, healthy / "test" / "A" / "copy.png")
    (healthy / "val" / "B" / "broken.png").write_bytes(b"")
    (healthy / "val" / "B" / "scan.mha").write_bytes(b"not read")
    said, page = inspected(launch, f"--input={healthy}", code=1, output=tmp_path / "out")
    for text in (said, page):
        assert "can't be used" in text and "in several splits" in text
        assert "is not read: val/B/scan.mha" in " ".join(text.split())
    rows = list(csv.DictReader((tmp_path / "out" / "copies.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["exact", "exact"]
    assert {row["image"] for row in rows} == {f"train/A/{first.name}", "test/A/copy.png"}


def test_an_experiments_data_are_inspected_with_its_settings(launch, healthy, tmp_path):
    flags = (CONFIG, f"--config.data.dir={healthy}", "--config.data.splits=60,20,20")
    said, page = inspected(launch, *flags, code=0, output=tmp_path / "out")
    assert "A               54   18    18   90" in said
    assert "--config.data.splits=60,20,20" in page


def test_phantoms_are_said_to_be_drawings(launch, tmp_path):
    said, _ = inspected(launch, CONFIG, code=0, output=tmp_path / "out")
    assert "drawings, not patients" in said


def test_the_page_lies_under_runs_by_default(launch, healthy, monkeypatch):
    from common.inspect.command import run_inspect

    monkeypatch.chdir(healthy.parent)
    assert run_inspect(None, str(healthy), "") == 0
    assert (healthy.parent / "runs" / "inspect-scans" / "inspect.html").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--input=PATH"),
        (["--input=no/such/folder"], "no/such/folder does not exist; check --input"),
        ([CONFIG, "--config.data.dir=no/such/folder"], "--config.data.dir"),
        (["--input={data}", "--output={data}/train/A/a0.png"], "another with --output"),
        ([CONFIG, "--input={data}", "--config.data.group=("], "config.data.group"),
        ([CONFIG, "--input={data}", "--config.data.fit=fill"], "config.data.fit"),
        (["--input={data}", "--inptu=x"], "inptu"),
    ],
)
def test_a_mistake_is_met_with_one_sentence(launch, healthy, tmp_path, flags, expected):
    flags = [flag.format(data=healthy) for flag in flags]
    said = launch("--mode=inspect", f"--output={tmp_path / 'out'}", *flags, code=2)
    assert "Traceback" not in said.stderr
    assert expected in said.stderr.strip().splitlines()[-1]


def test_the_inspection_needs_neither_jax_nor_tensorflow(start, healthy, tmp_path):
    flags = ("--mode=inspect", f"--input={healthy}", f"--output={tmp_path / 'out'}")
    _, err = start("-X", "importtime", "launch.py", *flags).communicate(timeout=120)
    imported = {line.split("|")[-1].strip() for line in err.splitlines()}
    assert "common.inspect.inspection" in imported
    assert not imported & {"jax", "tensorflow", "flax"}


# Real images


# The same picture twice in COVID-CT as published, cut out a little differently; judged by eye.
KNOWN_COPIES = [
    {"train/NonCOVID/114.jpg", "train/NonCOVID/116.jpg", "train/NonCOVID/118.jpg"},
    {"train/NonCOVID/115.jpg", "train/NonCOVID/117.jpg"},
    {"train/NonCOVID/1330.jpg", "train/NonCOVID/1331.jpg"},
    {"train/NonCOVID/71_0.jpg", "test/COVID/kjr-21-e24-p5-29.jpg"},
    {"train/NonCOVID/71_1.jpg", "test/COVID/kjr-21-e24-p5-31.jpg"},
    {
        "val/COVID/2020.03.21.20040691-p18-67-2.jpg",
        "val/COVID/2020.03.21.20040691-p18-67-3.jpg",
    },
    {
        "val/COVID/2020.03.22.20040782-p24-1533-6.jpg",
        "test/COVID/2020.03.22.20040782-p25-1543.jpg",
    },
    {
        "val/COVID/2020.03.22.20040782-p24-1533-7.jpg",
        "test/COVID/2020.03.22.20040782-p25-1546.jpg",
    },
    {"test/NonCOVID/1497.jpg", "test/NonCOVID/1498.jpg"},
    {"test/NonCOVID/661.jpg", "test/NonCOVID/662.jpg"},
]


def read_copies(output):
    groups = {}
    for row in csv.DictReader((output / "copies.csv").read_text().splitlines()):
        groups.setdefault((row["picture"], row["kind"]), set()).add(row["image"])
    return [(kind, images) for (_, kind), images in groups.items()]


def test_covid_ct_as_published(launch, shared_data, tmp_path):
    said, _ = inspected(launch, f"--input={shared_data / 'covid_ct'}", code=1, output=tmp_path)
    found = read_copies(tmp_path)
    assert sorted(map(sorted, KNOWN_COPIES)) == sorted(sorted(images) for _, images in found)
    assert (
        "4 pictures are in several splits" in said and "2 pictures are in several classes" in said
    )
    assert "frame of one brightness" not in said and "without looking" not in said


@pytest.mark.parametrize(
    ("value", "quality"),
    [(0, 75), (255, 90), (128, 50)],
)
@pytest.mark.slow  # tests/common/inspect plants the same into phantoms
def test_what_is_planted_into_covid_ct_is_found(launch, shared_data, tmp_path, value, quality):
    data, planted = tmp_path / "data", []
    shutil.copytree(shared_data / "covid_ct", data, copy_function=shutil.copyfile)
    for folder in (data, *data.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    draw = random.Random(value)
    known = {name for group in KNOWN_COPIES for name in group}
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.jpg"))
    strangers = [name for name in names if name not in known]
    for number, name in enumerate(draw.sample(strangers, 10)):
        split, label, _ = name.split("/")
        other = draw.choice([each for each in ("train", "val", "test") if each != split])
        copy = f"{other}/{label}/planted{number}.jpg"
        if number < 5:
            shutil.copyfile(data / name, data / copy)
        else:
            Image.open(data / name).save(data / copy, quality=quality)
        planted.append(("exact" if number < 5 else "near", {name, copy}))
    for path in data.glob("*/COVID/*.jpg"):
        pixels = np.array(Image.open(path))
        pixels[:2] = pixels[-2:] = pixels[:, :2] = pixels[:, -2:] = value
        Image.fromarray(pixels).save(path, quality=90)
    said, _ = inspected(launch, f"--input={data}", code=1, output=tmp_path / "out")
    found = read_copies(tmp_path / "out")
    for copies in planted:
        assert copies in found
    rest = [images for _, images in found if not any("planted" in name for name in images)]
    assert all(any(images <= known for known in KNOWN_COPIES) for images in rest)
    assert "around 100 % of the images of class COVID" in " ".join(said.split())


@pytest.mark.slow
def test_neighbouring_slices_are_no_copies_and_no_patient_crosses(launch, shared_data, tmp_path):
    flags = (CONFIG, f"--config.data.dir={shared_data / 'brain_mri'}", "--config.data.group=(.+)_")
    said, _ = inspected(launch, *flags, code=0, output=tmp_path)
    assert read_copies(tmp_path) == []
    assert "groups 77 11 22 110" in " ".join(said.split())
    assert "456 of 1,829 masks are empty" in said
