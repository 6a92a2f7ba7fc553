"""The network of the Fréchet Inception distance (FID): an image as 2,048 features.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer
Vision" (2016), in the version of 2015 with which Heusel et al. (2017) defined the distance and
which pytorch-fid uses. It differs from torchvision's in three points: average pooling ignores the
padding, the last block uses max pooling, and it was trained on 1,008 classes.

21,785,568 parameters and 34,432 moving statistics. Keras counts 23,851,784: these, with 1,000
classes (2,049,000 more) and without the scales of BatchNorm (17,216 fewer).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.networks.layers import BatchNorm, Conv
from common.networks.weight_files import Layers, read_weights, torch_layers
from common.program.errors import UserError

PUBLISHED = "pt_inception-2015-12-05-6726825d.pth"
_SIZE = 299
_EPSILON = 1e-3


class _Conv(NamedTuple):
    """A convolution, BatchNorm and ReLU; padded unless it halves the image."""

    features: int
    height: int = 1
    width: int = 1
    stride: int = 1


class _Block(NamedTuple):
    """Parallel branches whose maps are concatenated; "branch_pool" sees the pooled input."""

    pool: Callable[[Array], Array]
    branches: Mapping[str, tuple[_Conv | tuple[_Conv, _Conv], ...]]  # a pair forks


_shrink = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
_maximum = partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
_mean = partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)


def _block_a(pooled: int) -> _Block:
    return _Block(
        _mean,
        {
            "branch1x1": (_Conv(64),),
            "branch5x5": (_Conv(48), _Conv(64, 5, 5)),
            "branch3x3dbl": (_Conv(64), _Conv(96, 3, 3), _Conv(96, 3, 3)),
            "branch_pool": (_Conv(pooled),),
        },
    )


def _block_c(width: int) -> _Block:
    across, down = _Conv(width, 1, 7), _Conv(width, 7, 1)
    return _Block(
        _mean,
        {
            "branch1x1": (_Conv(192),),
            "branch7x7": (_Conv(width), across, _Conv(192, 7, 1)),
            "branch7x7dbl": (_Conv(width), down, across, down, _Conv(192, 1, 7)),
            "branch_pool": (_Conv(192),),
        },
    )


def _block_e(pool: Callable[[Array], Array]) -> _Block:
    fork = (_Conv(384, 1, 3), _Conv(384, 3, 1))
    return _Block(
        pool,
        {
            "branch1x1": (_Conv(320),),
            "branch3x3": (_Conv(384), fork),
            "branch3x3dbl": (_Conv(448), _Conv(384, 3, 3), fork),
            "branch_pool": (_Conv(192),),
        },
    )


_BLOCKS = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _Block(
        _shrink,
        {
            "branch3x3": (_Conv(384, 3, 3, 2),),
            "branch3x3dbl": (_Conv(64), _Conv(96, 3, 3), _Conv(96, 3, 3, 2)),
            "branch_pool": (),
        },
    ),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _Block(
        _shrink,
        {
            "branch3x3": (_Conv(192), _Conv(320, 3, 3, 2)),
            "branch7x7x3": (_Conv(192), _Conv(192, 1, 7), _Conv(192, 7, 1), _Conv(192, 3, 3, 2)),
            "branch_pool": (),
        },
    ),
    "Mixed_7b": _block_e(_mean),
    "Mixed_7c": _block_e(_maximum),
}


class Inception(nn.Module):
    """Grey or RGB images -> five convolutions -> eleven blocks -> the mean of 2,048 maps.

    The layers are named as in the published file, and each block's maps are kept under its name.
    """

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch 2048"]:
        """Maps images in [0, 1] to features; a grey image fills all three channels."""

        def conv(x: Array, layer: _Conv, name: str, padding: str = "") -> Array:
            features, height, width, stride = layer
            padding = padding or ("SAME" if stride == 1 else "VALID")
            x = Conv(features, (height, width), stride, padding, False, name=f"{name}_conv")(x)
            norm = BatchNorm(0.9, _EPSILON, name=f"{name}_norm")
            return nn.relu(norm(x, use_running_average=True))

        def branch(x: Array, layers: Sequence[_Conv | tuple[_Conv, _Conv]], name: str) -> Array:
            for number, layer in enumerate(layers, 1):
                part = f"{name}_{number}" if len(layers) > 1 else name
                if isinstance(layer, _Conv):
                    x = conv(x, layer, part)
                else:
                    fork = zip(layer, (f"{part}a", f"{part}b"), strict=True)
                    x = jnp.concatenate([conv(x, *prong) for prong in fork], -1)
            return x

        x = 2 * resize(images, _SIZE) - 1
        x = jnp.broadcast_to(x, (*x.shape[:3], 3))
        x = conv(x, _Conv(32, 3, 3, 2), "Conv2d_1a_3x3")
        x = conv(x, _Conv(32, 3, 3), "Conv2d_2a_3x3", "VALID")
        x = _shrink(conv(x, _Conv(64, 3, 3), "Conv2d_2b_3x3"))
        x = conv(x, _Conv(80), "Conv2d_3b_1x1")
        x = _shrink(conv(x, _Conv(192, 3, 3), "Conv2d_4a_3x3", "VALID"))
        for name, block in _BLOCKS.items():
            parts = [
                branch(block.pool(x) if part == "branch_pool" else x, layers, f"{name}.{part}")
                for part, layers in block.branches.items()
            ]
            x = jnp.concatenate(parts, -1)
            self.sow("intermediates", name, x)
        return x.mean((1, 2))


def resize(
    images: Float[Array, "batch height width channels"], size: int
) -> Float[Array, "batch {size} {size} channels"]:
    """Resizes as PyTorch's bilinear `interpolate` does, which published scores use.

    Each pixel comes from the four nearest ones, even when images shrink, which then skips pixels
    ("aliasing"; Parmar, Zhang and Zhu, 2022).
    """
    shape = (len(images), size, size, images.shape[-1])
    resized: Array = jax.image.resize(images, shape, "bilinear", antialias=False)
    return resized


def pretrained(file: Path, sha256: str = "") -> dict[str, Layers]:
    """Returns the variables of `Inception`.

    Args:
      file: as published with pytorch-fid (`PUBLISHED`).
      sha256: of the file; "" is not checked.

    Raises:
      UserError: it can't be read, or holds another network, such as torchvision's Inception.
    """
    arrays = read_weights(file, sha256)
    like = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, _SIZE, _SIZE, 3)))
    names = [name.removesuffix("_conv") for name in like["params"] if name.endswith("_conv")]
    layers = [(name, f"{name}.conv", f"{name}.bn") for name in names]
    variables = torch_layers(arrays, layers, str(file))
    shapes, expected = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (variables, like))
    if shapes != expected or arrays.get("fc.weight", np.empty(0)).shape != (1008, 2048):
        raise UserError(
            f"{file} holds a different Inception network from the one that defines FID; use"
            f" {PUBLISHED}, which the pytorch-fid project publishes."
        )
    return variables
