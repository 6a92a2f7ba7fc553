"""A network is trained without labels, and classifiers and U-Nets start from its trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from classify.networks import make_network
from common.config.defaults import check
from common.config.tasks import rules_of
from common.data.prepared.prepared import DataCard, Prepared
from common.devices.axis import AXIS
from common.program.errors import UserError
from common.training.task import Pairs
from common.training.task import make_task as make_any_task
from common.training.transfer import transferred
from configs import pretrain_covid, small_cnn_chest_xray, unet_brain_mri
from pretrain.config import PretrainModel
from pretrain.nearest import nearest, votes
from pretrain.network import PretrainedNetwork
from pretrain.patients import all_with_patients
from pretrain.task import make_task
from tests.memory_split import split_of
from tests.untrained import untrained

CARD = DataCard("test", ("a", "b"), {"train": 16}, 16, 1, "0", False, 0, class_counts=(8, 8))
PAIRS = 8
RNG = np.random.default_rng(0)


def settings(**loss):
    config = pretrain_covid.get_config("tiny").unlock()
    config.data.update(image_size=16, batch_size=PAIRS)
    config.loss.update(**loss)
    return config


def batch_of(number=2 * PAIRS):
    return {
        "image": jnp.asarray(RNG.integers(0, 256, (number, 16, 16, 1)), jnp.uint8),
        "label": jnp.full(number, -1, jnp.int32),
        "patient": jnp.arange(number, dtype=jnp.int32) % 5,
        "position": jnp.arange(number, dtype=jnp.int32),
    }


def over_devices(function, state, batch, devices):
    spread = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    program = jax.jit(jax.vmap(function, (None, 0), axis_name=AXIS))
    return jax.tree.map(lambda x: x[0], program(state, spread))


@pytest.mark.slow  # that the losses do not is a test of test_pretrain_losses.py
@pytest.mark.parametrize("name", ["vicreg", "simclr"])
def test_a_step_does_not_depend_on_the_number_of_devices(name):
    task = make_task(settings(name=name), CARD)
    state, batch = task.init(jax.random.key(0)), batch_of()

    def step(state, batch):
        return task.train_step(state, batch, jax.random.key(1))

    one, metrics = over_devices(step, state, batch, 1)
    # A device's share is its share of the images, then of their partners.
    order = np.arange(2 * PAIRS).reshape(2, 4, -1).swapaxes(0, 1).ravel()
    four, of_four = over_devices(step, state, {k: x[order] for k, x in batch.items()}, 4)
    for term, value in metrics.compute().items():
        np.testing.assert_allclose(of_four.compute()[term], value, rtol=1e-4, err_msg=term)
    jax.tree.map(
        lambda left, right: np.testing.assert_allclose(left, right, atol=1e-5),
        four.network.batch_stats,
        one.network.batch_stats,
    )


def test_a_step_takes_pairs_or_two_views_of_each_image():
    pairs, alone = (
        make_task(settings(positives=name), CARD).batches for name in ("patient", "image")
    )
    assert isinstance(pairs, Pairs) and pairs == (2, PAIRS)
    assert not isinstance(alone, Pairs) and alone == (1, PAIRS)


@pytest.mark.slow
def test_held_out_images_have_the_same_loss_whenever_it_is_measured():
    task = make_task(settings(), CARD)
    state = task.init(jax.random.key(0))
    batch = batch_of(PAIRS) | {"valid": jnp.arange(PAIRS) < 6}
    one, two = (over_devices(task.eval_step, state, batch, devices).compute() for devices in (1, 2))
    assert one.keys() == {"loss", "invariance", "variance", "covariance"}
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-4, err_msg=name)


def test_examples_say_whose_they_are():
    rows = [{"image": np.zeros((1, 1, 1), np.uint8), "label": np.int32(0)}] * 4
    split = split_of(rows)
    object.__setattr__(split, "groups", ("x", "", "x", ""))
    found = all_with_patients(Prepared(CARD, {"train": split})).splits["train"]
    one, two, again, other = found.read(range(4))["patient"].tolist()
    assert one == again and len({one, two, other}) == 3
    assert found.owners == split.owners


def test_without_its_head_a_network_gives_what_the_head_would_see():
    images = jnp.asarray(RNG.random((2, 16, 16, 1)), jnp.float32)
    model = PretrainModel.of(settings().model)
    whole, trunk = make_network(model, 3), make_network(model, 0)

    @jax.jit
    def both():
        variables = whole.init(jax.random.key(0), images, train=False)
        _, kept = whole.apply(variables, images, train=False, mutable=["intermediates"])
        seen = kept["intermediates"]["features"][0]
        return trunk.apply(variables, images, train=False), seen, variables["params"]

    features, seen, params = both()
    np.testing.assert_array_equal(features, seen)
    init = PretrainedNetwork(trunk, (4, 3)).init
    made = jax.eval_shape(lambda: init(jax.random.key(0), images, train=True))["params"]
    assert made.keys() == {*params} - {"classes"} | {"projector"}


CLASSIFIER = small_cnn_chest_xray.get_config("tiny").unlock()
UNET = unet_brain_mri.get_config("tiny").unlock()
UNET.model.update(encoder="dcgan", input="signed", width=4, depth=3)


@pytest.mark.parametrize(
    ("config", "network", "taken"),
    [
        pytest.param(CLASSIFIER, "small_cnn", "level_0_conv", id="classifier"),
        pytest.param(UNET, "dcgan", "halve_1", id="U-Net"),
    ],
)
def test_another_run_starts_from_the_trunk_alone(config, network, taken, tmp_path, caplog):
    earlier = settings()
    earlier.model.name = network
    run = untrained(earlier, tmp_path / "earlier")
    card = DataCard.from_dict({**CARD.to_dict(), "mask_classes": ("background", "tumour")})
    task = make_any_task(config, card)
    before = jax.eval_shape(task.init, jax.random.key(1))
    before = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), before)
    with caplog.at_level("INFO"):
        after = transferred(before, str(run.workdir))
    _, source = run.best_state(jax.eval_shape(make_task(earlier, run.card).init, jax.random.key(0)))
    np.testing.assert_array_equal(
        after.network.params[taken]["kernel"], source.network.params[taken]["kernel"]
    )
    assert "network/params/projector/dense_1/kernel is left there" in caplog.text
    if network == "small_cnn":
        assert "network/params/classes/kernel (32, 2) starts at random" in caplog.text
        assert not after.network.params["classes"]["kernel"].any()


def test_the_nearest_vote_by_their_likeness_and_nobody_for_themselves():
    known = np.eye(3, dtype=np.float32)
    images = np.array([[0.8, 0.6, 0.0]], np.float32)
    found = nearest(images, known, 2)
    np.testing.assert_array_equal(found.places, [[0, 1]])
    share = 1 / (1 + np.exp(-0.2 / 0.07))
    shown = np.array([[True, False], [False, True], [False, True]])
    np.testing.assert_allclose(votes(found, shown), [[share, 1 - share]], rtol=1e-5)
    owners = np.array([7]), np.array([7, 1, 2])
    np.testing.assert_array_equal(nearest(images, known, 1, owners).places, [[1]])


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("loss", "name", "byol", "must be 'vicreg' or 'simclr'"),
        ("loss", "positives", "class", "must be 'patient' or 'image'"),
        ("loss", "temperature", 0.0, "must be a number above 0"),
        ("model", "projector", (0,), "each entry a whole number from 1"),
    ],
)
def test_invalid_settings_are_told(section, name, value, said):
    config = settings()
    config[section][name] = value
    with pytest.raises(UserError, match=said):
        check(config, rules_of("pretrain"))


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [("data", "batch_size", 1, "make it 2 or more"), ("model", "projector", (), "is empty")],
)
def test_so_are_those_that_leave_nothing_to_compare(section, name, value, said):
    config = settings()
    config[section][name] = value
    with pytest.raises(UserError, match=said):
        make_task(config, CARD)
