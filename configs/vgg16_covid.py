r"""VGG16 on COVID / non-COVID lung CT, as in the report: does transfer learning work?

python launch.py --config=configs/vgg16_covid.py                                       phantoms
python launch.py --config=configs/vgg16_covid.py --config.data.dir=DIR \
    --config.model.weights=imagenet                                                    your images

256x256, grey copied to three channels, ImageNet weights, flattened to 4096-4096-2, Adam 0.001, all
layers trained, batches of 200, 5 epochs: 165,726,018 parameters. If the images come in one split,
--config.data.splits=75,10,15 holds some out. `optimizer.accumulate` computes the batch in parts if
it does not fit in memory.
"""

from ml_collections import ConfigDict

from classify.config import classify_config
from common.config.defaults import TINY_TRAIN


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = classify_config(arg)
    config.data.update(name="covid_ct", image_size=256, channels=1, batch_size=200)
    config.train.update(num_steps="5 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    config.train.update(picture_every="1 epochs", log_every="1")
    config.model.name = "vgg16"
    config.model.network = ConfigDict({"width": 64, "hidden": (4096, 4096), "pooled": False})
    config.optimizer.update(epsilon=1e-7, accumulate=25)
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=8, num_phantoms=32)
        config.model.network.update(width=4, hidden=(16, 16))
        config.optimizer.accumulate = 2
        config.train.update(TINY_TRAIN)
    return config.lock()
