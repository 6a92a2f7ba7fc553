"""--profile writes a trace of steps 10 to 20 and changes nothing else."""

import json

import pytest

from common.training.train import train
from configs.toy_gan_1d import get_config

pytestmark = pytest.mark.usefixtures("one_program")


def metrics_of(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in rows]


def trained(tmp_path, name, num_steps, **options):
    config = get_config("tiny")
    config.data.cache_dir = str(tmp_path / "cache")
    config.train.update(num_steps=str(num_steps), log_every="7", picture_every="0", eval_every="0")
    config.optimizer.discriminator_steps = 1  # less to compile
    train(config, tmp_path / name, **options)
    return tmp_path / name


def test_a_trace_is_written_and_the_numbers_are_the_same(tmp_path):
    plain = trained(tmp_path, "plain", 25)
    traced = trained(tmp_path, "traced", 25, profile=True)
    assert not (plain / "profile").exists()
    assert list((traced / "profile").rglob("*.xplane.pb"))
    assert metrics_of(plain) == metrics_of(traced)


def test_a_run_that_ends_within_the_trace_still_writes_it(tmp_path):
    assert list((trained(tmp_path, "short", 14, profile=True) / "profile").rglob("*.xplane.pb"))
