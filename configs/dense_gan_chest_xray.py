"""Dense GAN at 200x200 on normal chest X-rays: what is lost without convolutions?

python launch.py --config=configs/dense_gan_chest_xray.py                        built-in phantoms
python launch.py --config=configs/dense_gan_chest_xray.py --config.data.dir=DIR  your images

The report's network and recipe: 372 million parameters, 4.7 GB a checkpoint and 14 GB of memory.
1,000 of the report's 10,000 steps took 53 minutes on two busy CPU cores: chests in noise, and
losses that swing widely (discriminator 0.1 to 3.8, generator 3 to 40), as the report says.
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
    config.model.name = "dense"
    config.model.generator.update(latent_size=256, widths=(512, 1024, 2048), dropout_rate=0.25)
    config.model.discriminator.update(widths=(1024, 512, 256))
    config.loss.discriminator_weight = 0.5  # the mean of the two halves, as in Keras
    config.optimizer.half_batches = True
    config.optimizer.generator.epsilon = config.optimizer.discriminator.epsilon = 1e-7
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.train.update(TINY_TRAIN)
    return config.lock()
