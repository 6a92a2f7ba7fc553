"""PyTorch's networks by the names of ours."""

from typing import Any

from torch import nn
from torch_gans import (
    ACGANDiscriminator,
    ACGANGenerator,
    CNNGANDiscriminator,
    CNNGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    DenseDiscriminator,
    DenseGenerator,
)
from torch_projected import ProjectedDiscriminator, ProjectedGenerator


def make_networks(config: Any, channels: int, num_classes: int) -> tuple[nn.Module, nn.Module]:
    """Returns the generator and the discriminator of one of our configs.

    Raises:
      KeyError: there is none of that name.
    """
    size, model = config.data.image_size, config.model
    latent = model.generator.latent_size
    if model.name == "dcgan":
        return (
            DCGANGenerator(channels, latent, model.generator.width),
            DCGANDiscriminator(channels, model.discriminator.width),
        )
    if model.name == "acgan":
        rate = model.discriminator.get("dropout_rate", 0.25)
        return (
            ACGANGenerator(size, channels, latent, num_classes),
            ACGANDiscriminator(size, channels, num_classes, rate),
        )
    if model.name == "cnn_gan":
        return (
            CNNGANGenerator(size, channels, latent),
            CNNGANDiscriminator(size, channels, model.discriminator.dropout_rate),
        )
    if model.name == "dense":
        rate = model.generator.get("dropout_rate", 0.0)
        return (
            DenseGenerator(size, channels, latent, model.generator.widths, rate),
            DenseDiscriminator(size, channels, model.discriminator.widths),
        )
    if model.name == "projected":
        return (
            ProjectedGenerator(size, channels, num_classes, **model.generator),
            ProjectedDiscriminator(size, channels, num_classes, **model.discriminator),
        )
    raise KeyError(model.name)
