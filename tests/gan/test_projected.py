"""A critic that sees through a pretrained network: its limits, its classes, its checkpoints."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from common.networks.efficientnet_lite import (
    EfficientNetLite,
    bundled_weights,
    efficientnet_lite_variables,
)
from common.networks.layers import Conv
from common.networks.weight_files import read_weights
from gan.networks.projected import Discriminator, Generator, _deviations, _steps

KEY = jax.random.key(0)
SHAPE = {"image_size": 16, "channels": 1, "num_classes": 2}


def weights():
    file = bundled_weights()
    return efficientnet_lite_variables(read_weights(file), str(file))


def random_images(num, size=16, seed=0):
    values = np.random.default_rng(seed).uniform(-1, 1, (num, size, size, 1))
    return jnp.asarray(values, jnp.float32)


def with_variables(**settings):
    """Returns a critic of images of 16 pixels, which it sees at 32, and its variables."""
    module = Discriminator(**SHAPE, seen_size=32, classifier=True, axis_name="", **settings)
    made = jax.jit(lambda: module.init(KEY, random_images(1), jnp.zeros(1, int), train=False))()
    return module, {**made, "frozen": module.load_frozen()}


@pytest.fixture(scope="module")
def critic():
    return with_variables()


@pytest.fixture(scope="module")
def of_one_scale():
    """One that sees the trunk's first stages alone, which is little to compile."""
    return with_variables(scales=1)


def decide(critic, images, labels, **changes):
    module, variables = critic
    decision = jax.jit(lambda x, y: module.clone(**changes).apply(variables, x, y, train=False))
    return decision(images, labels)


class TestCritic:
    def test_decides_patch_by_patch_at_four_scales_and_by_the_pixels(self, critic):
        decision = decide(critic, random_images(3), jnp.array([0, 1, 0]))
        assert [x.shape for x in decision.logits] == [(3, n) for n in (64, 16, 4, 1, 4)]
        assert decision.class_logits.shape == (3, 2)

    @pytest.mark.parametrize("scales", [1, 3])
    def test_sees_as_many_scales_as_asked_for_the_finest_first(self, scales):
        module = Discriminator(**SHAPE, scales=scales, seen_size=32, axis_name="")
        decision, _ = jax.eval_shape(
            lambda: module.init_with_output(KEY, random_images(1), jnp.zeros(1, int), train=False)
        )
        assert [x.shape[1] for x in decision.logits] == [*(64, 16, 4)[:scales], 4]

    def test_asks_for_the_class_where_it_has_a_projection(self, of_one_scale):
        twice, labels = jnp.tile(random_images(2), (2, 1, 1, 1)), jnp.array([0, 0, 1, 1])
        for projection in (True, False):
            logit = decide(of_one_scale, twice, labels, projection=projection).logit
            assert bool(jnp.abs(logit[:2] - logit[2:]).max() > 1e-4) == projection

    def test_its_trunk_is_an_argument_and_neither_learned_nor_counted(self, critic):
        _, variables = critic
        assert sum(x.size for x in jax.tree.leaves(variables["frozen"])) > 3_300_000
        assert sum(x.size for x in jax.tree.leaves(variables["params"])) < 1_300_000

    def test_the_random_mixing_is_always_the_same(self, critic):
        again = critic[0].load_frozen()["mixing"]
        jax.tree.map(np.testing.assert_array_equal, critic[1]["frozen"]["mixing"], again)

    def test_each_image_is_judged_beside_all_others_real_and_generated(self, of_one_scale):
        """As one batch, except that how far images differ is said of each half by itself."""
        real, fake = random_images(4), random_images(4, seed=1) / 4
        both, other = jnp.concatenate([real, fake]), jnp.concatenate([real, -fake])

        @jax.jit
        def logits(images):
            module, variables = of_one_scale
            judged, _ = module.clone(num_real=4).apply(
                variables, images, jnp.zeros(8, int), train=True, mutable=["batch_stats"]
            )
            return judged.logit

        assert jnp.abs(logits(both)[:4] - logits(other)[:4]).max() > 1e-3

        def deviation(images, train=True, **changes):
            module = of_one_scale[0].clone(**changes)
            scales = [images, 3 * images[:, ::2]]
            found, of_half = module.apply({}, scales, train, method="_deviations")
            assert found.shape == of_half.shape == (len(images),)
            by_itself = module.apply({}, scales[1:], train, method="_deviations")
            np.testing.assert_allclose(of_half, by_itself[0], rtol=1e-6)
            return np.asarray(found)

        by_hand = [np.sqrt(np.var(x, 0) + 1e-8).mean() for x in (real, fake)]
        np.testing.assert_allclose(deviation(both, num_real=4), np.repeat(by_hand, 4), rtol=1e-5)
        np.testing.assert_allclose(deviation(real), by_hand[0], rtol=1e-5)
        assert not deviation(real, train=False).any()

    def test_sends_no_gradient_to_real_images_beside_generated_ones(self, of_one_scale):
        """Neither through the trunk, which is most of the work, nor past it."""
        module, variables = of_one_scale

        def logits(images):
            judged, _ = module.clone(num_real=2).apply(
                variables, images, jnp.zeros(4, int), train=True, mutable=["batch_stats"]
            )
            return judged.logit.sum()

        gradient = jax.jit(jax.grad(logits))(random_images(4))
        assert not gradient[:2].any() and gradient[2:].all()

    def test_sees_noise_of_a_flat_place_beside_an_edge(self):
        """Steps to the pixel below and to the right; the last have none."""
        image = jnp.array([[0.0, 0.01], [1.0, 0.01]])[None, ..., None]
        down, right = (np.asarray(x)[0, ..., 0] for x in _steps(image))
        np.testing.assert_allclose(down, np.tanh([[16, 0], [0, 0]]), atol=1e-6)
        np.testing.assert_allclose(right, np.tanh([[0.16, 0], [-15.84, 0]]), atol=1e-6)

    def test_larger_images_are_seen_as_they_are(self):
        for size, patches in (
            (64, [256, 64, 16, 4, 64]),
            (256, [4096, 1024, 256, 64, 1024]),
        ):
            module = Discriminator(size, 1, 1)
            made = jax.eval_shape(
                lambda module=module, size=size: module.init_with_output(
                    KEY, random_images(1, size), jnp.zeros(1, int), train=False
                )
            )
            assert [x.shape[1] for x in made[0].logits] == patches


class TestSpectralNorm:
    def test_divides_a_kernel_by_its_largest_singular_value(self):
        """As `numpy.linalg.svd` finds it, once the power iteration has settled."""
        layer = nn.SpectralNorm(Conv(5, 3, use_bias=False, name="conv"), name="limited")
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 4)), jnp.float32)
        variables = layer.init(KEY, x, update_stats=False)
        for _ in range(50):
            _, changed = layer.apply(variables, x, update_stats=True, mutable=["batch_stats"])
            variables = {**variables, **changed}
        (kernel,) = jax.tree.leaves(variables["params"])
        largest = np.linalg.svd(np.reshape(kernel, (-1, 5)), compute_uv=False)[0]
        plain = Conv(5, 3, use_bias=False).apply({"params": {"kernel": kernel / largest}}, x)
        limited = layer.apply(variables, x, update_stats=False)
        np.testing.assert_allclose(limited, plain, rtol=1e-4, atol=1e-5)


def keys(num):
    return jax.random.split(KEY, num)


class TestGenerator:
    @pytest.mark.parametrize(
        ("size", "channels", "num_classes"), [(28, 1, 1), (64, 3, 2), (200, 1, 10), (256, 1, 2)]
    )
    def test_draws_images_of_any_size(self, size, channels, num_classes):
        module = Generator(size, channels, num_classes, axis_name="")
        images, _ = jax.eval_shape(
            lambda: module.init_with_output(
                KEY, jnp.zeros((2, 128)), jnp.zeros(2, int), train=False, noise_keys=keys(2)
            )
        )
        assert images.shape == (2, size, size, channels)
        assert module.conditional == (num_classes > 1)

    def test_has_four_and_a_half_million_parameters_at_64_pixels(self):
        module = Generator(64, 1, 2)
        made = jax.eval_shape(
            lambda: module.init(
                KEY, jnp.zeros((1, 128)), jnp.zeros(1, int), train=False, noise_keys=keys(1)
            )
        )
        assert sum(x.size for x in jax.tree.leaves(made["params"])) == pytest.approx(
            4.5e6, rel=0.02
        )

    def test_the_length_of_a_latent_changes_nothing(self):
        module = Generator(**SHAPE, width=4, latent_size=8, axis_name="")
        latents = jax.random.normal(KEY, (2, 8))
        variables = jax.jit(lambda: module.init(KEY, latents, jnp.zeros(2, int), train=False))()
        draw = jax.jit(lambda x: module.apply(variables, x, jnp.zeros(2, int), train=False))
        np.testing.assert_allclose(draw(latents), draw(3 * latents), atol=1e-5)

    def test_noise_grains_the_larger_maps_as_latent_and_class_say(self):
        """None at first; an image depends on its own key alone; small images have none."""
        module = Generator(32, 1, 2, width=4, latent_size=8, axis_name="")
        latents, labels = jax.random.normal(KEY, (3, 8)), jnp.zeros(3, int)
        made = jax.jit(lambda: module.init(KEY, latents, labels, train=False, noise_keys=keys(3)))()

        @jax.jit
        def draw(variables, noise_keys):
            return module.apply(variables, latents, labels, train=False, noise_keys=noise_keys)

        other = keys(4)[1:]
        np.testing.assert_array_equal(draw(made, keys(3)), draw(made, other))
        grain = made["params"]["maps_3_grain"]
        assert sorted(name for name in made["params"] if "grain" in name) == ["maps_3_grain"]
        made["params"]["maps_3_grain"] = {**grain, "bias": grain["bias"] + 1}
        mixed = jnp.concatenate([keys(3)[:1], other[1:]])
        one, two, three = (draw(made, k) for k in (keys(3), other, mixed))
        assert jnp.abs(one - two).max() > 0.01
        np.testing.assert_allclose(three, jnp.concatenate([one[:1], two[1:]]), atol=1e-6)
        with pytest.raises(ValueError, match="give noise_keys"):
            module.apply(made, latents, labels, train=False)


def test_the_trunks_stages_spread_as_their_norms_say():
    """On a photograph: within a factor of 3 of the deviations that the mixing divides by."""
    trunk = weights()
    photograph = load_sample_image("china.jpg")[None, 100:356, 200:456] / np.float32(255)
    found = jax.jit(
        lambda v, x: EfficientNetLite(axis_name="").apply(v, x, train=False, method="stages")
    )(trunk, photograph)
    for name, expected in _deviations(trunk).items():
        spread = float(np.std(found[name], axis=(0, 1, 2)).mean())
        assert expected / 3 < spread < 3 * expected
