"""docs/new_gan.md adds a GAN with one network file and one config file; here it is done."""

import os
import re
import shlex
import shutil

import pytest

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs/new_gan.md").read_text()
ROOMS = ("common", "gan", "configs")


@pytest.fixture(scope="module")
def names():
    """The document's two files, the network's and the config's."""
    found = re.findall(r"^## \d\. .*`(.+\.py)`$", DOCUMENT, re.MULTILINE)
    assert [name.split("/")[0] for name in found] == ["gan", "configs"]
    return found


@pytest.fixture(scope="module")
def source(names, tmp_path_factory):
    """A copy of the source, where nothing but the document's two files is added."""
    folder = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    shutil.copy(ROOT / "launch.py", folder)
    programs = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    for name, program in zip(names, programs, strict=True):
        assert not (folder / name).exists()
        (folder / name).write_text(program)
    return folder


def test_the_document_adds_a_gan_in_two_files(names, source, start):
    config = names[1].removesuffix(".py").replace("/", ".")
    program = (
        f"from {config} import get_config; from tests.compile_step import check_step;"
        " import gan; print(gan.__file__); check_step(get_config('tiny'))"
    )
    # Its own folders come before those of the same name beside tests/.
    path = os.pathsep.join(map(str, (source, ROOT)))
    process = start("-c", program, cwd=source, PYTHONPATH=path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert str(source) in out


@pytest.mark.slow
def test_its_commands_train_generate_and_walk(source, launch):
    commands = re.findall(r"^ {4}python launch\.py (.*)$", DOCUMENT, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        # The full length takes minutes; :tiny is the same code path.
        short = re.sub(r"(configs/\w+\.py)(?= )", r"\1:tiny", command)
        launch(*shlex.split(short), cwd=source, PYTHONPATH=str(source))
    assert len(list(source.glob("blobs/generated/*.png"))) == 100
    assert (source / "blobs-walk/walk.webp").exists()
    assert (source / "runs/blobs/pictures/samples.webp").exists()
