"""Configs: durations, nearest names, what may differ when a run goes on, names of folders."""

import json

import pytest

from common.config.defaults import RULES, check, default_config, default_workdir
from common.config.durations import steps
from common.program.errors import UserError
from common.program.settings import flatten, from_fields, nearest, to_json
from common.runs.changes import differences, told
from unet.config import unet_config


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("3000", 3000),
        ("3000 steps", 3000),
        ("0", 0),
        ("15 epochs", 200),
        ("1 epoch", 14),
        ("0.5 epochs", 7),
    ],
)
def test_durations_are_steps_or_epochs_rounded_up(duration, expected):
    assert steps(duration, steps_per_epoch=425 / 32) == expected


@pytest.mark.parametrize(
    "duration", ["", "abc", "-3", "3 minutes", "1e3", "2.5", "2.5 steps", "nan"]
)
def test_other_durations_are_refused(duration):
    with pytest.raises(UserError, match="not a duration"):
        steps(duration, 10.0)


def test_nearest_names_a_misspelt_key_and_a_key_under_the_wrong_heading():
    known = [name for name, _ in flatten(default_config())]
    assert "data.batch_size" in nearest("data.batchsize", known)
    assert "data.batch_size" in nearest("batch_size", known)
    assert nearest("xyzzy", known) == ""


def test_a_config_survives_json():
    config = default_config()
    assert from_fields(json.loads(to_json(config))).to_dict() == config.to_dict()
    assert from_fields(json.loads(to_json(config))).is_locked


def test_a_run_may_go_on_with_another_length_and_cadence_only():
    old, new = default_config(), default_config()
    new.train.num_steps, new.train.log_every = "9999", "7"
    assert differences(old, new) == {}
    new.data.batch_size, new.seed = 64, 3
    found = differences(old, new)
    assert found == {"data.batch_size": (32, 64), "seed": (0, 3)}
    assert told(found) == "data.batch_size (32 there, 64 now), seed (0 there, 3 now)"


def test_a_decay_to_the_end_of_training_moves_with_it_and_is_told():
    old, new = (unet_config() for _ in range(2))
    for config in (old, new):
        config.optimizer.decay = "cosine"
    new.train.num_steps = "9999"
    assert differences(old, new) == {"optimizer.decay_end": ("1500", "9999")}
    new.optimizer.decay_end = "1500"
    assert differences(old, new) == {}  # as of a run from before it could be left out


def test_default_workdirs_of_different_runs_differ():
    plain = default_workdir("configs/acgan_covid.py", {})
    tiny = default_workdir("configs/acgan_covid.py:tiny", {})
    seeds = [default_workdir("configs/acgan_covid.py", {"seed": seed}) for seed in (1, 2)]
    assert str(plain) == "runs/acgan_covid"
    assert str(tiny) == "runs/acgan_covid-tiny"
    assert len({plain, tiny, *seeds}) == 4
    assert seeds[0] == default_workdir("configs/acgan_covid.py", {"seed": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.batch_size", 0),
        ("data.channels", 2),
        ("data.on_bad_image", "ignore"),
        ("train.num_steps", "many"),
        ("train.best_is", "max"),
    ],
)
def test_values_that_can_work_nowhere_are_refused_by_name(name, value):
    config = default_config()
    section, key = name.split(".")
    config[section][key] = value
    with pytest.raises(UserError, match=f"config.{name} is .*; it must be"):
        check(config, RULES)


def test_an_unknown_config_argument_is_refused():
    with pytest.raises(UserError, match="tiny"):
        default_config("huge")


def test_a_config_equals_itself_after_a_round_trip_through_json():
    config = default_config()
    config.model = {"widths": (256, 512)}
    assert differences(from_fields(json.loads(to_json(config))), config) == {}
    other = default_config()
    other.model = {"widths": (256, 513)}
    assert differences(from_fields(json.loads(to_json(config))), other) == {
        "model.widths": ([256, 512], [256, 513])
    }
