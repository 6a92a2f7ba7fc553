"""Which class is an image of? A classifier for any folder of classes.

python launch.py --config=configs/classify.py --config.data.dir=DIR  your images, DIR/class/*
python launch.py --config=configs/classify.py                        built-in phantoms
python launch.py --mode=evaluate --workdir=runs/classify
python launch.py --mode=predict  --workdir=runs/classify --input=IMAGES --output=OUT --explain

EfficientNet-Lite0 with ImageNet weights, all layers fine-tuned at 224x224. A missing val or test
split is made of 15 % of train. Images are not mirrored, as left and right may be two classes.

300 steps of 0.75 s on two CPU cores, as in vgg16_covid_best.py. 360 slices of LGG brain MRI in
folders of 63 patients, with and without a tumour, stopped after 126 steps: AUC 0.91 [0.81, 0.97] on
53 test images of 12 patients. The full length is not yet measured.
"""

from ml_collections import ConfigDict

from classify.config import classify_config
from common.config.defaults import TINY_TRAIN


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = classify_config(arg)
    config.data.update(name="covid_ct", image_size=224, channels=0, batch_size=16)
    config.data.held_out = "15,15"
    config.augment.update(rotation=10.0, crop=0.25, brightness=0.1, contrast=0.2, fill="edge")
    config.train.update(num_steps="300", eval_every="50", checkpoint_every="50")
    config.train.update(picture_every="100", log_every="10")
    config.model.update(name="efficientnet_lite0", weights="imagenet", average_decay=0.98)
    config.model.network = ConfigDict(
        {"depth": 1.0, "dropout_rate": 0.2, "stored_statistics": True}
    )
    config.loss.label_smoothing = 0.1
    config.optimizer.update(learning_rate=1.5e-4, weight_decay=1e-2, warmup="30")
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=8, num_phantoms=32)
        config.model.weights = ""
        config.model.network.depth = 0.25
        config.train.update(TINY_TRAIN)
        config.optimizer.warmup = "1"
    return config.lock()
