"""Replicas trained by one program are the runs that they would be alone."""

import json
import re
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard, prepare
from common.data.settings import DataSettings
from common.devices import placement
from common.program.errors import DivergenceError, UserError
from common.run_page.command import run_report
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run, open_run, read_record
from common.training import dispatch
from common.training.feed import open_feed
from common.training.numbers import Numbers
from common.training.record import say_where
from common.training.replicas import common_step, one_of, shapes_side_by_side, side_by_side
from common.training.task import make_task, new_state
from common.training.train import train
from configs import acgan_covid, dense_gan_mnist, small_cnn_chest_xray, unet_brain_mri
from studies.cell import Cell
from studies.runner import run_cells
from tests.checkpoint_leaves import assert_same_leaves, read_leaves

SEEDS = (3, 4, 5, 6)
PLAYERS = ("generator", "discriminator")


def dense_gan():
    config = dense_gan_mnist.get_config("tiny").unlock()
    config.model.generator.update(widths=(8, 8), latent_size=6)
    config.model.discriminator.update(widths=(8, 8))
    config.data.update(image_size=4, batch_size=8, num_phantoms=64, splits="70,15,15")
    config.train.update(num_steps="4", log_every="1", checkpoint_every="2")
    config.train.update(picture_every="0", eval_every="2")
    config.quality.extractor = ""
    return config


def steps_of(config, seeds, num_steps, dtype="float32"):
    """Returns the state after some steps and the last one's metrics of each seed."""
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    states = [placement.to_host(placement.replicate(new_state(task, seed))) for seed in seeds]
    cast = [jax.tree.map(lambda x: _as(x, dtype), state) for state in states]
    like = jax.eval_shape(lambda: cast[0])
    feed = open_feed(DataSettings.of(config.data), prepared, task.batches, seeds)
    stand_in = placement.stand_in(shapes_side_by_side(like, len(seeds)))
    advance = dispatch.compile_advance(task, seeds, stand_in, feed.example_block())
    state = placement.place(side_by_side(cast))
    for step in range(num_steps):
        state, metrics, _ = advance.run(state, advance.empty_metrics(), feed.block(step, 1))
    return [
        (
            placement.to_host(one_of(state, i, len(seeds))),
            placement.to_host(one_of(metrics, i, len(seeds))).compute(),
        )
        for i in range(len(seeds))
    ]


def _as(x, dtype):
    return x.astype(dtype) if x.dtype == np.float32 else x


def assert_near(found, expected, **tolerance):
    leaves = jax.tree.leaves_with_path(expected)
    for (path, leaf), other in zip(leaves, jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, leaf, **tolerance, err_msg=jax.tree_util.keystr(path))


def ac_gan():
    return acgan_covid.get_config("tiny").unlock()


def u_net():
    config = unet_brain_mri.get_config("tiny").unlock()
    config.data.batch_size = 8  # of two images, BatchNorm makes large gradients of rounding
    return config


def classifier():
    return small_cnn_chest_xray.get_config("tiny").unlock()


def slow(config):
    return pytest.param(config, marks=pytest.mark.slow, id=config.__name__)


TASKS = [dense_gan, slow(ac_gan), slow(u_net), slow(classifier)]


@pytest.mark.parametrize("config", TASKS)
def test_the_first_step_is_that_of_a_run_alone(config):
    together = steps_of(config(), SEEDS, 1)
    for place in (0, -1):
        ((_, alone),) = steps_of(config(), [SEEDS[place]], 1)
        assert_near(together[place][1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow  # test_a_replica_goes_on_alone compares every leaf after four
@pytest.mark.parametrize("config", TASKS)
def test_twenty_steps_in_float64_are_those_of_a_run_alone(config):
    config = config()
    for optimizer in [getattr(config.optimizer, name, None) for name in PLAYERS]:
        # Adam makes a full step of a gradient that is zero but for rounding.
        (optimizer or config.optimizer).update(name="sgd", learning_rate=1e-2)
    with jax.enable_x64(True):
        _, (state, _) = steps_of(config, SEEDS[:2], 20, "float64")
        ((alone, _),) = steps_of(config, SEEDS[1:2], 20, "float64")
    assert {x.dtype for x in jax.tree.leaves(alone)} >= {np.dtype("float64")}
    assert_near(state, alone, rtol=0, atol=1e-8)


def trained(workdir, **settings):
    return train(trained_config(replicas=3, **settings), workdir)


def trained_config(**settings):
    config = dense_gan()
    config.train.update(settings)
    return config.lock()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Three replicas after four steps."""
    workdir = tmp_path_factory.mktemp("replicas")
    assert trained(workdir)
    return workdir


def leaves_of(workdir, step=4):
    return [read_leaves(workdir / f"seed{seed}", step) for seed in range(3)]


def test_each_is_a_run_of_its_own(replicas):
    for seed in range(3):
        run = open_run(replicas / f"seed{seed}")
        assert run.config.seed == seed and run.config.train.replicas == 1
        assert read_record(run.workdir)["step"] == 4
        rows = [json.loads(x) for x in (run.workdir / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 2, 3, 4, 4]
        assert (run.workdir / "report.html").exists()


def test_the_command_that_compares_them_is_one_that_compares_runs(replicas, tmp_path, capsys):
    say_where([open_run(replicas / f"seed{seed}") for seed in range(3)], 4, 4)
    (named,) = re.findall(r"--mode=report --workdir=(\S+)", capsys.readouterr().out)
    assert run_report(named, str(tmp_path / "page")) == 0


def test_a_replica_goes_on_alone(replicas, tmp_path):
    config = dense_gan()
    config.seed = 1
    config.train.num_steps = "2"
    trained(tmp_path, num_steps="2")
    for num_steps in ("2", "4"):
        config.train.num_steps = num_steps
        assert train(config, tmp_path / "seed1")
    alone, together = read_leaves(tmp_path / "seed1", 4), leaves_of(replicas)[1]
    assert alone.keys() == together.keys()
    for name, leaf in together.items():
        np.testing.assert_allclose(alone[name], leaf, rtol=1e-3, atol=1e-4, err_msg=name)


def test_they_resume_bit_for_bit_also_from_a_kill_between_two_checkpoints(replicas, tmp_path):
    trained(tmp_path, num_steps="2")
    trained(tmp_path, num_steps="3")
    Checkpoints(tmp_path / "seed2" / "checkpoints").go_back(2)  # as if it had not saved step 3 yet
    trained(tmp_path)
    for found, expected in zip(leaves_of(tmp_path), leaves_of(replicas), strict=True):
        assert_same_leaves(found, expected)


def test_one_that_diverges_does_not_stop_the_others(replicas, tmp_path, monkeypatch):
    read = Numbers.read

    def diverges(numbers):
        if numbers.latest and numbers._checkpoints.folder.parent.name == "seed1":
            raise DivergenceError("Training diverged in step 1: loss is nan.")
        read(numbers)

    monkeypatch.setattr(Numbers, "read", diverges)
    with pytest.raises(DivergenceError, match=r"1 of 3 replicas diverged.*seed1: Training div"):
        trained(tmp_path)
    for seed in (0, 2):
        assert_same_leaves(read_leaves(tmp_path / f"seed{seed}", 4), leaves_of(replicas)[seed])
    assert "loss is nan" in read_record(tmp_path / "seed1")["diverged"]
    assert not (tmp_path / "seed1" / "checkpoints" / "4").exists()
    assert trained(tmp_path, num_steps="6")  # the others go on without it
    assert (tmp_path / "seed2" / "checkpoints" / "6").exists()


def test_the_common_step_is_one_that_all_have(tmp_path):
    state = {"w": jnp.ones(3)}

    def run_with(name, steps):
        run = Run(tmp_path / name, dense_gan(), Mock(spec=DataCard))
        with run.checkpoints as checkpoints:
            for step in steps:
                checkpoints.save(step, state, {})
        return run

    assert common_step([run_with("a", []), run_with("b", [])], state) == 0
    runs = [run_with("c", [10, 20, 30]), run_with("d", [10, 20])]
    assert common_step(runs, state) == 20
    assert [run.checkpoints.steps() for run in runs] == [[20], [20, 10]]
    for name, ahead, behind in ("e", [10, 20, 30], [10]), ("f", [10], []):
        runs = [run_with(f"{name}1", ahead), run_with(f"{name}2", behind)]
        with pytest.raises(UserError, match="no step in common"):
            common_step(runs, state)


def test_what_replicas_cannot_be_is_told(replicas, tmp_path):
    with pytest.raises(UserError, match="keep_last is 1, but a kill may come between"):
        trained(tmp_path, keep_last=1)
    with pytest.raises(UserError, match=r"seed1 holds a run, and config.train.replicas is 3"):
        trained(replicas / "seed1")
    with pytest.raises(UserError, match="replicas is 3, but here runs are trained one by one"):
        run_cells([Cell("a", trained_config(replicas=3))], tmp_path)
    with pytest.raises(UserError, match=r"holds 3 replicas, .*such as .*seed0"):
        open_run(replicas)
