"""A U-Net for tumours in brain MRI, as we would train it.

python launch.py --config=configs/unet_brain_mri_best.py                        built-in phantoms
python launch.py --config=configs/unet_brain_mri_best.py --config.data.dir=DIR  your images
python launch.py --mode=evaluate --workdir=runs/unet_brain_mri_best
python launch.py --mode=predict  --workdir=runs/unet_brain_mri_best --input=IMAGES --output=MASKS

On the 22 test patients of LGG brain MRI: Dice 0.867 over all pixels, 0.828 [0.780, 0.869] per
patient on slices with tumour, after 80 minutes on two CPU cores shared with other trainings.
docs/segmentation.md says how these settings were found.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from unet.config import unet_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = unet_config(arg)
    config.data.update(name="brain_mri", image_size=128, channels=3, batch_size=8)
    config.data.group = "(.+)_"  # the patient, see unet_brain_mri.py
    # Standardising undoes changes of brightness and contrast; scanners also differ in gamma.
    config.augment.update(flip_horizontal=True, rotation=15.0, zoom=0.15, translation=0.05)
    config.augment.update(elastic=0.015, gamma=1.5)
    config.train.update(num_steps="30 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    config.train.update(picture_every="5 epochs", log_every="50")
    config.model.update(width=16, input="standardised", average_decay=0.99)
    config.loss.update(cross_entropy=1.0, dice=1.0, overlap_over="batch")
    config.optimizer.update(decay="cosine", warmup="0.5 epochs", decay_begin="0.5 epochs")
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=4, num_phantoms=16)
        config.model.update(width=8, depth=3)
        config.train.update(TINY_TRAIN)
        config.optimizer.update(warmup="1", decay_begin="1")
    return config.lock()
