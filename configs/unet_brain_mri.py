"""The lecture's original U-Net on brain MRI with tumour masks: where is the tumour?

python launch.py --config=configs/unet_brain_mri.py                        built-in phantoms
python launch.py --config=configs/unet_brain_mri.py --config.data.dir=DIR  your images
python launch.py --mode=evaluate --workdir=runs/unet_brain_mri

128x128x3 in [0, 1], batches of 2 in sequential order, binary cross-entropy, Adam 0.001, 15 epochs;
a BatchNorm after the last convolution. `unet_brain_mri_best.py` is what we would train.

LGG brain MRI, 1,323 slices of 77 patients: 53 minutes on two busy CPU cores. 22 test patients: Dice
0.582 pooled, 0.561 per patient on slices with tumour; IoU per image, mean of both classes, 0.743.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from unet.config import unet_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = unet_config(arg)
    config.data.update(name="brain_mri", image_size=128, channels=3, batch_size=2, shuffle=False)
    # A patient's slices are PATIENT_1.jpg, PATIENT_2.jpg, ... Change it for names of another form;
    # leave it empty if no patient has two images.
    config.data.group = "(.+)_"
    config.train.update(num_steps="15 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    config.train.update(picture_every="1 epochs", log_every="50")
    config.model.update(norm_output=True, momentum=0.99)  # Keras' momentum
    config.optimizer.epsilon = 1e-7
    if arg == "tiny":
        config.data.update(image_size=32, num_phantoms=16)
        config.model.update(width=8, depth=3)
        config.train.update(TINY_TRAIN)
    return config.lock()
