"""The features of a frozen trunk, computed once: the same training, in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from classify import features
from classify.task import make_task
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from configs.vgg16_covid import get_config
from tests.classify.test_classify_task import over_devices, step, stepping

STAGES = 5
COUNT = 8


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def settings(cache, views):
    config = get_config("tiny")
    config.data.cache_dir = str(cache)
    config.optimizer.update(frozen=STAGES, accumulate=1)
    config.model.cached_views = views
    return config


def built(config):
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    state = task.init(jax.random.key(0))
    return task, state, task.prepare(prepared, state)


def batch_of(prepared, split="train"):
    examples = prepared.splits[split].read(range(COUNT))
    return {name: jnp.asarray(rows) for name, rows in examples.items()} | {
        "position": jnp.arange(COUNT, dtype=jnp.int32)
    }


def test_training_from_features_is_training_with_a_frozen_trunk(cache):
    results = []
    for views in (0, 1):
        task, state, prepared = built(settings(cache, views))
        batch = batch_of(prepared)
        assert ("features" in batch) == bool(views)
        advance = stepping(task)  # one function, so compiled once
        for _ in range(3):
            state, metrics = over_devices(advance, state, batch, 1)
        valid = {"valid": jnp.ones(COUNT, bool)}
        held_out = over_devices(task.eval_step, state, batch_of(prepared, "val") | valid, 1)
        results.append((state.network.params, metrics.compute(), held_out.compute()))
    for without, cached in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(cached, without, rtol=2e-4, atol=1e-5)


def test_the_first_view_is_the_image_and_the_others_are_augmented(cache):
    plain = built(settings(cache, 1))[2].splits["train"].read(range(COUNT))["features"]
    config = settings(cache, 3)
    config.augment.rotation = 20.0
    _, _, prepared = built(config)
    views = prepared.splits["train"].read(range(COUNT))["features"]
    assert plain.shape == (COUNT, 1, 32) and views.shape == (COUNT, 3, 32)
    np.testing.assert_allclose(views[:, 0], plain[:, 0], rtol=1e-5, atol=1e-6)
    assert all(np.abs(views[:, i] - views[:, j]).max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))
    assert prepared.splits["val"].read(range(COUNT))["features"].shape == (COUNT, 1, 32)


def test_a_step_draws_views_whatever_the_number_of_devices(cache):
    config = settings(cache, 3)
    config.augment.rotation = 20.0
    task, state, prepared = built(config)
    one, two = (step(task, state, batch_of(prepared), devices)[1].compute() for devices in (1, 2))
    first = {"features": batch_of(prepared)["features"][:, :1]}
    always_first = step(task, state, batch_of(prepared) | first)[1].compute()
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    assert abs(always_first["loss"] - one["loss"]) > 1e-6


def test_features_are_computed_once_for_the_same_images_weights_and_variation(cache, monkeypatch):
    config = settings(cache, 1)
    kept = built(config)[2].splits["train"].read(range(COUNT))["features"]

    class ComputedError(Exception):
        """The features were not taken from the cache."""

    def compute(*args):
        raise ComputedError

    monkeypatch.setattr(features, "_write", compute)
    config.optimizer.learning_rate = 0.5
    config.model.network.hidden = (3,)
    config.seed = 5
    again = built(config)[2].splits["train"].read(range(COUNT))["features"]
    np.testing.assert_array_equal(again, kept)
    with pytest.raises(ComputedError):
        other = settings(cache, 2)
        other.augment.rotation = 5.0
        built(other)
    task, state, _ = built(settings(cache, 1))
    moved = jax.tree.map(lambda leaf: leaf + 1e-3, state.network.params)
    state = state.replace(network=state.network.replace(params=moved))
    with pytest.raises(ComputedError):
        task.prepare(prepare(config.data), state)


def test_a_damaged_cache_is_recomputed_and_an_unwritable_one_is_reported(cache):
    config = settings(cache, 1)
    kept = built(config)[2].splits["val"].read([0])["features"]
    for file in cache.glob("features/*/*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(built(config)[2].splits["val"].read([0])["features"], kept)
    assert not list(cache.glob("features/.incomplete-*"))
    for file in cache.glob("features/*/*.npy"):
        content = bytearray(file.read_bytes())
        content[-3] ^= 64
        file.write_bytes(content)
    np.testing.assert_array_equal(built(config)[2].splits["val"].read([0])["features"], kept)
    _, state, _ = built(config)
    elsewhere = settings(cache, 1)
    elsewhere.data.cache_dir = str(cache / "full")
    (cache / "full").mkdir()
    (cache / "full" / "features").write_text("")
    with pytest.raises(UserError, match=r"can't be written: .* another --config\.data\.cache_dir"):
        make_task(elsewhere, prepare(config.data).card).prepare(prepare(config.data), state)


def test_normalisation_of_a_frozen_trunk_is_that_of_its_features(cache):
    """BatchNorm that never learns keeps its statistics: cached or not, the loss is the same."""
    losses = []
    for views in (0, 1):
        config = settings(cache, views)
        config.model.name = "small_cnn"
        with config.unlocked():
            config.model.network = {"width": 4}
        config.optimizer.frozen = 4
        task, state, prepared = built(config)
        after, metrics = step(task, state, batch_of(prepared))
        losses.append(metrics.compute()["loss"])
        for old, new in zip(
            *(jax.tree.leaves(s.network.batch_stats) for s in (state, after)), strict=True
        ):
            np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("optimizer", "frozen", STAGES - 1, "frozen=5"),
        ("optimizer", "unfreeze_every", "1 epochs", "unfreeze_every=0"),
        ("loss", "mixup", 0.2, "config.loss.mixup blends images"),
        ("model", "cached_views", 2, "so all views would be equal"),
        ("augment", "rotation", 5.0, "each image as it is"),
    ],
)
def test_features_that_training_would_change_are_not_cached(cache, section, name, value, said):
    config = settings(cache, 1)
    config[section][name] = value
    prepared = prepare(config.data)
    with pytest.raises(UserError, match=said):
        make_task(config, prepared.card)
