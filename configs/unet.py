"""Outlines in your images: a U-Net for any folder of images and masks.

python launch.py --config=configs/unet.py --config.data.dir=DIR  yours: DIR/images/*, DIR/masks/*
python launch.py --config=configs/unet.py                        built-in phantoms
python launch.py --mode=evaluate --workdir=runs/unet
python launch.py --mode=predict  --workdir=runs/unet --input=IMAGES --output=MASKS

128x128, padded to a square, grey or colour like most of your images. A missing val or test split is
made of 15 % of train. Images are not mirrored, as left and right may be two classes.

`make run DATA=scans` on 300 slices of 73 patients of LGG brain MRI took 18 minutes, set-up and
evaluation included, on two CPU cores shared with six other programs. On 45 test images of 15
patients: Dice 0.70 [0.62, 0.78] over all pixels.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from unet.config import unet_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = unet_config(arg)
    config.data.update(name="brain_mri", image_size=128, channels=0, batch_size=8, fit="pad")
    config.data.held_out = "15,15"
    config.augment.update(rotation=15.0, zoom=0.15, translation=0.05, elastic=0.015, gamma=1.5)
    config.train.update(num_steps="600", eval_every="100", checkpoint_every="100")
    config.train.update(picture_every="100", log_every="20")
    config.model.update(width=16, input="standardised", average_decay=0.99)
    config.loss.update(cross_entropy=1.0, dice=1.0, overlap_over="batch")
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=4, num_phantoms=16)
        config.model.update(width=8, depth=3)
        config.train.update(TINY_TRAIN)
    return config.lock()
