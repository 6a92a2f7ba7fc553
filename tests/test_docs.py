"""What the documents tell a reader to type does what they say."""

import json
import re
import shlex
import tomllib

import numpy as np
import pytest
from PIL import Image

from common.data.phantoms import LUNG_CT_CLASSES, lung_ct
from tests.conftest import ROOT
from tests.test_imports import ROOMS, SEES_ALL


def commands(document):
    """Returns the commands of a document's indented blocks, each as its words."""
    lines = re.findall(r"^ {4}(python launch\.py .*)$", (ROOT / document).read_text(), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def desk(tmp_path):
    """A folder as a reader's, with `scans` in it, from where the program can be called."""
    for name in ("launch.py", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    phantoms = lung_ct(0, 48, 40)
    for number, (image, label) in enumerate(zip(phantoms.images, phantoms.labels, strict=True)):
        folder = tmp_path / "scans" / LUNG_CT_CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    return tmp_path


@pytest.mark.slow  # each mode has a test of its own; test_own_data.py goes from folder to model
def test_five_commands_lead_from_a_folder_to_a_model(desk, launch):
    five = commands("docs/own_data.md")[:5]
    assert [word for words in five for word in words if word.startswith("--mode")] == [
        "--mode=inspect",
        "--mode=generate",
        "--mode=inspect",
    ]
    for _, program, *words in five:
        # The full length takes minutes; :tiny is the same code path, and so are fewer images.
        short = [re.sub(r"(configs/\w+\.py)$", r"\1:tiny", word) for word in words]
        short = [word.replace("--num_images=1000", "--num_images=100") for word in short]
        launch(*short, program=program, cwd=desk)
    record = json.loads((desk / "runs/scans/run.json").read_text())
    assert record["step"] == 6 and record["data"]["classes"] == list(LUNG_CT_CLASSES)
    assert len(list(desk.glob("synthetic/*/*.png"))) == 100
    for name in ("inspect-scans", "inspect-synthetic"):
        assert "<html" in (desk / "runs" / name / "inspect.html").read_text()


def test_the_documents_name_settings_that_exist():
    from common.program.settings import flatten
    from configs import (
        acgan_covid,
        dcgan_chest_xray,
        pix2pix_brain_mri,
        pretrain_covid,
        unet_brain_mri_best,
        vgg16_covid,
    )

    gan, dcgan, unet, classify, translate, pretrain = (
        {name for name, _ in flatten(module.get_config())}
        for module in (
            *(acgan_covid, dcgan_chest_xray, unet_brain_mri_best),
            *(vgg16_covid, pix2pix_brain_mri, pretrain_covid),
        )
    )
    documents = {
        "README.md": gan | unet | classify,
        "docs/own_data.md": gan,
        "docs/quality.md": gan | classify,
        "docs/few_images.md": gan,
        "docs/few_labels.md": dcgan | classify | unet | pretrain,
        "docs/segmentation.md": unet,
        "docs/classification.md": classify,
        "docs/translation.md": translate,
    }
    for document, known in documents.items():
        text = (ROOT / document).read_text()
        named = set(re.findall(r"--config\.([a-z_.]+[a-z](?:256)?)", text))
        assert named and named <= known, document
    few = (ROOT / "docs/few_images.md").read_text()
    listed = set(re.findall(r"`((?:data|loss|optimizer|adaptive_augment)\.[\w.]+)", few))
    assert len(listed) > 12 and listed <= gan
    sections = "data|model|loss|optimizer|train"
    tasks = {"segmentation": unet, "classification": classify, "translation": translate}
    for document, known in tasks.items():
        text = (ROOT / f"docs/{document}.md").read_text()
        listed = set(re.findall(rf"`((?:{sections})\.\w+)`", text))
        assert len(listed) > 9 and listed <= known | {"model.network"}, document


def test_generated_images_of_a_windowed_source_are_written_in_its_range(launch, tmp_path):
    """Slices of 16 bits in, 16 bits out, both of about the same values."""
    window = "200,1200"
    phantoms = lung_ct(0, 16, 16)
    for number, (image, label) in enumerate(zip(phantoms.images, phantoms.labels, strict=True)):
        folder = tmp_path / "scans" / LUNG_CT_CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        values = (200 + image[..., 0] * (1000 / 255)).astype(np.uint16)
        Image.fromarray(values).save(folder / f"{number}.png")
    run, out = tmp_path / "run", tmp_path / "out"
    launch(
        "--config=configs/dense_gan_mnist.py:tiny",
        f"--config.data.dir={tmp_path / 'scans'}",
        f"--config.data.window={window}",
        f"--workdir={run}",
    )
    data = json.loads((run / "run.json").read_text())["data"]
    assert (data["bits"], data["window"]) == (16, [200.0, 1200.0])
    said = launch(
        "--mode=generate",
        "--bits=16",
        f"--workdir={run}",
        f"--output={out}",
        "--num_images=4",
    )
    assert "1 * stored +0" in said.stdout
    for file in out.glob("*/*.png"):
        with Image.open(file) as image:
            pixels = np.array(image)
            assert image.mode == "I;16" and pixels.min() >= 200 and pixels.max() <= 1200
    assert len(list(out.glob("*/*.png"))) == 4


def test_the_documents_name_files_and_folders_that_exist():
    tops = "bench|classify|common|configs|constraints|docs|gan|pretrain|studies|tests|unet"
    named = 0
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for path in re.findall(rf"(?<![\w/.-])((?:{tops})/[\w./*{{}},-]*)", document.read_text()):
            if re.search(r"[{]|NAME|blobs", path):  # what the reader is to make
                continue
            named += 1
            assert list(ROOT.glob(path.rstrip(".,/"))), f"{document.name} names {path}"
    assert named > 60


def test_the_architecture_states_what_every_room_imports():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\S+)/` \|[^|]+\| ([^|]+) \|$", text, re.MULTILINE)
    stated = {room.replace("/", "."): imports.replace("/", ".") for room, imports in rows}
    assert stated.pop(SEES_ALL) == "all"
    known = {
        room: ", ".join(f"`{other}`" for other in sorted(below.split())) or "nothing"
        for room, below in ROOMS.items()
    }
    assert stated == known


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.match(r"[\w.-]+", entry)[0] for group in groups for entry in group}
    named = set(re.findall(r"[\w.-]+", (ROOT / "docs/dependencies.md").read_text()))
    assert wanted - {"triptych"} <= named
    assert set(project["optional-dependencies"]) - {"cpu"} <= named
