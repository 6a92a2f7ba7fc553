r"""One network that learns to classify from a few labelled X-rays, and from all others without any.

python launch.py --config=configs/semi_supervised_chest_xray.py                        phantoms
python launch.py --config=configs/semi_supervised_chest_xray.py --config.data.dir=DIR \
    --config.data.folds=10 --config.data.labels_per_class=25                           yours
python launch.py --mode=evaluate --workdir=runs/semi_supervised_chest_xray

Salimans et al. (2016): the discriminator of a DCGAN tells the classes and "generated" apart. Images
with a label teach it the classes, all images what is real; the generator matches its features. A
third of a batch is unlabelled, and a third of each class. docs/few_labels.md has the comparison.
Not yet measured on patients.
"""

from ml_collections import ConfigDict

from common.config.defaults import TINY_TRAIN
from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="chest_xray", image_size=64, channels=1, batch_size=96)
    config.data.update(labels_per_class=25, unlabelled="keep", balance=True)
    config.train.update(num_steps="1500", log_every="10", eval_every="100", low_memory=True)
    config.train.update(checkpoint_every="100", picture_every="500")
    config.train.update(best_metric="val/discriminator_class_loss_real", best_is="lowest")
    config.model.name = "dcgan"
    config.model.generator.update(width=64)
    config.model.discriminator.update(width=64, k_plus_one=True)
    # Labelled images count as much as the mean of real and generated ones, as in the paper.
    config.loss.update(discriminator_weight=0.5, class_weight=2.0)
    config.loss.update(generator_weight=0.0, feature_matching=1.0)
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=12, num_phantoms=64, labels_per_class=4)
        config.model.generator.width = config.model.discriminator.width = 8
        config.train.update(TINY_TRAIN)
    return config.lock()
