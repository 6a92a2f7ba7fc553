r"""COVID or not, before anyone says: a network learns from CT slices without their labels.

python launch.py --config=configs/pretrain_covid.py                                built-in phantoms
python launch.py --config=configs/pretrain_covid.py --config.data.dir=DIR \
    --config.data.group='^(.*?)(?:-p\d.*|_\d.*|\.\w+)$' --workdir=runs/pretrained  your images
python launch.py --mode=evaluate --workdir=runs/pretrained --split=val

A classifier of the same network then starts from it, with --config.train.init_from=runs/pretrained.
Two slices of a patient, varied at random, are to have like features, and all features are to differ
from image to image: VICReg; `loss.name=simclr` is the other way. docs/few_labels.md has both, and
a first look at patients: what a classifier gains is not yet measured.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from pretrain.config import pretrain_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = pretrain_config(arg)
    config.data.update(name="covid_ct", image_size=64, channels=1, batch_size=64)
    config.augment.update(crop=0.6, flip_horizontal=True, rotation=10.0, fill="edge")
    config.augment.update(brightness=0.2, contrast=0.4, gamma=0.5)
    config.train.update(num_steps="2000", log_every="20", eval_every="200")
    config.train.update(checkpoint_every="200", picture_every="500", low_memory=True)
    config.model.name = "small_cnn"
    config.model.network = ConfigDict({"width": 32})
    config.optimizer.update(learning_rate=1e-3, warmup="5 %", decay="cosine", decay_begin="5 %")
    if arg == "tiny":
        config.data.update(image_size=32, batch_size=8, num_phantoms=32)
        config.model.network.width = 4
        config.model.projector = (16, 16)
        config.train.update(TINY_TRAIN)
    return config.lock()
