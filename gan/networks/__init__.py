"""The networks: one file per GAN, found by its name, config.model.name = "acgan".

No name means the AC-GAN, which is told a class, or the DCGAN where all images are of one.

A file offers the Linen modules `Generator` and `Discriminator` with the fields and calls that
`gan/networks/dcgan.py` shows; docs/new_gan.md makes one. What stands in config.model.generator and
config.model.discriminator are their further fields.
"""

import importlib
import pkgutil
from typing import Any, NamedTuple, TypeAlias

from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError

# Class ids, or the share of each class: what is between two of them can be drawn, too.
Labels: TypeAlias = Int[Array, " batch"] | Float[Array, "batch classes"]


class Judgement(NamedTuple):
    """What a discriminator says of images.

    Attributes:
      logits: positive for "real".
      class_logits: which class; None where the discriminator knows none.
    """

    logits: Float[Array, " batch"]
    class_logits: Float[Array, "batch classes"] | None


class Networks(NamedTuple):
    """The two players.

    Attributes:
      generator: its `latent_size` says what it draws from, its `conditional` whether it draws the
        class that it is asked for.
      discriminator: judges images.
    """

    generator: Any  # modules with fields that nn.Module does not declare
    discriminator: nn.Module


def network_name(model: ConfigDict, card: DataCard) -> str:
    """Returns config.model.name, or without one what fits the classes of the images."""
    return model.name or ("acgan" if len(card.classes) > 1 else "dcgan")


def make_networks(model: ConfigDict, card: DataCard) -> Networks:
    """Builds the networks that config.model names, for images of this size and these classes.

    Raises:
      UserError: there is no such file, or a setting that its networks do not have.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    name = network_name(model, card)
    if name not in known:
        raise UserError(f"config.model.name is {name!r}; it must be one of {known}.")
    module = importlib.import_module(f"{__name__}.{name}")
    shape = {
        "image_size": card.image_size,
        "channels": card.channels,
        "num_classes": len(card.classes),
    }
    parts = {}
    for part in ("generator", "discriminator"):
        settings = dict(model.get(part, {}))
        try:
            parts[part] = getattr(module, part.capitalize())(**shape, **settings)
        except TypeError as error:
            raise UserError(f"config.model.{part}: {error}.") from error
    return Networks(**parts)
