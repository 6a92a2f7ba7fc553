"""AC-GAN on COVID / non-COVID lung CT: can one network draw both classes on demand?

python launch.py --config=configs/acgan_covid.py                        built-in phantoms
python launch.py --config=configs/acgan_covid.py --config.data.dir=DIR  your images, DIR/class/*

64x64, 1,500 steps: 5 minutes 49 seconds for the 425 training slices of COVID-CT on two CPU cores,
143 images/s. The grid shows varied lungs; docs/quality.md has their scores.

It is the report's AC-GAN but for a batch of 32 images instead of 100, embeddings that start within
+-1 instead of +-0.05, an average of the generator's weights that draws, and 64 pixels instead of
256. acgan_covid_report.py has the report's values; acgan_covid_best.py draws better images.
"""

from ml_collections import ConfigDict

from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="covid_ct", image_size=64, channels=1, batch_size=32)
    # config.augment is off, as in the original. It changes only the real images, so its traces
    # (mirrored lungs, black corners) become part of what the generator draws.
    config.model.update(name="acgan", average_decay=0.99)
    # Keras, in which the original was written, starts embeddings within +-0.05. Each class then
    # became one picture, also with a smaller epsilon in BatchNorm, and averages of the generator
    # were noise; docs/gallery.md shows it.
    config.model.generator.update(momentum=0.8, embedding_scale=1.0)
    config.model.discriminator.update(dropout_rate=0.25, momentum=0.8)
    config.loss.discriminator_weight = 0.5  # the mean over real and generated images
    config.optimizer.generator.epsilon = config.optimizer.discriminator.epsilon = 1e-7
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
    return config.lock()
