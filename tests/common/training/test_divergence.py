"""A state that is not finite stops training, is never saved or used, and a mended run goes on."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from common.devices import placement
from common.learning.network import SupervisedState
from common.program.errors import DivergenceError, UserError
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import read_record
from common.training.finite import Watch, check_finite
from common.training.train import train
from configs import toy_gan_1d, unet_brain_mri


def state_of(**batch_stats):
    variables = {
        "params": {"dense": {"kernel": jnp.arange(12.0).reshape(3, 4), "bias": jnp.ones(4)}},
        "batch_stats": {"norm": {"mean": jnp.zeros(4), "var": jnp.ones(4), **batch_stats}},
    }
    return SupervisedState.create(variables, optax.adam(1.0))


class TestWatch:
    def read(self, state):
        watch = Watch(state)
        return watch.read(watch.look(placement.replicate(state)))

    def test_a_sound_state_has_the_norm_of_its_parameters(self):
        norms, bad = self.read(state_of())
        expected = np.sqrt((np.arange(12.0) ** 2).sum() + 4)
        assert norms == {"network_weight_norm": pytest.approx(expected, rel=1e-6)}
        assert bad == ""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_first_array_that_is_not_finite_is_named_with_its_network(self, value):
        _, bad = self.read(state_of(var=jnp.array([1.0, 1.0, value, 1.0])))
        assert bad == "network/batch_stats/norm/var"

    def test_moments_of_the_optimizer_and_averages_count(self):
        state = state_of()
        adam, *rest = state.network.opt_state
        moments = (adam._replace(nu=jax.tree.map(lambda x: x + jnp.inf, adam.nu)), *rest)
        broken = replace(state, network=replace(state.network, opt_state=moments))
        assert self.read(broken)[1].startswith("network/opt_state/0/nu/")
        average = jax.tree.map(lambda x: x * jnp.nan, state.average)
        assert self.read(replace(state, average=average))[1].startswith("average/")


def test_the_sentence_names_the_array_the_metrics_and_how_to_go_on():
    values = {"train/loss": float("nan"), "train/accuracy": 0.5}
    with pytest.raises(DivergenceError) as raised:
        check_finite(values, 10, 20, bad="generator/params/x", saved=lambda: 8)
    said = str(raised.value)
    assert "between steps 11 and 20: generator/params/x is not finite, train/loss is nan" in said
    assert "checkpoint of step 8 with --allow_config_change" in said
    with pytest.raises(DivergenceError, match=r"in step 20: train/loss is nan\. .* start again"):
        check_finite(values, 19, 20)


class TestCheckpoints:
    @pytest.fixture
    def folder(self, tmp_path):
        with Checkpoints(tmp_path, keep_last=2) as checkpoints:
            for step, number in ((10, 1.0), (20, np.inf)):
                checkpoints.save(step, {"x": np.array([1.0, number], np.float32)}, {})
        return tmp_path

    def test_the_one_before_is_used_and_the_log_says_why(self, folder, caplog):
        step, _ = Checkpoints(folder).best({"x": np.zeros(2, np.float32)})
        assert step == 10
        assert "step 20" in caplog.text and "x is not finite" in caplog.text

    def test_training_goes_on_from_the_one_before(self, folder):
        assert Checkpoints(folder).newest_sound_step({"x": np.zeros(2, np.float32)}) == 10
        assert (folder / "damaged-20").is_dir()

    def test_where_all_are_not_it_is_refused(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(3, {"x": np.full(2, np.nan, np.float32)}, {})
        with pytest.raises(UserError, match="step 3: x is not finite: the training had diverged"):
            Checkpoints(tmp_path).best({"x": np.zeros(2, np.float32)})


def settings(config, **changed):
    config = ConfigDict(config.to_dict())
    config.train.update(
        num_steps="4", checkpoint_every="1", log_every="1", picture_every="0", eval_every="0"
    )
    config.train.best_metric = ""
    config.update_from_flattened_dict({name.replace("__", "."): x for name, x in changed.items()})
    return config


SAID = r"in step (1|2|3|4): {}\S* is not finite"


def saved_steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*"))


def test_a_gan_stops_keeps_what_was_good_and_goes_on_with_a_mended_rate(tmp_path, caplog):
    broken = settings(toy_gan_1d.get_config("tiny"), optimizer__discriminator_steps=1)
    broken.optimizer.generator.update(learning_rate=1e30, warmup="3", decay="none")
    with pytest.raises(DivergenceError, match=SAID.format("(generator|discriminator)/")):
        train(broken, tmp_path)
    good = saved_steps(tmp_path)
    assert good == [1]  # the first update of a warm-up moves nothing
    mended = ConfigDict(broken.to_dict())
    mended.optimizer.generator.learning_rate = 1e-3
    with pytest.raises(UserError, match=r"learning_rate \(1e\+30 there, 0.001 now\).*--allow_co"):
        train(mended, tmp_path)
    train(mended, tmp_path, allow_change=True)
    assert "optimizer.generator.learning_rate (1e+30 there, 0.001 now)" in caplog.text
    assert saved_steps(tmp_path)[-1] == 4
    record = read_record(tmp_path)
    assert record["config_changes"] == (
        {"step": 1, "settings": {"optimizer.generator.learning_rate": [1e30, 1e-3]}},
    )
    fields = json.loads((tmp_path / "config.json").read_text())
    assert fields["optimizer"]["generator"]["learning_rate"] == 1e-3
    train(mended, tmp_path)  # it is this config's now
    assert read_record(tmp_path)["config_changes"] == record["config_changes"]


@pytest.mark.slow
def test_infinite_weights_behind_a_finite_loss_stop_a_segmentation_network(tmp_path):
    config = settings(unet_brain_mri.get_config("tiny"), optimizer__learning_rate=1e6)
    with pytest.raises(DivergenceError, match=SAID.format("network/")):
        train(config, tmp_path)
    assert saved_steps(tmp_path) == [1]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            optax.sgd(1.0),
            r"another optimizer \(network/opt_state/0/count: int32 \[\] there, none now",
        ),
        (
            None,
            r"other networks \(average/batch_stats/norm/mean: float32 \[4\] there, float32 \[5\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_settings_says_where(tmp_path, other, expected):
    state = jax.tree.map(np.asarray, state_of())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
    if other:
        like = SupervisedState.create(state.network.variables, other)
    else:
        like = jax.tree.map(lambda x: np.ones(5, x.dtype) if x.shape == (4,) else x, state)
    with pytest.raises(UserError, match=f"belongs to {expected}"):
        Checkpoints(tmp_path).restore(1, like)
