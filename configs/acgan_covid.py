"""AC-GAN on COVID / non-COVID lung CT: can one network draw both classes on demand?

python launch.py --config=configs/acgan_covid.py                        built-in phantoms
python launch.py --config=configs/acgan_covid.py --config.data.dir=DIR  your images, DIR/class/*
"""

from ml_collections import ConfigDict

from common.training.config import default_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = default_config(arg)
    config.task = "gan"
    config.data.update(name="covid_ct", image_size=64, channels=1, batch_size=32)
    config.model = ConfigDict(
        {
            "name": "acgan",
            # Of the generator that draws; 0 draws from the last step. Over 1,500 steps of
            # COVID-CT, averages of 0.9, 0.97, 0.99, 0.995 and 0.999 all drew noisier images.
            "average_decay": 0.0,
            # With labels embedded in +-0.05, as the original has them, the latent hardly gets
            # past the first BatchNorm's epsilon; +-1 lets it vary the images (see the figures).
            "generator": {"latent_size": 100, "momentum": 0.8, "embedding_scale": 0.05},
            "discriminator": {"dropout_rate": 0.25, "momentum": 0.8},
        }
    )
    config.loss = ConfigDict({"class_weight": 1.0})
    adam = {"learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-7}
    config.optimizer = ConfigDict({"generator": adam, "discriminator": adam})
    config.train.num_steps = "2000"
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        config.train.num_steps = "6"
    return config.lock()
