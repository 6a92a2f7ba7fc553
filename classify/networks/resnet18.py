"""ResNet-18: residual blocks, batch normalisation, one dense layer.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016), table 1, as in
torchvision: two 3x3 convolutions make a block, the first of them strided, and a 1x1 convolution
resizes the shortcut.
"""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from classify.networks import Classifier, Images, Maps
from common.devices.axis import AXIS
from common.learning.network import Variables
from common.networks.layers import BatchNorm, Conv
from common.networks.vgg16 import to_imagenet_range
from common.networks.weight_files import read_weights, torch_layers
from common.program.errors import UserError

STAGES = ("stem", "stage_1", "stage_2", "stage_3", "stage_4")
_EPSILON = 1e-5
_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_BLOCKS = 2


class Network(Classifier):
    """A 7x7 convolution, four stages of two residual blocks, the mean of their maps.

    Attributes:
      width: maps of the first stage; 64 in the paper.
      imagenet_input: whether a grey image is copied to three channels and scaled to the range of
        ImageNet, as published weights expect; with them it is the default.
      stored_statistics: whether BatchNorm keeps the statistics that came with the weights, in
        training, too.
      frozen: this many stages, from the image on, never learn, nor does their BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    width: int = 64
    imagenet_input: bool = False
    stored_statistics: bool = False
    frozen: int = 0
    axis_name: str = AXIS

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps."""

        def conv(x: Array, features: int, size: int, stride: int, name: str) -> Array:
            pad = size // 2
            pads = ((pad, pad), (pad, pad))
            x = Conv(features, size, stride, pads, False, _INIT, name=f"{name}_conv")(x)
            norm = BatchNorm(0.9, _EPSILON, self.axis_name, name=f"{name}_norm")
            stays = self.stored_statistics or name.startswith(STAGES[: self.frozen])
            return norm(x, use_running_average=not train or stays)

        if self.imagenet_input:
            images = to_imagenet_range(jnp.broadcast_to(images, (*images.shape[:3], 3)))
        x = nn.relu(conv(images, self.width, 7, 2, "stem"))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage in range(1, 5):
            features = self.width << (stage - 1)
            for block in range(1, _BLOCKS + 1):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if stage > 1 and block == 1 else 1
                y = nn.relu(conv(x, features, 3, stride, f"{name}_1"))
                y = conv(y, features, 3, 1, f"{name}_2")
                if stride > 1:
                    x = conv(x, features, 1, stride, f"{name}_shortcut")
                x = nn.relu(x + y)
        return x


def pretrained(file: Path | None, sha256: str) -> Variables:
    """Returns parameters and running statistics of all but the last layer, 64 maps wide.

    Args:
      file: of torchvision.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: no file is named, or it can't be used.
    """
    if file is None:
        raise UserError(
            "No package has weights of ResNet-18; name a file or URL of torchvision by"
            " --config.model.weights and --config.model.weights_sha256."
        )
    return torch_layers(read_weights(file, sha256), _layer_names(), str(file))


def _layer_names() -> list[tuple[str, str, str]]:
    """Returns each convolution's name here, and its and its BatchNorm's in torchvision."""
    names = [("stem", "conv1", "bn1")]
    for stage in range(1, 5):
        for block in range(1, _BLOCKS + 1):
            ours, theirs = f"stage_{stage}_block_{block}", f"layer{stage}.{block - 1}"
            names += [(f"{ours}_{i}", f"{theirs}.conv{i}", f"{theirs}.bn{i}") for i in (1, 2)]
            if stage > 1 and block == 1:
                downsample = f"{theirs}.downsample"
                names.append((f"{ours}_shortcut", f"{downsample}.0", f"{downsample}.1"))
    return names
