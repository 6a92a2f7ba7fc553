"""The GAN task: real images are augmented in training where the config says so, and only there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan.task
from common.data.augmentation import Augmentation
from common.data.prepared.prepared import DataCard
from common.data.transforms import augment, to_signed_unit
from common.devices.axis import AXIS
from common.learning.randomness import example_keys, step_key
from common.program.errors import UserError
from configs.acgan_covid import get_config
from gan.drawing import Generated
from gan.steps import AUGMENTATION

CARD = DataCard("test", ("COVID", "NonCOVID"), {"train": 8}, 16, 1, "0", False, 0)
RNG = step_key(jax.random.key(0), jnp.int32(5))
FLIPPED = {"flip_horizontal": True, "rotation": 10.0}


class StoppedError(Exception):
    """Ends a step with the real images that the discriminator is given."""


def task_of(**augmentation):
    config = get_config("tiny")
    config.augment.update(augmentation)
    return gan.task.make_task(config, CARD)


@pytest.fixture
def batch():
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), dtype=np.uint8)
    return {
        "image": jnp.asarray(images),
        "label": jnp.arange(8) % 2,
        "position": jnp.arange(8, 16),
        "valid": jnp.ones(8, bool),
    }


@pytest.fixture
def real_images(batch, monkeypatch):
    """Returns the real images of a training step that gets no further than the discriminator."""

    def stop(gan, state, images, *_):
        raise StoppedError(images)

    monkeypatch.setattr(
        gan.task, "draw_fakes", lambda *_: Generated(*[jnp.zeros(8)] * 3, None, None)
    )
    monkeypatch.setattr(gan.task, "discriminator_step", stop)

    def run(task):
        state = jax.eval_shape(task.init, jax.random.key(0))
        with pytest.raises(StoppedError) as seen:
            task.train_step(state, batch, RNG)
        return seen.value.args[0]

    return run


def test_without_augmentation_the_discriminator_sees_the_real_images_as_stored(real_images, batch):
    np.testing.assert_array_equal(real_images(task_of()), to_signed_unit(batch["image"]))


def test_augmentation_is_drawn_by_the_position_in_the_global_batch(real_images, batch):
    keys = example_keys(RNG, AUGMENTATION, batch["position"])
    expected = to_signed_unit(augment(batch, keys, Augmentation(**FLIPPED))["image"])
    seen = real_images(task_of(**FLIPPED))
    np.testing.assert_allclose(seen, expected)
    assert (seen != to_signed_unit(batch["image"])).any((1, 2, 3)).all()


def test_evaluation_is_the_same_program_with_and_without_augmentation(batch):
    def program(task):
        state = jax.eval_shape(task.init, jax.random.key(0))
        return str(jax.make_jaxpr(task.eval_step, axis_env=[(AXIS, 1)])(state, batch))

    assert program(task_of(**FLIPPED)) == program(task_of())


def test_half_a_batch_that_does_not_divide_by_the_devices_is_named(monkeypatch):
    config = get_config("tiny").unlock()
    config.optimizer.half_batches = True
    monkeypatch.setattr(gan.task.jax, "device_count", lambda: 8)
    with pytest.raises(UserError, match=r"batch_size is 8; half of it, 4, .* multiple of 16"):
        gan.task.make_task(config, CARD)
