"""New images like yours: what does a GAN learn from a folder of pictures?

python launch.py --config=configs/gan.py --config.data.dir=DIR  your images: DIR/class/*, or DIR/*
python launch.py --config=configs/gan.py                        built-in phantoms
python launch.py --mode=evaluate --workdir=runs/gan
python launch.py --mode=generate --workdir=runs/gan --num_images=1000 --output=DIR

64x64, grey or colour like most of your images; `data.image_size=128` for larger ones. If they have
classes, it draws the class that it is given. All images are used for training.

A critic that sees through ImageNet's EfficientNet-Lite0 needs a few hundred images where another
learns them by heart; docs/quality.md has what this GAN reached with 425.
"""

from ml_collections import ConfigDict

from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="covid_ct", image_size=64, channels=0, batch_size=16)
    # Not in brightness and contrast: the generator would draw them as varied as they are seen.
    config.discriminator_augment.update(translation=0.125, cutout=0.2)
    config.model.update(name="projected", average_decay=0.995)
    config.model.generator.update(latent_size=128, width=24)
    config.model.discriminator.update(projection=True, classifier=False, scales=4, seen_size=0)
    config.loss.update(name="hinge", diversity=8.0, spread=0.2)
    for player in (config.optimizer.generator, config.optimizer.discriminator):
        player.update(learning_rate=8e-4, beta1=0.0, beta2=0.99, decay="linear")
        player.decay_begin = "50 %"
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.model.generator.width = 8
        config.model.discriminator.update(scales=1, seen_size=32)
    else:
        config.train.update(num_steps="1800", log_every="25")
    return config.lock()
