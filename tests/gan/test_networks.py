"""The networks have the parameters that the original descriptions count."""

import jax
import pytest
from clu import parameter_overview
from ml_collections import ConfigDict

from common.data.prepared import DataCard
from common.errors import UserError
from configs.acgan_covid import get_config
from gan.networks import make_networks
from gan.state import init_state, make_gan


def card(image_size, channels=1, classes=("COVID", "NonCOVID")):
    return DataCard("test", classes, {"train": 8}, image_size, channels, "0", False, 0)


@pytest.mark.parametrize(
    ("image_size", "generator", "discriminator"),
    [(64, 3_533_001, 128_643), (256, 53_176_521, 515_715)],
)
def test_acgan_parameter_counts(image_size, generator, discriminator):
    of_data = card(image_size)
    gan = make_gan(get_config(), of_data)
    state = jax.eval_shape(lambda: init_state(gan, of_data, jax.random.key(0)))
    count = parameter_overview.count_parameters
    assert count(state.generator.variables) == generator
    assert count(state.discriminator.variables) == discriminator


@pytest.mark.parametrize("image_size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [1, 2, 10])
def test_acgan_follows_the_data_by_construction(image_size, channels, num_classes):
    of_data = card(image_size, channels, tuple("abcdefghij"[:num_classes]))
    gan = make_gan(get_config(), of_data)

    def images():
        state = init_state(gan, of_data, jax.random.key(0))
        latents, labels = jax.numpy.zeros((5, gan.latent_size)), jax.numpy.zeros(5, int)
        generator, discriminator = gan.networks
        drawn = generator.apply(state.generator.variables, latents, labels, train=False)
        return drawn, discriminator.apply(state.discriminator.variables, drawn, train=False)

    drawn, judged = jax.eval_shape(images)
    assert drawn.shape == (5, image_size, image_size, channels)
    assert judged.logits.shape == (5,)
    assert judged.class_logits.shape == (5, num_classes)


def test_an_unknown_network_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"'acgam'.*acgan"):
        make_networks(ConfigDict({"name": "acgam"}), card(64))


def test_an_unknown_setting_of_a_network_is_named():
    model = ConfigDict({"name": "acgan", "generator": {"latents": 3}})
    with pytest.raises(UserError, match=r"config.model.generator.*latents"):
        make_networks(model, card(64))


def test_a_size_that_upsampling_cannot_reach_is_refused():
    of_data = card(50)
    gan = make_gan(get_config(), of_data)
    with pytest.raises(UserError, match="multiple of 4"):
        init_state(gan, of_data, jax.random.key(0))
