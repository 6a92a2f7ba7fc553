"""Chest X-rays at 128x128, drawn well: the GAN of gan.py beside the DCGAN of dcgan_chest_xray.py.

python launch.py --config=configs/dcgan_chest_xray_best.py                        built-in phantoms
python launch.py --config=configs/dcgan_chest_xray_best.py --config.data.dir=DIR  your images
"""

from ml_collections import ConfigDict

from configs.gan import get_config as any_images


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = any_images(arg).unlock()
    config.data.update(name="chest_xray", channels=1)
    if arg != "tiny":
        config.data.image_size = 128
    return config.lock()
