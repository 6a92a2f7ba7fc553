"""New images like yours: what does a GAN learn from a folder of pictures?

python launch.py --config=configs/gan.py --config.data.dir=DIR  your images: DIR/class/*, or DIR/*
python launch.py --config=configs/gan.py                        built-in phantoms
python launch.py --mode=evaluate --workdir=runs/gan
python launch.py --mode=generate --workdir=runs/gan --num_images=1000 --output=DIR

64x64, grey or colour like most of your images. If they have classes, an AC-GAN draws the class that
it is given; if all are of one class, it is a DCGAN. All images are used for training.

The AC-GAN is that of acgan_covid.py, whose 1,500 steps take 5 minutes 49 seconds on two CPU cores.
`make run DATA=ct` on 300 slices of COVID-CT took 77 minutes on two cores shared with up to twenty
other programs: Frechet distance 43 of radiomic features (floor 1.3), coverage
0.15 (floor 0.98), MS-SSIM of pairs 0.28 and 0.32 (real ones 0.32 and 0.27).
"""

from ml_collections import ConfigDict

from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="covid_ct", image_size=64, channels=0, batch_size=32)
    config.model.average_decay = 0.99
    config.loss.discriminator_weight = 0.5  # the mean over real and generated images
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
    else:
        config.train.log_every = "25"
    return config.lock()
