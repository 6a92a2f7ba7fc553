"""Dense GAN on MNIST: what do three hidden layers of each player already draw?

python launch.py --config=configs/dense_gan_mnist.py                          built-in phantoms
python launch.py --config=configs/dense_gan_mnist.py --config.data.dir=MNIST  the four IDX files
python launch.py --config=configs/dense_gan_mnist.py --config.data.name=tfds:mnist

The lecture's network and recipe: an update of the discriminator on half a batch of real and half a
batch of generated digits, one of the generator on a whole batch.

30,000 steps: 7 minutes 25 seconds on two CPU cores shared with other programs. A small classifier
finds all ten digits among 2,000 samples, 7 to 13 % of each, with a mean confidence of 0.931; on
real test digits it is 0.983 (bench/mnist_digits.py).
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="digits", image_size=28, channels=1, batch_size=32)
    config.train.update(num_steps="30000", log_every="500", eval_every="5000")
    config.train.update(picture_every="50", checkpoint_every="5000", picture_grid=5)
    config.model.name = "dense"
    config.model.generator.update(widths=(256, 512, 1024), momentum=0.8)
    config.model.discriminator.update(widths=(512, 256))
    config.loss.discriminator_weight = 0.5  # the mean of the two halves, as in Keras
    config.optimizer.half_batches = True
    config.optimizer.generator.epsilon = config.optimizer.discriminator.epsilon = 1e-7
    if arg == "tiny":
        config.data.update(batch_size=8, num_phantoms=64)
        config.train.update(TINY_TRAIN)
    return config.lock()
