"""Specification of `transforms`: closed forms, alignment, and one key per example."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from common.data.augmentation import FILLS, Augmentation
from common.data.transforms import (
    Geometry,
    augment,
    augment_images,
    draw_deformation,
    draw_geometry,
    from_signed_unit,
    resample,
    to_signed_unit,
    vary_values,
)
from common.learning.randomness import example_keys

EVERYTHING = Augmentation(
    flip_horizontal=True,
    flip_vertical=True,
    rotation=20.0,
    translation=0.1,
    zoom=0.2,
    crop=0.3,
    elastic=0.02,
    brightness=0.1,
    contrast=0.3,
    gamma=0.4,
)
CLASS_IDS = (0, 1, 7, 200)

augment_jit = jax.jit(augment, static_argnames="settings")
vary_images = jax.jit(augment_images, static_argnames="settings")


def geometry(flips=(1.0, 1.0), degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
    angle, scale = jnp.deg2rad(jnp.float32(degrees)), jnp.float32(scale)
    return Geometry(jnp.array(flips), angle, scale, jnp.array(shift))


def moved(pixels, fill="black", nearest=False, **how):
    return np.asarray(move(pixels, geometry(**how), fill, nearest))


@partial(jax.jit, static_argnames=("fill", "nearest"))
def move(pixels, how, fill, nearest):
    return resample(pixels, how.source_coordinates(*pixels.shape[:2]), fill, nearest)


@partial(jax.jit, static_argnames=("settings", "size"))
def drawn_geometry(keys, settings, size):
    return jax.vmap(lambda key: draw_geometry(key, settings, size, size))(keys)


@partial(jax.jit, static_argnames="size")
def sources(drawn, size):
    return jax.vmap(lambda geometry: geometry.source_coordinates(size, size))(drawn)


def image_of(height, width, channels=1, seed=0):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def disc(size, radius):
    """Returns a disc of 255 off the centre, its border as grey as it is covered."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    distance = np.hypot(rows - size / 8, columns + size / 6)
    return np.uint8(255 * np.clip(radius - distance + 0.5, 0, 1))[..., None]


def batch_of(num, size=16, channels=1):
    images = np.stack([image_of(size, size, channels, seed) for seed in range(num)])
    ids = np.random.default_rng(9).choice(np.uint8(CLASS_IDS), (num, size, size))
    labels = np.arange(num, dtype=np.int32)
    batch = {"image": images, "mask": ids, "target": images, "label": labels}
    return jax.tree.map(jnp.asarray, batch)


def keys_of(num, first=0):
    return example_keys(jax.random.key(3), 5, first + jnp.arange(num))


def assert_equal(batch, other):
    assert batch.keys() == other.keys()
    for name in batch:
        np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


# Ranges


def test_every_stored_value_comes_back_from_the_range_of_tanh():
    stored = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    images = to_signed_unit(stored)
    assert (images.min(), images.max()) == (-1.0, 1.0)
    np.testing.assert_array_equal(from_signed_unit(images), stored)


def test_what_lies_outside_the_range_is_clipped():
    images = jnp.array([-3.0, -1.0, 1.0, 3.0]).reshape(1, 2, 2, 1)
    assert from_signed_unit(images).ravel().tolist() == [0, 0, 255, 255]


# Geometry: closed forms


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 8)])
@pytest.mark.parametrize("nearest", [False, True])
def test_flips_are_those_of_numpy(size, nearest):
    pixels = image_of(*size, 3)
    upside_down = moved(pixels, nearest=nearest, flips=(-1.0, 1.0))
    mirrored = moved(pixels, nearest=nearest, flips=(1.0, -1.0))
    np.testing.assert_array_equal(upside_down, pixels[::-1])
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])


@pytest.mark.parametrize("size", [8, 9, 64])
@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_those_of_numpy(size, nearest, quarters):
    pixels = image_of(size, size, 3)
    turned = moved(pixels, nearest=nearest, degrees=90.0 * quarters)
    np.testing.assert_array_equal(turned, np.rot90(pixels, quarters))


@pytest.mark.parametrize(
    ("fill", "mode"), [("black", "constant"), ("edge", "edge"), ("reflect", "symmetric")]
)
@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (-1, 4)])
def test_a_shift_by_whole_pixels_brings_in_the_fill(fill, mode, nearest, shift):
    pixels, (down, right) = image_of(8, 9), shift
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode)
    expected = padded[4 - down : 12 - down, 4 - right : 13 - right]
    shifted = moved(pixels, fill, nearest, shift=tuple(map(float, shift)))
    np.testing.assert_array_equal(shifted, expected)


def test_a_shift_by_half_a_pixel_is_a_mean_of_neighbours():
    pixels = np.float32(image_of(6, 6))
    halfway = moved(pixels, shift=(0.0, 0.5))
    np.testing.assert_allclose(halfway[:, 1:], (pixels[:, 1:] + pixels[:, :-1]) / 2)


def test_twice_the_scale_shows_the_inner_half():
    size = 16
    ramp = np.mgrid[:size, :size][1][..., None].astype(np.float32)
    enlarged = moved(ramp, scale=2.0)
    centre = (size - 1) / 2
    np.testing.assert_allclose(enlarged, centre + (ramp - centre) / 2, atol=1e-5)


@pytest.mark.parametrize("degrees", [10.0, -10.0, 37.0])
def test_rotation_is_that_of_scipy(degrees):
    pixels = np.float32(image_of(33, 33))
    expected = scipy.ndimage.rotate(
        pixels, degrees, reshape=False, order=1, mode="grid-constant", cval=0.0
    )
    np.testing.assert_allclose(moved(pixels, degrees=degrees), expected, atol=0.01)


def test_flip_rotation_scale_and_shift_come_in_this_order():
    size = 65
    dot = np.zeros((size, size, 1), np.float32)
    dot[32 + 10, 32 + 4] = 1.0
    # Mirrored left to right: (10, -4); a quarter turn: (4, 10); twice: (8, 20); shifted: (9, 17).
    placed = moved(dot, flips=(1.0, -1.0), degrees=90.0, scale=2.0, shift=(1.0, -3.0))
    assert np.unravel_index(placed.argmax(), placed.shape)[:2] == (32 + 9, 32 + 17)


@pytest.mark.parametrize("degrees", [10.0, 45.0, 123.0])
def test_a_turned_disc_keeps_its_area(degrees):
    picture = disc(64, 14.0)
    area = moved(picture, degrees=degrees).sum() / 255
    assert area == pytest.approx(picture.sum() / 255, rel=0.002)


def test_an_enlarged_disc_grows_with_the_square_of_the_scale():
    picture = disc(64, 10.0)
    area = moved(picture, scale=1.3).sum() / 255
    assert area == pytest.approx(1.3**2 * picture.sum() / 255, rel=0.01)


# Drawing


def test_drawn_geometry_keeps_its_bounds_and_reaches_them():
    settings = Augmentation(flip_horizontal=True, rotation=10.0, translation=0.1, zoom=0.2)
    drawn = drawn_geometry(keys_of(2000), settings, 64)
    for values, low, high in (
        (np.rad2deg(drawn.angle), -10, 10),
        (drawn.scale, 0.8, 1.2),
        (drawn.shift, -6.4, 6.4),
    ):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert (drawn.flips[:, 0] == 1).all()
    assert 0.45 < (drawn.flips[:, 1] == -1).mean() < 0.55


def test_a_crop_shows_a_window_of_the_image_and_nothing_else():
    settings = Augmentation(crop=0.5)
    drawn = drawn_geometry(keys_of(1000), settings, 32)
    assert 1 <= drawn.scale.min() < 1.02
    assert 1.96 < drawn.scale.max() <= 2
    source = sources(drawn, 32)
    assert -1e-5 < source.min() < 0.5
    assert 30.5 < source.max() < 31 + 1e-5
    white = {"image": jnp.full((100, 32, 32, 1), 255, jnp.uint8)}
    assert augment_jit(white, keys_of(100), settings)["image"].min() == 255


def test_what_is_switched_on_does_not_change_what_the_others_draw():
    alone = drawn_geometry(keys_of(4), Augmentation(rotation=10.0), 32)
    others = drawn_geometry(keys_of(4), Augmentation(rotation=10.0, zoom=0.1, crop=0.2), 32)
    np.testing.assert_array_equal(alone.angle, others.angle)


def test_a_deformation_has_the_spread_asked_for_and_is_smooth():
    settings, size = Augmentation(elastic=0.02), 50
    draw = jax.jit(jax.vmap(lambda key: draw_deformation(key, settings, size, size)))
    displacements = np.asarray(draw(keys_of(2000)))
    # At the middle knot; in between the spread of a bicubic mean is a little lower.
    assert displacements[:, :, 24:26, 24:26].std() == pytest.approx(0.02 * size, rel=0.05)
    assert abs(displacements.mean()) < 0.02
    assert max(abs(np.diff(displacements, axis=axis)).max() for axis in (2, 3)) < 1


# Values


def test_brightness_and_contrast_are_drawn_within_their_bounds():
    image = jnp.float32(image_of(8, 8, 3))
    keys, mean = keys_of(1000), image.mean((0, 1))

    def varied(**amounts):
        settings = Augmentation(**amounts)
        return jax.jit(jax.vmap(lambda key: vary_values(key, image, mean, settings)))(keys)

    shifts = varied(brightness=0.1) - image
    assert np.ptp(shifts, axis=(1, 2, 3)).max() < 1e-3  # the same everywhere
    assert -25.5 <= shifts.min() < -25
    assert 25 < shifts.max() <= 25.5001
    stretched = varied(contrast=0.4)
    np.testing.assert_allclose(stretched.mean((1, 2)), np.tile(mean, (1000, 1)), 1e-4)
    factors = stretched.std((1, 2)) / image.std((0, 1))
    assert 0.6 - 1e-3 < factors.min() < 0.62
    assert 1.38 < factors.max() < 1.4 + 1e-3


def test_gammas_are_drawn_within_their_bounds_for_each_channel():
    image = jnp.full((2, 2, 3), 127.5).at[0].set(0.0).at[1, 1].set(255.0)
    settings, keys = Augmentation(gamma=0.5), keys_of(1000)
    vary = jax.jit(jax.vmap(lambda key: vary_values(key, image, image.mean((0, 1)), settings)))
    varied = vary(keys)
    assert (varied[:, 0] == 0).all() and np.allclose(varied[:, 1, 1], 255)  # black and white stay
    powers = np.log2(255 / varied[:, 1, 0])
    assert 1 / 1.5 - 1e-4 < powers.min() < 0.68 and 1.48 < powers.max() < 1.5 + 1e-4
    assert abs(np.log(powers).mean()) < 0.02  # as often lighter as darker
    assert abs(np.corrcoef(powers.T)[np.triu_indices(3, 1)]).max() < 0.15


def test_values_beyond_black_and_white_are_clipped_and_do_not_wrap_around():
    batch = {"image": jnp.tile(jnp.uint8([0, 255])[:, None], (100, 2, 1, 1))}
    stretched = augment_jit(batch, keys_of(100), Augmentation(contrast=1.0))["image"]
    assert (stretched[:, :, 0] <= stretched[:, :, 1]).all()
    shifted = augment_jit(batch, keys_of(100), Augmentation(brightness=0.4))["image"]
    assert shifted[:, :, 0].max() <= 102
    assert shifted[:, :, 1].min() >= 153


# Batches


def test_with_everything_off_the_batch_itself_comes_back():
    batch = batch_of(4)
    assert augment(batch, keys_of(4), Augmentation(fill="reflect")) is batch
    traced = jax.make_jaxpr(lambda batch, keys: augment(batch, keys, Augmentation()))
    assert traced(batch, keys_of(4)).eqns == []


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("channels", [1, 3])
def test_types_shapes_and_class_ids_stay(fill, channels):
    batch = batch_of(8, channels=channels)
    varied = augment_jit(batch, keys_of(8), Augmentation(**{**vars(EVERYTHING), "fill": fill}))
    for name, before in batch.items():
        assert (varied[name].shape, varied[name].dtype) == (before.shape, before.dtype)
    assert set(np.unique(varied["mask"])) <= set(CLASS_IDS)
    np.testing.assert_array_equal(varied["label"], batch["label"])
    assert (varied["mask"] != batch["mask"]).any()


def test_a_target_moves_with_its_image_and_keeps_its_values():
    batch = batch_of(8)
    moves = Augmentation(flip_horizontal=True, rotation=20.0, elastic=0.02)
    varied = augment_jit(batch, keys_of(8), moves)
    np.testing.assert_array_equal(varied["image"], varied["target"])
    varied = augment_jit(batch, keys_of(8), Augmentation(brightness=0.2))
    np.testing.assert_array_equal(varied["target"], batch["target"])
    assert (varied["image"] != batch["image"]).any()


def test_image_and_mask_stay_aligned_up_to_the_border():
    picture = disc(64, 20.0)
    num = 50
    images = jnp.tile(picture, (num, 1, 1, 1))
    batch = {"image": images, "mask": jnp.uint8(images[..., 0] > 127)}
    moves = Augmentation(**{**vars(EVERYTHING), "brightness": 0.0, "contrast": 0.0})
    varied = augment_jit(batch, keys_of(num), moves)
    image, mask = np.asarray(varied["image"])[..., 0] > 127, np.asarray(varied["mask"]) == 1
    assert mask.any((1, 2)).all()
    for number in range(num):
        inside = scipy.ndimage.binary_erosion(mask[number], border_value=1)
        around = scipy.ndimage.binary_dilation(mask[number])
        assert image[number][inside].all()
        assert not image[number][~around].any()
    assert (image != mask).mean() < 0.01


def test_the_same_keys_give_the_same_images_and_others_do_not():
    batch = batch_of(8)
    first = augment_jit(batch, keys_of(8), EVERYTHING)
    assert_equal(first, augment_jit(batch, keys_of(8), EVERYTHING))
    other = augment_jit(batch, keys_of(8, first=8), EVERYTHING)
    assert all((first["image"] != other["image"]).any((1, 2, 3)))


def test_an_example_does_not_depend_on_the_batch_that_it_is_in():
    run = partial(augment_jit, settings=EVERYTHING)
    batch, keys = batch_of(8), keys_of(8)
    whole = run(batch, keys)
    for rows in (slice(0, 4), slice(4, 8)):
        part = run({name: x[rows] for name, x in batch.items()}, keys[rows])
        assert_equal(part, {name: x[rows] for name, x in whole.items()})


def test_four_devices_give_what_one_gives(start, tmp_path):
    program = (
        "import sys, jax, numpy as np, jax.numpy as jnp\n"
        "from tests.common.data.test_transforms import EVERYTHING, augment, batch_of, keys_of\n"
        "def vary(batch, position):\n"
        "    return augment(batch, keys_of(2, position[0]), EVERYTHING)\n"
        "batch = {**batch_of(8), 'position': jnp.arange(8)}\n"
        "split = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)\n"
        "position = split.pop('position')\n"
        "varied = jax.pmap(vary)(split, position)\n"
        "np.savez(sys.argv[1], **{name: np.concatenate(x) for name, x in varied.items()})\n"
    )
    out = tmp_path / "four.npz"
    process = start("-c", program, out, devices=4)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_equal(dict(np.load(out)), augment_jit(batch_of(8), keys_of(8), EVERYTHING))


def test_a_second_batch_compiles_nothing():
    run = jax.jit(partial(augment, settings=EVERYTHING))
    for first in (0, 8, 16):
        run(batch_of(8), keys_of(8, first))
    assert run._cache_size() == 1


class TestAugmentImages:
    """What a discriminator sees: the same changes, of real and of generated images."""

    settings = Augmentation(
        flip_horizontal=True, translation=0.25, brightness=0.2, contrast=0.5, cutout=0.5
    )

    def images(self, num=4):
        return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (num, 12, 12, 1)), jnp.float32)

    def test_are_those_of_stored_pixels(self):
        batch, geometry = batch_of(4), Augmentation(flip_vertical=True, translation=0.25)
        stored = augment(batch, keys_of(4), geometry)["image"]
        signed = vary_images(to_signed_unit(batch["image"]), keys_of(4), geometry)
        np.testing.assert_array_equal(from_signed_unit(signed), stored)

    def test_with_everything_off_the_images_themselves_come_back(self):
        images = self.images()
        assert augment_images(images, keys_of(4), Augmentation()) is images

    def test_gradients_are_the_differences_that_they_stand_for(self):
        """The changes are affine in the pixels, so a difference of any size is exact."""
        images, keys = self.images(), keys_of(4)
        weights, direction = (
            jnp.asarray(np.random.default_rng(seed).normal(size=images.shape), jnp.float32)
            for seed in (1, 2)
        )

        @jax.jit
        def value(x):
            return (vary_images(x, keys, self.settings) * weights).sum()

        found = (jax.jit(jax.grad(value))(images) * direction).sum()
        expected = (value(images + direction) - value(images - direction)) / 2
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_a_gamma_has_a_finite_gradient_in_black(self):
        images = jnp.full((4, 8, 8, 1), -1.0)
        change = Augmentation(gamma=1.0)
        varied = jax.jit(jax.grad(lambda x: vary_images(x, keys_of(4), change).sum()))
        gradient = varied(images)
        assert jnp.isfinite(gradient).all()

    def test_nothing_is_clipped(self):
        bright = vary_images(jnp.ones((64, 4, 4, 1)), keys_of(64), Augmentation(brightness=0.5))
        assert 1.5 < bright.max() <= 2

    def test_mirroring_and_translation_move_whole_pixels(self):
        images = self.images()
        change = Augmentation(flip_horizontal=True, flip_vertical=True, translation=0.3)
        moved = np.asarray(vary_images(images, keys_of(4), change))
        known = np.append(images, -1)
        assert np.abs(moved[..., None] - known).min(-1).max() < 1e-5

    def test_a_cutout_is_a_grey_square_anywhere(self):
        images = vary_images(jnp.ones((256, 16, 16, 1)), keys_of(256), Augmentation(cutout=0.5))
        grey = np.asarray(images == 0)[..., 0]
        heights, widths = grey.any(2).sum(1), grey.any(1).sum(1)
        assert (grey.sum((1, 2)) == heights * widths).all()
        assert set(heights) == set(widths) and max(heights) == 7 and min(heights) == 4
        assert grey.any(0).all()
