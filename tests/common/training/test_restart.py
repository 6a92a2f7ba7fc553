"""A run goes on from the newest sound checkpoint; where all are gone it asks, and loses nothing."""

import json
import shutil

import numpy as np
import pytest

from common.devices import processes
from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import check_owner, open_run, update_record
from common.training import train as training
from common.training.restart import begin_anew, check_progress, record_saved
from common.training.train import train
from configs import toy_gan_1d
from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.damage import emptied, linked_copy

pytestmark = pytest.mark.usefixtures("one_program")


def tiny():
    config = toy_gan_1d.get_config("tiny")
    config.train.update(
        num_steps="4", checkpoint_every="2", log_every="1", picture_every="4", eval_every="0"
    )
    config.optimizer.discriminator_steps = 1  # less to compile
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(), workdir)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    return linked_copy(finished, tmp_path / "run")


def pictures(workdir):
    names = sorted(path.name for path in (workdir / "pictures").iterdir())
    return {name: (workdir / "pictures" / name).read_bytes() for name in names}


def test_after_a_damaged_checkpoint_it_trains_again_from_the_one_before(finished, workdir, caplog):
    arrays = max((workdir / "checkpoints" / "4").rglob("*"), key=lambda file: file.stat().st_size)
    emptied(arrays, np.random.default_rng(0))
    train(tiny(), workdir)
    assert "step 4 is damaged" in caplog.text and "resumes from step 2" in caplog.text
    assert_same_leaves(read_leaves(workdir, 4), read_leaves(finished, 4))
    assert (workdir / "checkpoints" / "damaged-4").is_dir()
    record = json.loads((workdir / "run.json").read_text())
    assert record["step"] == record["saved_step"] == 4


def test_a_finished_run_gets_back_what_is_missing_or_broken(finished, workdir):
    before = pictures(finished)
    film = next(name for name in before if name.endswith(".webp"))
    last = next(name for name in before if name.startswith("000004_"))
    (workdir / "pictures" / film).unlink()
    for name in ("curves.png", last):
        (workdir / "pictures" / name).unlink()
        (workdir / "pictures" / name).touch()  # of 0 bytes, as a kill left them once
    (workdir / "pictures" / f".tmp-4194305-0-{last}").touch()
    (workdir / ".run.json.4194305").touch()
    (workdir / "pictures" / last.replace("4", "9")).touch()  # after the step that is restored
    (workdir / "pictures" / "123456_patient.png").write_bytes(b"somebody's")
    train(tiny(), workdir)
    assert pictures(workdir) == {**before, "123456_patient.png": b"somebody's"}
    assert not (workdir / ".run.json.4194305").exists()


@pytest.mark.parametrize("gone", ["folder", "content"])
def test_a_run_without_its_checkpoints_is_not_a_new_one(workdir, gone):
    shutil.rmtree(workdir / "checkpoints")
    if gone == "content":
        (workdir / "checkpoints").mkdir()
    before = sorted(workdir.rglob("*"))
    with pytest.raises(
        UserError, match=r"was trained to step 4 but its checkpoints are gone.+--re"
    ):
        train(tiny(), workdir)
    assert [path for path in sorted(workdir.rglob("*")) if path.name != ".lock"] == [
        path for path in before if path.name != ".lock"
    ]


def test_numbers_alone_are_a_run_too(workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "run.json").unlink()
    with pytest.raises(UserError, match="was trained to step 4"):
        train(tiny(), workdir)


def test_a_run_that_was_killed_in_its_first_save_goes_on(workdir):
    shutil.rmtree(workdir / "checkpoints")
    checkpoints = open_run(workdir).checkpoints
    checkpoints.folder.mkdir()
    (checkpoints.folder / "2.orbax-checkpoint-tmp").mkdir()
    update_record(workdir, {"step": 2, "saved_step": 0})
    check_progress(workdir, checkpoints, checkpoints.newest_sound_step({}))


def test_the_record_says_what_is_saved_and_not_what_is_being_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "save", lambda *args: None)  # never done
    train(tiny(), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["step"], record["saved_step"]) == (4, 0)


def test_once_a_run_has_gone_on_from_a_checkpoint_its_loss_is_noticed(workdir, monkeypatch):
    update_record(workdir, {"saved_step": 0})  # as a first session noted that was killed later
    run = open_run(workdir)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "newest_sound_step", lambda *_: 4)
        assert training._step_to_go_on_from([run], {}) == 4
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "checkpoints").mkdir()
    record_saved(workdir, run.checkpoints)  # an end takes nothing back
    with pytest.raises(UserError, match="was trained to step 4 but its checkpoints are gone"):
        training._step_to_go_on_from([run], {})


def test_the_main_process_alone_decides_where_to_go_on(workdir, monkeypatch):
    for file in (workdir / "checkpoints" / "4" / "default").rglob("*"):
        if file.is_file():  # which this process, one of many, can't read
            file.unlink()
    before = sorted(workdir.rglob("*"))
    monkeypatch.setattr(processes, "is_main_process", lambda: False)
    # The main process has no error and has found step 4.
    monkeypatch.setattr(processes, "highest", lambda own: own if isinstance(own, bool) else 4)
    assert training._step_to_go_on_from([open_run(workdir)], {}) == 4
    assert sorted(workdir.rglob("*")) == before


def test_restart_gets_past_a_damaged_config(workdir, monkeypatch):
    (workdir / "config.json").unlink()
    (workdir / "config.json").write_text('{"task": ')

    def reached(folder):
        raise InterruptedError(str(folder))

    monkeypatch.setattr(training, "begin_anew", reached)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        train(tiny(), workdir)
    with pytest.raises(InterruptedError):
        train(tiny(), workdir, restart=True)


def test_restart_does_not_take_the_folder_of_another_run(workdir):
    config = tiny()
    config.seed += 1
    with pytest.raises(UserError, match="belongs to another config"):
        train(config, workdir, restart=True)


def test_restart_begins_anew_and_loses_nothing(finished, workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "notes.txt").write_text("mine")
    (workdir / "evaluation").mkdir()
    numbers = (workdir / "metrics.jsonl").read_text()
    begin_anew(workdir)
    begin_anew(workdir)  # there is nothing to move any more
    assert {path.name for path in workdir.iterdir()} == {"earlier-1", "notes.txt", ".lock"}
    assert (workdir / "earlier-1" / "metrics.jsonl").read_text() == numbers
    assert pictures(workdir / "earlier-1") == pictures(finished)
    (workdir / "run.json").write_text("{}")
    begin_anew(workdir)
    assert (workdir / "earlier-2" / "run.json").exists()


def test_restart_is_refused_where_nothing_is_trained(launch):
    said = launch("--mode=evaluate", "--workdir=somewhere", "--restart", code=2)
    assert "--mode=evaluate takes no --restart; it is for train, run" in said.stderr


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.json", "pictures", "checkpoints"])
def test_what_lies_there_without_our_config_is_refused_by_name(tmp_path, name):
    folder = tmp_path / "run"
    if "." in name:
        folder.mkdir()
        (folder / name).write_text("{}\n")
    else:
        (folder / name / "of somebody").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"has {name} but no config\.json"):
        check_owner(folder, tiny())


def test_empty_files_and_folders_are_nobodys(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    check_owner(tmp_path, tiny())
