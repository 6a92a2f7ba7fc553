r"""Tumours in brain MRI, learnt from ten labelled patients: does a GAN's start help?

python launch.py --config=configs/few_labels_brain_mri.py                        phantoms
python launch.py --config=configs/few_labels_brain_mri.py --config.data.dir=DIR \
    --config.train.init_from=GAN                                                 yours
python launch.py --mode=evaluate --workdir=runs/few_labels_brain_mri

A U-Net whose way down is the discriminator of GAN, a run that has seen all slices without masks:
python launch.py --config=configs/dcgan_chest_xray.py --config.data.name=brain_mri \
    --config.data.dir=DIR --config.data.image_size=128 --config.model.generator.width=16 \
    --config.model.discriminator.width=16 --workdir=GAN

Without `init_from`, the same network from scratch. docs/few_labels.md compares them. Not yet
measured on patients.
"""

from ml_collections import ConfigDict

from configs import unet_brain_mri_best


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = unet_brain_mri_best.get_config(arg).unlock()
    config.data.labelled_patients = 4 if arg == "tiny" else 10
    config.model.update(encoder="dcgan", input="signed")
    if arg != "tiny":
        config.train.update(num_steps="1500", eval_every="100", checkpoint_every="100")
        config.train.picture_every = "500"
    return config.lock()
