"""DCGAN on chest X-rays of children, normal ones and pneumonia together.

python launch.py --config=configs/dcgan_chest_xray.py                        built-in phantoms
python launch.py --config=configs/dcgan_chest_xray.py --config.data.dir=DIR  your images

Radford et al. (2016) at 64x64x3, as in PyTorch's tutorial. `generator.width=128` and
`discriminator.width=128` are the paper's 1024 maps at 4x4; `data.channels=1` is grey.

2,682 images of Kaggle's chest X-rays, 30 epochs (629 steps): 24 minutes 41 seconds on two CPU cores
shared with other programs. Lungs, ribs and spine are visible, but not yet sharp.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="chest_xray", image_size=64, channels=3, batch_size=128)
    config.train.update(num_steps="30 epochs", log_every="10", eval_every="100")
    config.train.update(picture_every="100", checkpoint_every="200", low_memory=True)
    config.model.name = "dcgan"
    config.model.generator.update(width=64)
    config.model.discriminator.update(width=64)
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.model.generator.width = config.model.discriminator.width = 8
        config.train.update(TINY_TRAIN)
    return config.lock()
