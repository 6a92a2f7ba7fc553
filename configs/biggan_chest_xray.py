"""BigGAN on chest X-rays at 128x128: what do residual blocks, attention and classes draw?

python launch.py --config=configs/biggan_chest_xray.py                        built-in phantoms
python launch.py --config=configs/biggan_chest_xray.py --config.data.dir=DIR  yours, DIR/class/*

Brock et al. (2019), with a sixth of their maps (96 at full size), attention at 32x32 instead of
64x64, and batches of 16 instead of 2,048. docs/larger_images.md: 256x256, and what fits where.
"""

from ml_collections import ConfigDict

from gan.config import gan_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = gan_config(arg)
    config.data.update(name="chest_xray", image_size=128, channels=1, batch_size=16)
    # Without it a discriminator learns a few thousand images by heart (Zhao et al., 2020).
    config.discriminator_augment.update(translation=0.125, cutout=0.2)
    config.model.update(name="resnet", average_decay=0.999)
    for player in (config.model.generator, config.model.discriminator):
        player.update(width=16, attention=32, spectral_norm=True, orthogonal=True, remat=False)
    config.model.generator.update(latent_size=120, shared_class_size=128, hierarchical=True)
    config.loss.update(name="hinge", orthogonality=1e-4)
    config.optimizer.discriminator_steps = 2
    config.optimizer.generator.update(learning_rate=5e-5, beta1=0.0)
    config.optimizer.discriminator.update(learning_rate=2e-4, beta1=0.0)
    if arg == "tiny":
        config.data.update(image_size=16, batch_size=8, num_phantoms=64)
        for player in (config.model.generator, config.model.discriminator):
            player.update(width=4, attention=8)
    return config.lock()
