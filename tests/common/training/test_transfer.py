"""A run starts from the networks of another, as far as they fit, and says what it took."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.learning.network import NetworkState
from common.program.errors import UserError
from common.training.train import train
from common.training.transfer import transferred
from configs import dense_gan_mnist
from gan.task import make_task
from tests.checkpoint_leaves import read_leaves


def config_of(**changes):
    config = dense_gan_mnist.get_config("tiny")
    config.train.update(num_steps="1", picture_every="0", eval_every="0", **changes)
    config.model.generator.widths = config.model.discriminator.widths = (8, 8)
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 1e-2
    return config


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The workdir of a run of one step, and its state."""
    folder = tmp_path_factory.mktemp("transfer") / "earlier"
    assert train(config_of(), folder)
    return folder, read_leaves(folder, 1)


@pytest.fixture
def smaller():
    """The state of a run on smaller images at its start."""
    task = make_task(config_of(), DataCard("x", ("a",), {"train": 8}, 14, 1, "", False, 0))
    return task.init(jax.random.key(7))


def test_training_begins_where_the_other_run_ended(earlier, tmp_path, caplog):
    folder, expected = earlier
    config = config_of(init_from=str(folder))
    config.seed = 1
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 1e-12
    with caplog.at_level("INFO"):
        train(config, tmp_path / "later")
    assert f"starting from the networks of {folder} at step 1" in caplog.text
    found = read_leaves(tmp_path / "later", 1)
    compared = [name for name in expected if "params" in name or name.startswith("average")]
    assert len(compared) > 10
    for name in compared:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-9)


def test_what_fits_is_taken_and_the_rest_is_told(earlier, smaller, caplog):
    folder, expected = earlier
    with caplog.at_level("INFO"):
        found = transferred(smaller, str(folder))
    (of_run,) = [
        x for name, x in expected.items() if name.endswith("generator/params/dense_1/kernel")
    ]
    np.testing.assert_array_equal(found.generator.params["dense_1"]["kernel"], of_run)
    kernel, before = (x.generator.params["to_image"]["kernel"] for x in (found, smaller))
    np.testing.assert_array_equal(kernel, before)
    assert (
        "generator/params/to_image/kernel (8, 196) starts at random: it is (8, 784)" in caplog.text
    )
    assert "discriminator: 5 arrays taken, 1 not" in caplog.text
    jax.tree.map(
        np.testing.assert_array_equal, found.generator.opt_state, smaller.generator.opt_state
    )


@flax.struct.dataclass
class Other:
    """A state of another task."""

    network: NetworkState


def test_another_task_takes_the_network_that_fits_most(earlier, caplog):
    folder, expected = earlier
    layer = {"kernel": jnp.zeros((784, 8)), "bias": jnp.zeros(8)}
    state = Other(NetworkState({"dense_1": layer, "classes": {"kernel": jnp.ones((8, 2))}}, {}, ()))
    with caplog.at_level("INFO"):
        found = transferred(state, str(folder)).network.params
    (kernel,) = [
        x for name, x in expected.items() if name.endswith("discriminator/params/dense_1/kernel")
    ]
    np.testing.assert_array_equal(found["dense_1"]["kernel"], kernel)
    assert (found["classes"]["kernel"] == 1).all()
    assert "network: 2 arrays of discriminator taken" in caplog.text


def test_a_run_of_another_network_is_refused(earlier):
    state = Other(NetworkState({"conv": {"kernel": jnp.ones((3, 3, 1, 1))}}, {}, ()))
    with pytest.raises(UserError, match=r"no array of its networks .*generator, discriminator"):
        transferred(state, str(earlier[0]))


def test_a_folder_without_a_run_is_refused(smaller, tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        transferred(smaller, str(tmp_path))
