"""Does synthetic data help? COVID / non-COVID lung CT, classifiers with and without it.

python launch.py --mode=utility --config=configs/utility_covid.py                        phantoms
python launch.py --mode=utility --config=configs/utility_covid.py --config.data.dir=DIR  your images

50, 100 and all real images of each class, three seeds. Each trains the AC-GAN of acgan_covid.py
(1,500 steps; --config.gan.train.num_steps=500 for a first look) and, from scratch, small networks
on real, augmented and synthetic images and mixtures of them. Needs train, val and test:
--config.data.splits=70,15,15 makes them, or --config.study.folds=5 tests every patient once.
docs/does_synthetic_data_help.md explains the comparison and has the result on COVID-CT.
"""

from ml_collections import ConfigDict

from configs import acgan_covid, small_cnn_chest_xray
from studies.config import utility_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    return study_of(acgan_covid.get_config(arg), arg).lock()


def study_of(gan: ConfigDict, arg: str) -> ConfigDict:
    """Returns the study of a GAN.

    Args:
      gan: its config.
      arg: that of `get_config`.
    """
    gan = ConfigDict(gan.to_dict())
    gan.train.update(log_every="100", picture_every="500", checkpoint_every="500", eval_every="0")
    classifier = ConfigDict(small_cnn_chest_xray.get_config(arg).to_dict())
    classifier.model.network.width = 4 if arg == "tiny" else 16
    classifier.augment.flip_horizontal = True
    classifier.train.update(num_steps="400", eval_every="50", checkpoint_every="50")
    classifier.train.update(log_every="50", picture_every="0", keep_last=1)
    classifier.optimizer.decay = "none"
    # Streamed data have the same shapes for any number of images: one program for all arms.
    gan.data.resident_limit_mb = classifier.data.resident_limit_mb = 0
    config = utility_config(gan, classifier)
    config.data.num_phantoms = 512
    if arg == "tiny":
        config.study.update(sizes="8,all", seeds="0,1", arms="real,real+1,synthetic")
        config.data.update(image_size=16, num_phantoms=32)
        config.classifier.train.update(num_steps="6", eval_every="3", checkpoint_every="3")
        config.gan.train.update(num_steps="4", checkpoint_every="4", log_every="2")
    return config
