"""COVID / non-COVID lung CT, drawn well from 425 slices: a critic that was pretrained on ImageNet.

python launch.py --config=configs/acgan_covid_best.py                        built-in phantoms
python launch.py --config=configs/acgan_covid_best.py --config.data.dir=DIR  your images
"""

from ml_collections import ConfigDict

from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="covid_ct", image_size=64, channels=1, batch_size=16)
    config.discriminator_augment.update(
        translation=0.125, cutout=0.2, brightness=0.1, contrast=0.2
    )
    config.model.update(name="projected", average_decay=0.995)
    config.model.generator.update(latent_size=128, width=32)
    config.model.discriminator.update(projection=True, classifier=False, seen_size=64)
    config.loss.update(name="hinge", diversity=8.0)
    config.optimizer.generator.update(learning_rate=2e-4, beta1=0.0, beta2=0.99)
    config.optimizer.discriminator.update(learning_rate=2e-4, beta1=0.0, beta2=0.99)
    config.train.update(num_steps="2000")
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.model.generator.width = 8
        config.model.discriminator.seen_size = 32
    return config.lock()
