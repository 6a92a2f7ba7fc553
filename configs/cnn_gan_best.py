"""200x200, drawn well: the GAN of gan.py beside the convolutional and the dense one of the report.

python launch.py --config=configs/cnn_gan_best.py                        built-in phantoms
python launch.py --config=configs/cnn_gan_best.py --config.data.dir=DIR  your images

Sunflowers; `data.name=chest_xray data.only=NORMAL` for normal chest X-rays.
"""

from ml_collections import ConfigDict

from configs.gan import get_config as any_images


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = any_images(arg).unlock()
    config.data.update(name="sunflower", channels=3)
    config.augment.flip_horizontal = True
    if arg != "tiny":
        config.data.image_size = 200
        config.train.picture_grid = 4
    return config.lock()
