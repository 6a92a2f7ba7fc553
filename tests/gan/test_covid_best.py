"""configs/acgan_covid_best.py at its real size: what holds for `:tiny` holds for what people run.

tests/test_devices.py has its steps on one device and on four.
"""

import jax
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.training.task import make_task
from common.training.train import train
from configs.acgan_covid_best import get_config
from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.interrupted import signalled_after

pytestmark = pytest.mark.slow

CARD = DataCard("test", ("COVID", "NonCOVID"), {"train": 64}, 64, 1, "0", False, 0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config as it is, with fewer phantoms."""
    config = get_config()
    config.data.update(num_phantoms=64, cache_dir=str(tmp_path_factory.mktemp("cache")))
    return config


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    """Returns the folder of a run that was stopped after some steps, in as many sessions."""

    def after(*steps):
        folder = tmp_path_factory.mktemp("run")
        for step in steps:
            with pytest.MonkeyPatch.context() as patch:
                signalled_after(step, patch)
                assert not train(config, folder)
        return folder

    return after


@pytest.fixture(scope="module")
def whole(one_program, stopped):
    return stopped(4)


def test_it_resumes_bit_for_bit(whole, stopped):
    assert_same_leaves(read_leaves(stopped(2, 4), 4), read_leaves(whole, 4))


def test_a_checkpoint_is_hardly_larger_than_what_training_changes(config, whole):
    changed = jax.tree.leaves(jax.eval_shape(make_task(config, CARD).init, jax.random.key(0)))
    size = sum(np.dtype(x.dtype).itemsize * x.size for x in changed)
    files = [x for x in (whole / "checkpoints" / "4").rglob("*") if x.is_file()]
    assert sum(file.stat().st_size for file in files) <= 1.1 * size
    assert not [path for path in read_leaves(whole, 4) if "frozen" in path]
