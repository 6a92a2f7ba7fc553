"""The networks have the parameters that the original descriptions count."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import parameter_overview

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from gan.config import GANModel, GANSettings
from gan.networks import acgan, dcgan, make_networks
from gan.state import init_state, make_gan
from tests.combinations import combinations


def card(image_size, channels=1, classes=("COVID", "NonCOVID")):
    return DataCard("test", classes, {"train": 8}, image_size, channels, "0", False, 0)


CONFIGS = ("acgan_covid", "dcgan_chest_xray", "cnn_gan_chest_xray", "dense_gan_mnist")


def config_of(name):
    return importlib.import_module(f"configs.{name}").get_config()


def counts(name, image_size, channels, of="variables"):
    """Returns how many parameters both players have, without making them."""
    of_data = card(image_size, channels)
    gan = make_gan(GANSettings.of(config_of(name)), of_data)
    state = jax.eval_shape(lambda: init_state(gan, of_data, jax.random.key(0)))
    return tuple(
        parameter_overview.count_parameters(getattr(player, of))
        for player in (state.generator, state.discriminator)
    )


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "generator", "discriminator"),
    [
        ("acgan_covid", 64, 1, 3_533_001, 128_643),
        ("acgan_covid", 256, 1, 53_176_521, 515_715),
        ("dense_gan_mnist", 28, 1, 1_493_520, 533_505),
        ("dense_gan_chest_xray", 200, 3, 248_650_432, 123_537_409),
        ("cnn_gan_chest_xray", 200, 3, 83_724_547, 247_905),
        ("cnn_gan_sunflower", 200, 3, 83_724_547, 247_905),
    ],
)
def test_parameter_counts_with_moving_statistics(
    name, image_size, channels, generator, discriminator
):
    assert counts(name, image_size, channels) == (generator, discriminator)


def test_trainable_parameters_of_the_dcgan():
    assert counts("dcgan_chest_xray", 64, 3, of="params") == (3_576_704, 2_765_568)


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "num_classes"),
    combinations(CONFIGS, [28, 32, 64, 128, 200, 256], [1, 3], [1, 10]),
)
def test_networks_follow_the_data_by_construction(name, image_size, channels, num_classes):
    of_data = card(image_size, channels, tuple("abcdefghij"[:num_classes]))
    gan = make_gan(GANSettings.of(config_of(name)), of_data)

    def images():
        state = init_state(gan, of_data, jax.random.key(0))
        latents, labels = jnp.zeros((5, gan.latent_size)), jnp.zeros(5, int)
        generator, discriminator = gan.networks
        drawn = generator.apply(state.generator.variables, latents, labels, train=False)
        return drawn, discriminator.apply(state.discriminator.variables, drawn, labels, train=False)

    drawn, decided = jax.eval_shape(images)
    assert drawn.shape == (5, image_size, image_size, channels)
    assert decided.logits.shape == (5,)
    if gan.conditional:
        assert decided.class_logits.shape == (5, num_classes)
    else:
        assert decided.class_logits is None


@pytest.mark.parametrize("name", CONFIGS)
def test_images_of_both_modes_lie_between_minus_one_and_one(name):
    of_data = card(32, 3)
    config = config_of(name)
    gan = make_gan(GANSettings.of(config), of_data)
    state = jax.jit(partial(init_state, gan, of_data))(jax.random.key(0))
    generator = gan.networks.generator
    if "axis_name" in generator.__dataclass_fields__:
        generator = generator.clone(axis_name="")
    latents = jax.random.normal(jax.random.key(1), (4, gan.latent_size))
    keys = jax.random.split(jax.random.key(2), 4)
    draw = jax.jit(partial(generator.apply, mutable=["batch_stats"]), static_argnames="train")
    for train in (False, True):
        drawn, _ = draw(
            state.generator.variables,
            latents,
            jnp.zeros(4, int),
            train=train,
            dropout_keys=keys if train else None,
        )
        assert float(abs(drawn).max()) <= 1
        assert float(drawn.std(axis=0).mean()) > 1e-4  # another latent, another image


def test_the_dcgan_starts_as_the_paper_says():
    """Weights from N(0, 0.02), the scale of BatchNorm from N(1, 0.02), no biases but its own."""
    of_data = card(64, 3)
    gan = make_gan(GANSettings.of(config_of("dcgan_chest_xray")), of_data)
    params = jax.jit(partial(init_state, gan, of_data))(jax.random.key(0)).generator.params
    kernel, scale = params["double_1"]["kernel"], params["norm_0"]["scale"]
    assert kernel.shape == (4, 4, 512, 256) and "bias" not in params["double_1"]
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.02], atol=1e-4)
    np.testing.assert_allclose([scale.mean(), scale.std()], [1, 0.02], atol=4e-3)
    assert not params["norm_0"]["bias"].any()


def test_the_papers_own_dcgan_has_1024_maps_of_4x4():
    config = config_of("dcgan_chest_xray").unlock()
    config.model.generator.width = 128
    of_data = card(64, 3)
    gan = make_gan(GANSettings.of(config), of_data)
    state = jax.eval_shape(lambda: init_state(gan, of_data, jax.random.key(0)))
    assert state.generator.params["project"]["kernel"].shape == (4, 4, 100, 1024)


def test_the_share_of_classes_draws_from_between_their_embeddings():
    of_data = card(16)
    gan = make_gan(GANSettings.of(config_of("acgan_covid")), of_data)
    state = jax.jit(partial(init_state, gan, of_data))(jax.random.key(0))
    variables = state.generator.variables
    generate = jax.jit(partial(gan.networks.generator.apply, train=False))
    latents = jax.random.normal(jax.random.key(1), (3, gan.latent_size))

    def draw(labels):
        return generate(variables, latents, jnp.asarray(labels))

    np.testing.assert_allclose(draw([[0.0, 1.0]] * 3), draw([1] * 3), atol=1e-5)
    embedding = variables["params"]["embedding"]["embedding"]
    mean = jax.tree.map(lambda x: x, variables)
    mean["params"]["embedding"] = {"embedding": jnp.stack([embedding.mean(0)] * 2)}
    between = generate(mean, latents, jnp.zeros(3, int))
    np.testing.assert_allclose(draw([[0.5, 0.5]] * 3), between, atol=1e-5)


def test_without_a_name_classes_decide_which_network_it_is():
    """An AC-GAN is told a class; where there is one there is nothing to tell."""
    model = GANModel(generator={"latent_size": 8})
    several, one = (make_networks(model, card(32, 1, names)) for names in (("A", "B"), ("A",)))
    assert isinstance(several.generator, acgan.Generator) and several.generator.conditional
    assert isinstance(one.discriminator, dcgan.Discriminator) and not one.generator.conditional


def test_an_unknown_network_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"'acgam'.*acgan"):
        make_networks(GANModel(name="acgam"), card(64))


def test_an_unknown_setting_of_a_network_is_named():
    model = GANModel(name="acgan", generator={"latents": 3})
    with pytest.raises(UserError, match=r"config.model.generator.*latents"):
        make_networks(model, card(64))


def test_a_size_that_upsampling_cannot_reach_is_refused():
    for name, image_size, expected in (
        ("acgan_covid", 50, "multiple of 4"),
        ("cnn_gan_chest_xray", 50, "multiple of 4"),
        ("dcgan_chest_xray", 31, "even"),
    ):
        of_data = card(image_size)
        gan = make_gan(GANSettings.of(config_of(name)), of_data)
        with pytest.raises(UserError, match=expected):
            init_state(gan, of_data, jax.random.key(0))
