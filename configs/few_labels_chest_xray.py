r"""Pneumonia or not, learnt from 25 labelled X-rays of each class: does a GAN's start help?

python launch.py --config=configs/few_labels_chest_xray.py                        phantoms
python launch.py --config=configs/few_labels_chest_xray.py --config.data.dir=DIR \
    --config.data.folds=10 --config.train.init_from=GAN                           yours
python launch.py --mode=evaluate --workdir=runs/few_labels_chest_xray

GAN is the workdir of one whose discriminator has these layers and saw all images without labels:
python launch.py --config=configs/dcgan_chest_xray.py --config.data.channels=1 \
    --config.data.dir=DIR --config.data.folds=10 --workdir=GAN

Without `init_from`, the same network from scratch. docs/few_labels.md compares them. Not yet
measured on patients.
"""

from ml_collections import ConfigDict

from classify.config import classify_config
from common.config.defaults import TINY_TRAIN


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = classify_config(arg)
    config.data.update(name="chest_xray", image_size=64, channels=1, batch_size=16)
    config.data.labels_per_class = 25
    config.augment.update(rotation=10.0, zoom=0.1, translation=0.05, fill="edge")
    config.augment.update(brightness=0.1, contrast=0.2)
    config.train.update(num_steps="300", log_every="10", eval_every="20", checkpoint_every="20")
    config.train.update(picture_every="100")
    config.model.update(name="dcgan", average_decay=0.98)
    config.model.network = ConfigDict({"width": 64, "dropout_rate": 0.0})
    config.optimizer.update(learning_rate=2e-4, decay="cosine", weight_decay=1e-2)
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=32, labels_per_class=4)
        config.model.network.width = 8
        config.train.update(TINY_TRAIN)
    return config.lock()
