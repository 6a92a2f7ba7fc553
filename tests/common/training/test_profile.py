"""--profile writes a trace of steps 10 to 20 and changes nothing else."""

import json

import pytest

from common.training.train import train
from configs.toy_gan_1d import get_config
from tests.interrupted import signalled_after

pytestmark = pytest.mark.usefixtures("one_program")


def metrics_of(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in rows]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def trained(workdir, cache, **options):
    config = get_config("tiny")
    config.data.cache_dir = cache
    config.train.update(num_steps="25", log_every="7", picture_every="0", eval_every="0")
    config.optimizer.discriminator_steps = 1  # less to compile
    train(config, workdir, **options)
    return workdir


def test_a_trace_is_written_and_the_numbers_are_the_same(tmp_path, cache):
    plain = trained(tmp_path / "plain", cache)
    traced = trained(tmp_path / "traced", cache, profile=True)
    assert not (plain / "profile").exists()
    assert list((traced / "profile").rglob("*.xplane.pb"))
    assert metrics_of(plain) == metrics_of(traced)


def test_a_run_that_ends_within_the_trace_still_writes_it(tmp_path, cache, monkeypatch):
    signalled_after(14, monkeypatch)
    workdir = trained(tmp_path / "run", cache, profile=True)
    assert (workdir / "checkpoints" / "14").exists()
    assert list((workdir / "profile").rglob("*.xplane.pb"))
