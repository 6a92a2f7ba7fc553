r"""COVID / non-COVID lung CT, as we would train it.

python launch.py --config=configs/vgg16_covid_best.py                                  phantoms
python launch.py --config=configs/vgg16_covid_best.py --config.data.dir=DIR \
    --config.model.weights=imagenet                                                    your images
python launch.py --mode=evaluate --workdir=runs/vgg16_covid_best

Instead of the report's VGG16 (vgg16_covid.py): EfficientNet-Lite0, which takes a fortieth of the
work, all layers fine-tuned at a small learning rate with augmentation, mixup, a moving average of
the weights and label smoothing; new images are also seen mirrored. It trains on nine tenths of the
training and validation images. docs/classification.md has its scores.
"""

from ml_collections import ConfigDict

from classify.config import classify_config
from common.config.defaults import TINY_TRAIN


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = classify_config(arg)
    config.data.update(name="covid_ct", image_size=224, channels=1, batch_size=16)
    config.data.folds = 10
    config.augment.update(flip_horizontal=True, rotation=10.0, crop=0.25, brightness=0.1)
    config.augment.update(contrast=0.2, fill="edge")
    config.train.update(num_steps="20 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    config.train.update(picture_every="5 epochs", log_every="20")
    config.model.update(name="efficientnet_lite0", average_decay=0.98, mirror=True)
    config.model.network = ConfigDict(
        {"depth": 1.0, "dropout_rate": 0.2, "stored_statistics": True}
    )
    config.loss.update(label_smoothing=0.1, mixup=0.2)
    config.optimizer.update(learning_rate=1.5e-4, weight_decay=1e-2)
    config.optimizer.update(warmup="1 epochs", decay="cosine", decay_begin="1 epochs")
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=8, num_phantoms=32)
        config.model.network.depth = 0.25
        config.train.update(TINY_TRAIN)
        config.optimizer.update(warmup="1", decay_begin="1")
    return config.lock()
