"""A GAN that draws images with their masks, and the pairs that it writes."""

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import check, default_config
from common.data.prepared.prepared import prepare
from common.data.sources.open import open_source
from common.data.take import apart
from common.program.errors import UserError
from configs import dense_gan_mnist, unet
from gan.config import RULES
from gan.flags import GANOptions
from gan.generate import generate, generated
from tests.untrained import untrained
from unet.config import RULES as UNET_RULES


def config_of(**data):
    config = dense_gan_mnist.get_config("tiny")
    config.data.update(name="brain_mri", image_size=16, channels=3, take="G+mask", num_phantoms=8)
    config.data.update(data)
    config.model.generator.widths = config.model.discriminator.widths = (16,)
    return config


def test_a_picture_is_an_image_twice_and_its_mask():
    whole, taken = (prepare(config_of(take=take).data) for take in ("", "G+mask"))
    given, found = (one.splits["train"].read(range(8)) for one in (whole, taken))
    assert taken.card.mask_classes == () and "mask" not in found
    for picture, image, mask in zip(found["image"], given["image"], given["mask"], strict=True):
        grey, inside = apart(picture)
        np.testing.assert_array_equal(grey, image[..., 1:2])
        np.testing.assert_array_equal(picture[..., :1], picture[..., 1:2])
        np.testing.assert_array_equal(inside[..., 0], 255 * mask)
    assert given["mask"].any()


def test_pairs_are_written_as_a_unet_reads_them(tmp_path):
    run = untrained(config_of(), tmp_path / "run")
    options = GANOptions(output=str(tmp_path / "drawn"), num_images=3)
    generate(run, options)
    data = default_config().data
    data.dir = str(tmp_path / "drawn")
    source = open_source(data)
    assert len(source.mask_classes) == 2
    for record, picture in zip(source.splits["train"], generated(run, options), strict=True):
        image, inside = apart(picture)
        np.testing.assert_array_equal(record.read().pixels, image)
        np.testing.assert_array_equal(record.read_mask(), inside[..., 0] > 0)
    assert not (tmp_path / "drawn" / "labels.csv").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [({"channels": 1}, "set --config.data.channels=3"), ({"name": "sunflower"}, "no masks of two")],
)
def test_data_that_cannot_be_taken_so_is_refused(data, says):
    with pytest.raises(UserError, match=says):
        prepare(config_of(**data).data)


def test_a_mask_whose_size_is_not_the_images_is_refused(tmp_path):
    for kind, size in (("images", (8, 8)), ("masks", (8, 9))):
        (tmp_path / kind).mkdir()
        Image.new("L", size).save(tmp_path / kind / "a.png")
    with pytest.raises(UserError, match=r"mask of images/a\.png has 8x9 pixels, its image 8x8"):
        prepare(config_of(dir=str(tmp_path), take="+mask").data)


def test_no_other_task_may_see_the_masks_in_the_images():
    check(config_of(), RULES)
    config = unet.get_config("tiny").unlock()
    config.data.take = "G+mask"
    with pytest.raises(UserError, match=r"config\.data\.take"):
        check(config, UNET_RULES)
