"""Many steps in one dispatch are the same steps as one at a time, wherever they are cut."""

from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from common.config.defaults import RunSettings
from common.data.prepared.prepared import DataCard
from common.data.settings import DataSettings
from common.devices import placement
from common.learning.network import NetworkState, updated
from common.program.memory import low_memory_options
from common.scores import metrics
from common.training import dispatch
from common.training.feed import Order, ResidentFeed
from common.training.task import Batches, Task, new_state
from tests.memory_split import split_of


@struct.dataclass
class CounterState:
    step: jax.Array
    total: jax.Array
    noise: jax.Array


class Counter(Task[CounterState]):
    """A task small enough to see through: it sums what it is shown, and some noise."""

    def init(self, rng):
        return CounterState(jnp.int32(0), jnp.float32(0), jnp.float32(0))

    def train_step(self, state, batch, rng):
        shown = jax.lax.psum(batch["image"].astype(jnp.float32).sum(), "batch")
        noise = jax.random.normal(rng)
        new = CounterState(state.step + 1, state.total * 0.5 + shown, state.noise * 0.5 + noise)
        return new, metrics.averages({"shown": shown, "position": batch["position"] * 1.0})

    def eval_step(self, state, batch):
        raise NotImplementedError

    def pictures(self, state, examples):
        raise NotImplementedError


def make_split(num):
    label = np.int32(0)
    return split_of(
        [{"image": np.full((1, 1, 1), i, np.uint8), "label": label} for i in range(num)]
    )


def train(monkeypatch, max_steps, cuts, *, low_memory=False):
    monkeypatch.setattr(dispatch, "max_steps_per_dispatch", lambda: max_steps)
    task = Counter(RunSettings(data=DataSettings(batch_size=4)), Mock(spec=DataCard))
    feed = ResidentFeed(Order(make_split(11), Batches(1, 4), [0], shuffle=True))
    stand_in = placement.stand_in(jax.eval_shape(task.init, jax.random.key(0)))
    block = feed.example_block()
    advance = dispatch.compile_advance(task, [0], stand_in, block, low_memory=low_memory)
    state = placement.place(new_state(task, 0))
    total, step = advance.empty_metrics(), 0
    for count in cuts:
        state, total, done = advance.run(state, total, feed.block(step, count))
        step += count
        assert int(done[0]) == step
    return placement.to_host(state), placement.to_host(total).compute()


@pytest.mark.parametrize(
    ("max_steps", "cuts"),
    [(7, [7]), (5, [5, 2]), pytest.param(5, [2, 1, 4], marks=pytest.mark.slow)],
)
def test_the_loop_inside_the_program_is_the_loop_outside(monkeypatch, max_steps, cuts):
    state, logged = train(monkeypatch, max_steps, cuts)
    expected, expected_log = train(monkeypatch, 1, [1] * 7)
    assert state.step == expected.step == 7
    np.testing.assert_allclose(state.total, expected.total, rtol=1e-6)
    np.testing.assert_allclose(state.noise, expected.noise, rtol=1e-6)
    np.testing.assert_allclose(logged["shown"], expected_log["shown"], rtol=1e-6)
    assert logged["position"] == 1.5  # of positions 0, 1, 2, 3 in every step


def test_a_stand_in_takes_no_memory():
    like = jax.ShapeDtypeStruct((2**40,), jnp.float32)
    assert placement.stand_in(like).shape == (jax.local_device_count(), 2**40)


def test_a_program_for_less_memory_makes_the_same_steps(monkeypatch):
    state, logged = train(monkeypatch, 1, [1] * 7, low_memory=True)
    expected, expected_log = train(monkeypatch, 1, [1] * 7)
    np.testing.assert_allclose(state.total, expected.total, rtol=1e-6)
    np.testing.assert_allclose(state.noise, expected.noise, rtol=1e-6)
    assert logged.keys() == expected_log.keys()


def test_less_memory_is_asked_for_on_cpus_alone(monkeypatch):
    assert low_memory_options()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert low_memory_options() == {}


def compiler(monkeypatch, max_steps, split):
    """Returns seed -> the dispatch of a counter on this split, compiled."""
    monkeypatch.setattr(dispatch, "max_steps_per_dispatch", lambda: max_steps)
    task = Counter(RunSettings(data=DataSettings(batch_size=4)), Mock(spec=DataCard))
    feed = ResidentFeed(Order(split, Batches(1, 4), [0], shuffle=True))
    state = placement.place(new_state(task, 0))
    return lambda seed: dispatch.compile_advance(task, [seed], state, feed.example_block())


def test_memory_and_work_of_the_program_are_known(monkeypatch):
    compiled = compiler(monkeypatch, 1, make_split(4))
    advance = compiled(0)
    assert advance.temporary_bytes >= 0 and advance.flops() > 0
    assert advance.metric_names == ("position", "shown")


def test_another_seed_finds_the_program_compiled(monkeypatch):
    compiled = compiler(monkeypatch, 1, make_split(4))
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        for seed in (0, 2**40):
            events.clear()
            compiled(seed)
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events


def addresses(tree):
    return [x.addressable_data(0).unsafe_buffer_pointer() for x in jax.tree.leaves(tree)]


def test_a_step_overwrites_a_state_that_was_placed():
    state = {"a": np.ones((300, 400), np.float32), "b": np.ones(7, np.float32)}
    placed = placement.place(state)
    before = addresses(placed)
    step = jax.pmap(lambda x: jax.tree.map(lambda y: y + 1, x), donate_argnums=0)
    after = step(placed)
    assert addresses(after) == before
    assert (state["a"] == 1).all() and (after["a"] == 2).all()


@pytest.mark.parametrize("most", [1, 1500, 2**30])
def test_a_state_is_placed_in_groups_and_given_up(monkeypatch, most):
    monkeypatch.setattr(placement, "_PLACED_AT_ONCE", most)
    given = {"a": jnp.arange(300.0), "b": np.arange(7), "c": jnp.ones((4, 5)), "d": jnp.int32(3)}
    given["e"] = given["a"]
    expected = jax.tree.map(np.array, given)
    placed = placement.to_host(placement.place(given))
    jax.tree.map(np.testing.assert_array_equal, placed, expected)
    assert [given[name].is_deleted() for name in "acde"] == [True] * 4
    assert (given["b"] == expected["b"]).all()


def test_an_update_overwrites_moments_and_parameters():
    """Beside the state it needs the gradient and its square, not copies of what it replaces."""
    optimizer = optax.adam(1e-3)
    network = NetworkState.create({"params": {"kernel": jnp.ones((512, 512))}}, optimizer)

    def step(network, x):
        gradients = {"kernel": x.T @ x}
        return updated(network, optimizer, gradients, {})

    args = placement.place(network), placement.replicate(np.ones((64, 512), np.float32))
    compiled = jax.pmap(step, "batch", donate_argnums=0).lower(*args).compile()
    of_parameters = 512 * 512 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < 2.5 * of_parameters
