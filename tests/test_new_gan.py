"""docs/new_gan.md adds a GAN with one network file and one config file; here it is done."""

import re
import shlex
import shutil

from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs/new_gan.md").read_text()
ROOMS = ("common", "gan", "configs")


def test_the_document_adds_a_gan_in_two_files(launch, tmp_path):
    """In a copy of the source, where nothing but the document's two files is added."""
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    shutil.copy(ROOT / "launch.py", tmp_path)
    names = re.findall(r"^## \d\. .*`(.+\.py)`$", DOCUMENT, re.MULTILINE)
    programs = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert [name.split("/")[0] for name in names] == ["gan", "configs"]
    for name, program in zip(names, programs, strict=True):
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(program)
    commands = re.findall(r"^ {4}python launch\.py (.*)$", DOCUMENT, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        # The full length takes minutes; :tiny is the same code path.
        short = re.sub(r"(configs/\w+\.py)(?= )", r"\1:tiny", command)
        launch(*shlex.split(short), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert len(list(tmp_path.glob("blobs/generated/*.png"))) == 100
    assert (tmp_path / "blobs-walk/walk.webp").exists()
    assert (tmp_path / "runs/blobs/pictures/samples.webp").exists()
