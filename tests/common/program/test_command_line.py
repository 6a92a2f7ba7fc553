"""--help and --helpfull, and where a config file is looked for."""

import shutil

import pytest

from common.config import usage
from common.program import command_line
from common.program.errors import UserError
from common.program.options import flags_of
from configs import unet_brain_mri
from launch import TASKS
from tests.conftest import ROOT


def test_help_has_every_flag_of_the_program_with_the_modes_and_tasks_that_take_it():
    text = usage.flags_text(TASKS)
    for flag in (flag for kind in TASKS.kinds for flag in flags_of(kind)):
        assert f"  --{flag.name}" in text or f"  --no{flag.name}" in text, flag.name
    assert "--overlays    predict (unet)" in text
    assert f"--input=TEXT    {TASKS.told_uses('input')}\n" in text
    assert TASKS.told_uses("input").endswith(
        "evaluate (gan, unet, classify, translate), predict (unet, classify, translate)"
    )
    assert f"--restart    {TASKS.told_uses('restart')}\n" in text
    assert f"--mode={'|'.join(TASKS.modes)}    every mode" in text
    assert "Default 64." in text and "Default 0." in text


def test_helpfull_has_every_setting_of_the_config_with_what_it_takes():
    text = usage.settings_text(unet_brain_mri.get_config())
    assert "--config.optimizer.learning_rate=0.001" in text
    assert "a number above 0 and at most 1e+38" in text
    assert "--config.model.encoder='levels'" in text and "'dcgan'" in text


def test_help_is_said_from_anywhere_and_has_nothing_of_libraries(launch, tmp_path):
    program = ROOT / "launch.py"
    said = launch("--help", program=program, cwd=tmp_path).stdout
    assert said.strip() == usage.flags_text(TASKS).strip()
    assert "absl" not in said and "logtostderr" not in said
    config = ("--config=configs/toy_gan_1d.py:tiny", "--config.data.batch_size=4")
    said = launch("--helpfull", *config, program=program, cwd=tmp_path).stdout
    assert "--config.data.batch_size=4 " in said and "--restart    train" in said


@pytest.mark.parametrize(
    "written", ["configs/unet.py", "configs/unet.py:tiny", "unet.py", "unet:tiny", "unet"]
)
def test_a_config_is_found_beside_the_program_from_any_folder(monkeypatch, tmp_path, written):
    monkeypatch.chdir(tmp_path)
    _, colon, variant = written.partition(":")
    found = command_line._at_home(f"--config={written}")
    assert found == f"--config={ROOT / 'configs' / 'unet.py'}{colon}{variant}"


def test_a_config_where_the_user_is_comes_first_and_keeps_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "unet.py").touch()
    written = "--config=configs/unet.py:tiny"
    assert command_line._at_home(written) == written
    assert command_line._joined(["launch.py", "--config", "x.py", "--help"]) == [
        *("launch.py", "--config=x.py", "--help")
    ]


def test_one_that_is_nowhere_is_refused_with_the_places_and_what_there_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        command_line._at_home("--config=configs/nothing.py:tiny")
    said = str(raised.value)
    assert "configs/nothing.py does not exist" in said and "configs/acgan_covid.py" in said
    assert str(tmp_path / "configs") in said and str(ROOT / "configs") in said


@pytest.mark.parametrize("written", ["experiment/unet.py", "./unet.py", "/nowhere/unet.py", ""])
def test_one_that_is_not_in_the_folder_that_is_named_is_no_other_of_that_name(
    monkeypatch, tmp_path, written
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"does not exist|names no file"):
        command_line._at_home(f"--config={written}")


def test_a_config_in_a_folder_with_a_space_is_read_where_a_setting_is_misspelt(launch, tmp_path):
    folder = tmp_path / "my-config of today"
    folder.mkdir()
    shutil.copy(ROOT / "configs" / "toy_gan_1d.py", folder)
    given = (f"--workdir={tmp_path / 'my-config'}", f"--config={folder / 'toy_gan_1d.py'}:tiny")
    said = launch(*given, "--config.data.bach_size=4", code=2).stderr
    assert "config.data.bach_size is not a setting of this config. Did you mean" in said


def test_what_a_flag_is_given_is_no_call_for_help(launch):
    said = launch("--mode=evaluate", "--workdir", "help", code=2)
    assert "help holds no run" in said.stderr and said.stdout == ""


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_module", "def get_config(:"])
def test_a_config_that_fails_is_told_in_a_sentence(launch, tmp_path, code):
    file = tmp_path / "broken.py"
    file.write_text(f"{code}\n")
    said = launch(f"--config={file}", code=2).stderr
    assert "Traceback" not in said and said.startswith("launch.py: ")
