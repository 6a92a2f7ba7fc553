"""A run is followed in trackers that its settings name; one that fails never ends it."""

import importlib.util
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

from common.config.defaults import RULES
from common.program.errors import UserError
from common.runs.workdir import read_record, update_record
from common.training import trackers
from common.training import train as training
from common.training.trackers import Trackers, check_installed, named_trackers, places_of
from common.training.train import train
from common.training.writers import Writers
from configs.toy_gan_1d import get_config

pytestmark = pytest.mark.usefixtures("one_program")
GREY = {"samples": np.zeros((4, 4, 1), np.uint8)}
SETTINGS = {"data.batch_size": 32, "data.splits": (70, 15, 15)}
ROW = {"val/loss": 0.5, "val/f1_(a+b)": float("nan")}


class Kept:
    """A tracker that keeps what it is given, and fails at one moment if it is told to."""

    def __init__(self, run, fails=""):
        self.run, self._fails, self.got = run, fails, []
        self.identifier, self.where = run.identifier or "run-1", "here"
        self._at("start")

    def _at(self, moment, *given):
        if moment == self._fails:
            raise RuntimeError(f"no {moment}\nsecond line")
        self.got.append((moment, *given))

    def write_scalars(self, step, scalars):
        self._at("write", step, dict(scalars))

    def write_images(self, step, images):
        self._at("picture", step, [*images])

    def close(self):
        self._at("close")


@pytest.fixture
def kept(monkeypatch):
    """Puts `Kept` in the trackers' places; `fails` names where that of MLflow does."""
    made = SimpleNamespace(mlflow=[], wandb=[], fails="")

    def opener(name):
        def opened(run):
            one = Kept(run, made.fails if name == "mlflow" else "")
            getattr(made, name).append(one)
            return one

        return opened

    monkeypatch.setattr(trackers, "OPENERS", {name: opener(name) for name in ("mlflow", "wandb")})
    monkeypatch.setattr(training, "check_installed", lambda setting: None)
    return made


def follow(workdir, *names, writes=1):
    """One session of a run that these trackers follow."""
    update_record(workdir, {"step": 0, "warnings": ["an earlier one"]})
    with Writers(workdir, 0, 6, trackers=Trackers(workdir, SETTINGS, [*names])) as writers:
        for step in range(1, writes + 1):
            writers.write_scalars(step, ROW)
            writers.write_images(step, GREY)


def config_with(**settings):
    config = get_config("tiny")
    config.train.update(
        num_steps="2", log_every="1", eval_every="0", picture_every="0", checkpoint_every="1"
    )
    config.optimizer.discriminator_steps = 1  # less to compile
    for player in ("generator", "discriminator"):
        config.optimizer[player].decay = "none"  # to the end, which another length would move
    config.train.update(settings)
    return config


def test_a_tracker_gets_the_rows_of_metrics_jsonl_the_pictures_and_the_settings(kept, tmp_path):
    follow(tmp_path, "wandb")
    (wandb,) = kept.wandb
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert wandb.got[1][1] == row.pop("step") == 1 and wandb.got[1][2].keys() == row.keys()
    assert wandb.got[2:] == [("picture", 1, ["samples"]), ("close",)]
    assert wandb.run.settings == SETTINGS and wandb.run.name == tmp_path.name
    assert not kept.mlflow  # which nobody asked for


@pytest.mark.parametrize("moment", ["start", "write", "picture", "close"])
def test_one_that_fails_is_dropped_with_one_warning_and_the_others_go_on(
    kept, tmp_path, caplog, moment
):
    kept.fails = moment
    follow(tmp_path, "mlflow", "wandb", writes=2)
    sentence = f"The tracker mlflow failed (no {moment}); the run goes on without it."
    assert [record.getMessage() for record in caplog.records].count(sentence) == 1
    assert read_record(tmp_path)["warnings"] == ("an earlier one", sentence)
    (wandb,) = kept.wandb
    assert [what for what, *_ in wandb.got] == ["start", *2 * ["write", "picture"], "close"]


def test_a_run_whose_tracker_fails_ends_well_and_says_so(kept, tmp_path, capsys):
    kept.fails = "write"
    assert train(config_with(trackers="mlflow,wandb"), tmp_path / "run")
    said = capsys.readouterr().out
    assert "step 2 of 2" in said and "warning:     The tracker mlflow failed (no write)" in said
    assert "wandb:       here" in said
    assert "mlflow failed" in read_record(tmp_path / "run")["warnings"][0]


def test_a_resumed_run_goes_on_under_its_identifier_and_one_begun_anew_does_not(kept, tmp_path):
    train(config_with(trackers="wandb"), tmp_path / "run")
    train(config_with(trackers="wandb", num_steps="3"), tmp_path / "run")
    train(config_with(trackers="wandb"), tmp_path / "run", restart=True)
    assert [one.run.identifier for one in kept.wandb] == ["", "run-1", ""]
    assert (tmp_path / "run" / "earlier-1" / "trackers.json").exists()
    assert kept.wandb[0].run.settings["train.num_steps"] == "2"


def test_a_damaged_list_of_identifiers_is_said(kept, tmp_path, caplog):
    (tmp_path / "trackers.json").write_text('{"wandb": 3}')
    follow(tmp_path, "wandb")
    assert "trackers.json is damaged" in caplog.text and "remove it" in caplog.text
    assert not kept.wandb
    assert places_of(tmp_path, "wandb") == {}


def test_without_its_package_training_does_not_begin(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    without = lambda name, *more: None if name == "mlflow" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(UserError, match=r"names mlflow, .*pip install -e '\.\[mlflow\]'"):
        train(config_with(trackers="mlflow"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "followed_runs").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("followed_runs")
    with pytest.raises(UserError, match="followed_runs, which is not installed"):
        check_installed("followed_runs")


@pytest.mark.parametrize(
    ("setting", "names"), [("", []), ("wandb", ["wandb"]), ("wandb,mlflow", ["wandb", "mlflow"])]
)
def test_the_setting_names_some_of_them(setting, names):
    RULES["train.trackers"].check("config.train.trackers", setting)
    assert named_trackers(setting) == names
    with pytest.raises(UserError, match="mlflow, wandb with commas between"):
        RULES["train.trackers"].check("config.train.trackers", f"{setting},tensorboard")


def real(name, monkeypatch):
    """Skips a test without the package; no variable of this machine's may name a server."""
    pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[{name}]'")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.filterwarnings("ignore")  # of the packages
def test_mlflow_keeps_a_run_of_two_sessions_in_files(tmp_path, monkeypatch):
    real("mlflow", monkeypatch)
    follow(tmp_path, "mlflow", writes=1)
    follow(tmp_path, "mlflow", writes=2)
    assert read_record(tmp_path)["warnings"] == ("an earlier one",)
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "mlflow").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("triptych").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["data.batch_size"] == "32"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val/loss")]
    assert steps == [1, 1, 2] and "val/f1__a_b_" in run.data.metrics
    assert len([*tmp_path.glob("mlflow/*/*/artifacts/images/*.png")]) == 3


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_a_run_of_two_sessions_offline(tmp_path, monkeypatch):
    real("wandb", monkeypatch)
    follow(tmp_path, "wandb", writes=1)
    follow(tmp_path, "wandb", writes=2)
    assert read_record(tmp_path)["warnings"] == ("an earlier one",)
    known = json.loads((tmp_path / "trackers.json").read_text())["wandb"]["identifier"]
    files = [*tmp_path.glob(f"wandb/offline-run-*/run-{known}.wandb")]
    assert len(files) == 2
    end = time.monotonic() + 60  # its own process writes them, a moment later
    while not all(b"val/loss" in file.read_bytes() for file in files):
        assert time.monotonic() < end
        time.sleep(0.05)
