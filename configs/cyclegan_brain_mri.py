"""CycleGAN on brain MRI: pre-contrast to FLAIR and back, learnt without a single pair.

python launch.py --config=configs/cyclegan_brain_mri.py                        built-in phantoms
python launch.py --config=configs/cyclegan_brain_mri.py --config.data.dir=DIR  your images
python launch.py --mode=evaluate --workdir=runs/cyclegan_brain_mri
python launch.py --mode=predict  --workdir=runs/cyclegan_brain_mri --input=IMAGES --output=FLAIR

Every other training patient gives the pre-contrast images, the others the FLAIR images; validation
and test keep their pairs, so that translations can be compared with the truth. --back translates
the other way. Images of two kinds that have no pairs at all, DIR/A/*.png and DIR/B/*.png, need
--config.data.take= and --config.data.held_out=15,15; A is translated to B.

128x128, 1,200 steps of an image of each kind: residual generators, spectrally normalised
discriminators of 70x70 patches, least squares, a pool of 50 images.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from translate.config import translate_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = translate_config(arg)
    config.data.update(name="brain_mri", image_size=128, channels=1, batch_size=1, take="R>G")
    config.data.group = "(.+)_"  # the patient, see pix2pix_brain_mri.py
    config.augment.update(flip_horizontal=True, rotation=10.0, zoom=0.1, translation=0.05)
    # The last checkpoint is used: choosing the best by its targets would be learning from pairs.
    config.train.update(num_steps="1200", log_every="20", eval_every="200")
    config.train.update(checkpoint_every="200", picture_every="200")
    config.model.update(name="cyclegan", generator="residual", width=16, blocks=4, patch_width=32)
    config.model.average_decay = 0.99
    if arg == "tiny":
        config.data.update(image_size=24, batch_size=4, num_phantoms=16)
        config.model.update(width=4, blocks=1, patch_width=4, pool_size=3)
        config.train.update(TINY_TRAIN)
    return config.lock()
