"""Pix2pix on brain MRI: what would the FLAIR image of a pre-contrast image look like?

python launch.py --config=configs/pix2pix_brain_mri.py                        built-in phantoms
python launch.py --config=configs/pix2pix_brain_mri.py --config.data.dir=DIR  your images
python launch.py --mode=evaluate --workdir=runs/pix2pix_brain_mri
python launch.py --mode=predict  --workdir=runs/pix2pix_brain_mri --input=IMAGES --output=FLAIR

The channels of LGG brain MRI are three scans of a slice: R pre-contrast, G FLAIR, B post-contrast.
The other way: --config.data.take='G>R'. Your own pairs, DIR/images/a.png and DIR/targets/a.png,
need --config.data.take= and, if no patient has two images, --config.data.group=

128x128, 1,500 steps of 4 pairs: a U-Net that draws what to add to the image, a spectrally
normalised discriminator of 70x70 patches, least squares, 100 times the mean absolute error. 1,183
pairs of LGG brain MRI: 12 minutes on one CPU core, SSIM in the body of test patients 0.834 (of the
image itself 0.807). docs/translation.md says what the scores mean.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from translate.config import translate_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = translate_config(arg)
    config.data.update(name="brain_mri", image_size=128, channels=1, batch_size=4, take="R>G")
    # A patient's slices are PATIENT_1.jpg, PATIENT_2.jpg, ... Change it for names of another form.
    config.data.group = "(.+)_"
    # Image and target move together.
    config.augment.update(flip_horizontal=True, rotation=10.0, zoom=0.1, translation=0.05)
    config.train.update(num_steps="1500", log_every="20", best_metric="val/l1", best_is="lowest")
    config.train.update(eval_every="200", checkpoint_every="200", picture_every="200")
    config.model.update(name="pix2pix", generator="unet", width=16, patch_width=32)
    config.model.update(average_decay=0.99, difference=True)
    config.optimizer.generator.update(learning_rate=1e-3, decay="linear", decay_begin="50 %")
    if arg == "tiny":
        config.data.update(image_size=24, num_phantoms=16)
        config.model.update(width=4, depth=2, patch_width=4)
        config.train.update(TINY_TRAIN)
    return config.lock()
