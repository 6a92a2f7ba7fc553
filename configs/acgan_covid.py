"""AC-GAN on COVID / non-COVID lung CT: can one network draw both classes on demand?

python launch.py --config=configs/acgan_covid.py                        built-in phantoms
python launch.py --config=configs/acgan_covid.py --config.data.dir=DIR  your images, DIR/class/*

64x64, 1,500 steps: 5 minutes 49 seconds for the 425 training slices of COVID-CT on two CPU cores,
143 images/s. The grid shows lungs, different ones; quality and usefulness are not yet measured.
"""

from ml_collections import ConfigDict

from common.training.config import default_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = default_config(arg)
    config.task = "gan"
    config.data.update(name="covid_ct", image_size=64, channels=1, batch_size=32)
    # config.augment is off, as in the original. It varies the real images alone, so what it does to
    # them (mirrored lungs, black corners) becomes part of what the generator draws.
    config.model = ConfigDict(
        {
            "name": "acgan",
            "average_decay": 0.99,  # of the generator that draws; 0 draws from the last step
            # Keras, in which the original was written, starts embeddings within +-0.05. Each class
            # then became one picture, with a smaller epsilon in BatchNorm too, and averages of the
            # generator were noise; README.md has the figures.
            "generator": {"latent_size": 100, "momentum": 0.8, "embedding_scale": 1.0},
            "discriminator": {"dropout_rate": 0.25, "momentum": 0.8},
        }
    )
    config.loss = ConfigDict({"class_weight": 1.0})
    adam = {"learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-7}
    config.optimizer = ConfigDict({"generator": adam, "discriminator": adam})
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
    return config.lock()
