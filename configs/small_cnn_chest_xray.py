r"""A small network on chest X-rays, from scratch: pneumonia or not?

python launch.py --config=configs/small_cnn_chest_xray.py                        built-in phantoms
python launch.py --config=configs/small_cnn_chest_xray.py --config.data.dir=DIR \
    --config.data.folds=10                                                       your images
python launch.py --mode=evaluate --workdir=runs/small_cnn_chest_xray
python launch.py --mode=predict  --workdir=runs/small_cnn_chest_xray --input=IMAGES --output=OUT

The baseline that a pretrained network has to beat. Not yet measured on patients.
"""

from ml_collections import ConfigDict

from classify.config import classify_config
from common.config.defaults import TINY_TRAIN


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = classify_config(arg)
    config.data.update(name="chest_xray", image_size=64, channels=1, batch_size=32)
    config.augment.update(rotation=10.0, zoom=0.1, translation=0.05, fill="edge")
    config.augment.update(brightness=0.1, contrast=0.2)
    config.train.update(num_steps="20 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    config.train.update(picture_every="5 epochs", log_every="10")
    config.model.update(name="small_cnn", average_decay=0.99)
    config.model.network = ConfigDict({"width": 32, "dropout_rate": 0.25})
    config.optimizer.update(decay="cosine", weight_decay=1e-4)
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=8, num_phantoms=32)
        config.model.network.width = 4
        config.train.update(TINY_TRAIN)
    return config.lock()
