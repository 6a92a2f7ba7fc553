"""Convolutional GAN at 200x200 on normal chest X-rays: what do few layers with huge kernels draw?

python launch.py --config=configs/cnn_gan_chest_xray.py                        built-in phantoms
python launch.py --config=configs/cnn_gan_chest_xray.py --config.data.dir=DIR  your images

The report's network and recipe; its last kernel, 50x50, is applied in the Fourier domain. 10,000
steps are the report's; a step took 9.5 s on two CPU cores. With data.batch_size=8 and
optimizer.half_batches=False 1,000 steps took 51 minutes and show lungs and ribs.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="chest_xray", image_size=200, channels=3, batch_size=32)
    config.data.only = "NORMAL"
    config.augment.update(flip_horizontal=True, rotation=10.0, fill="edge")
    config.train.update(num_steps="10000", log_every="10", eval_every="0")
    config.train.update(picture_every="100", checkpoint_every="100", picture_grid=4)
    config.model.name = "cnn_gan"
    config.model.generator.update(latent_size=256)
    config.model.discriminator.update(dropout_rate=0.25)
    config.loss.discriminator_weight = 0.5  # the mean of the two halves, as in Keras
    config.optimizer.half_batches = True
    config.optimizer.generator.epsilon = config.optimizer.discriminator.epsilon = 1e-7
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.train.update(TINY_TRAIN)
    return config.lock()
