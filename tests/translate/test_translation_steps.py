"""One step of each way of training: what it minimises, who moves, and what does not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.data.transforms import to_signed_unit
from common.devices.axis import AXIS
from common.program.errors import UserError
from configs import cyclegan_brain_mri, pix2pix_brain_mri
from translate.cyclegan import generators_step
from translate.pix2pix import generator_step
from translate.steps import translate, translated
from translate.task import make_task

BATCH, SIZE = 4, 24
CARD = DataCard("test", ("a",), {"train": 8}, SIZE, 1, "0", False, 0, has_targets=True)
RNG = np.random.default_rng(0)
CONFIGS = {"pix2pix": pix2pix_brain_mri, "cyclegan": cyclegan_brain_mri}


def task_of(name, card=CARD, **model):
    config = CONFIGS[name].get_config("tiny")
    config.data.batch_size = BATCH
    config.model.update(width=2, depth=2, blocks=0, patch_width=2, pool_size=2, average_decay=0.0)
    config.model.update(model)
    return make_task(config, card)


def batch():
    pixels = (BATCH, SIZE, SIZE, 1)
    return {
        "image": jnp.asarray(RNG.integers(0, 256, pixels), jnp.uint8),
        "target": jnp.asarray(RNG.integers(0, 256, pixels), jnp.uint8),
        "label": jnp.zeros(BATCH, jnp.int32),
        "position": jnp.arange(BATCH, dtype=jnp.int32),
    }


def new_state(task):
    return jax.jit(task.init)(jax.random.key(0))


def alone(function):
    """Runs a function of the parallel step on one device."""

    def call(*args):
        mapped = jax.vmap(lambda _: function(*args), axis_name=AXIS)
        return jax.tree.map(lambda x: x[0], mapped(jnp.zeros(1)))

    return jax.jit(call)


def moved(before, after):
    """Returns which parts of a state have other parameters."""
    parts = ("generator", "discriminator", "back_generator", "back_discriminator")
    return {
        name
        for name in parts
        if hasattr(before, name)
        and any(
            (old != new).any()
            for old, new in zip(
                jax.tree.leaves(getattr(before, name).params),
                jax.tree.leaves(getattr(after, name).params),
                strict=True,
            )
        )
    }


def apart(one, other):
    return np.abs(np.asarray(one) - np.asarray(other)).mean((1, 2, 3))


def sides():
    both = batch()
    return to_signed_unit(both["image"]), to_signed_unit(both["target"])


def test_the_generator_of_pairs_minimises_its_error_and_what_gives_it_away():
    task, (images, targets) = task_of("pix2pix"), sides()
    state = new_state(task)
    after, found, outputs = alone(lambda s, x, y: generator_step(task, s, x, y))(
        state, images, targets
    )
    l1 = apart(found, targets)
    np.testing.assert_allclose(2 * outputs["l1"], l1, rtol=1e-5)
    total = outputs["generator_adversarial_loss"] + 100 * l1
    np.testing.assert_allclose(outputs["generator_loss"], total, rtol=1e-5)
    # Least squares toward 1, over patches; here one patch, whose logit is D.
    squared = 0.5 * (outputs["generator_output_fake"] - 1) ** 2
    np.testing.assert_allclose(outputs["generator_adversarial_loss"], squared, rtol=1e-4)
    assert moved(state, after) == {"generator"}


def test_the_generators_without_pairs_bring_images_back_and_leave_the_others_alone():
    task, (images, targets) = task_of("cyclegan"), sides()
    state, translator = new_state(task), task.translator

    def look(s, x, y):
        found, same = (translated(translator, s.generator.params, {}, z)[0] for z in (x, y))
        returned = translated(translator, s.back_generator.params, {}, found)[0]
        return generators_step(translator, s, x, y), found, returned, same

    (after, shown, _, outputs), found, returned, same = alone(look)(state, images, targets)
    np.testing.assert_allclose(shown, found, atol=1e-6)
    cycle, identity = apart(returned, images), apart(same, targets)
    np.testing.assert_allclose(2 * outputs["cycle_l1"], cycle, rtol=1e-4)
    np.testing.assert_allclose(2 * outputs["identity_l1"], identity, rtol=1e-4)
    total = outputs["generator_adversarial_loss"] + 5 * cycle + 2.5 * identity
    np.testing.assert_allclose(outputs["generator_loss"], total, rtol=1e-4)
    assert moved(state, after) == {"generator", "back_generator"}


@pytest.mark.slow  # test_pool.py has the only thing that devices share besides gradients
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_moves_everyone_and_does_not_depend_on_the_number_of_devices(name):
    task, examples, rng = task_of(name), batch(), jax.random.key(1)
    state, results = new_state(task), []
    for devices in (1, 4):
        spread = jax.tree.map(lambda x, d=devices: x.reshape(d, -1, *x.shape[1:]), examples)
        step = jax.vmap(lambda s, b: task.train_step(s, b, rng), (None, 0), axis_name=AXIS)
        results.append(jax.tree.map(lambda x: x[0], jax.jit(step)(state, spread)))
    (one, one_metrics), (four, four_metrics) = results
    for key, value in one_metrics.compute().items():
        np.testing.assert_allclose(four_metrics.compute()[key], value, rtol=1e-4, err_msg=key)
    for path, leaf in jax.tree.leaves_with_path(one):
        other = dict(jax.tree.leaves_with_path(four))[path]
        # Adam makes a full step, 2e-4, of a gradient that is zero but for rounding.
        np.testing.assert_allclose(other, leaf, rtol=1e-4, atol=5e-4, err_msg=str(path))
    names = {"generator", "discriminator"}
    if name == "cyclegan":
        names |= {f"back_{part}" for part in names}
        assert one.pool.filled == one.back_pool.filled == 2
    assert moved(state, one) == names


@pytest.mark.parametrize(
    ("name", "card", "sentence"),
    [
        ("pix2pix", {"has_targets": False}, "learns from pairs, but the images of test have no"),
        ("cyclegan", {"has_targets": False}, "between two kinds of images, but test has one (a)"),
        ("pix2pix", {"image_size": 20}, "multiples of 2 from 24 on, such as"),
        ("cyclegan", {"image_size": 30}, "multiples of 4 from 24 on, such as"),
    ],
)
def test_data_that_can_not_be_translated(name, card, sentence):
    fields = {**CARD.to_dict(), **card}
    with pytest.raises(UserError) as raised:
        task_of(name, DataCard.from_dict(fields))
    assert sentence in str(raised.value)


@pytest.mark.parametrize("generator", ["unet", "residual"])
def test_a_difference_is_added_to_the_image_and_begins_at_none(generator):
    task, (images, _) = task_of("pix2pix", generator=generator, difference=True), sides()
    translator, network = task.translator, new_state(task).generator
    found, _ = alone(lambda x: translated(translator, network.params, network.batch_stats, x))(
        images
    )
    np.testing.assert_array_equal(found, images)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.5 if "output" in str(path) and leaf.ndim == 1 else leaf,
        network.params,
    )
    variables = {"params": params, "batch_stats": network.batch_stats}
    np.testing.assert_allclose(
        translate(translator, variables, images), np.clip(images + 0.5, -1, 1), rtol=1e-6
    )
