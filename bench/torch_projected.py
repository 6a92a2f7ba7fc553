"""The projected GAN's networks as PyTorch users write them, with the layer names of ours.

See `gan/networks/projected.py`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch_efficientnet_lite import TorchEfficientNetLite0
from torch_gans import Judged, same
from torch_weights import Flattened

_LEAK = 0.2
_MOST_MAPS = 256
_SKIPPED = 3
# Maps of the trunk's stages, and how many they are mixed to; maps, kernel and stride of the network
# that sees the image itself.
_STAGES = {"stage_2": (24, 64), "stage_3": (40, 64), "stage_5": (112, 128), "stage_7": (320, 256)}
_PIXEL_HEAD = ((32, 4, 2), (64, 4, 2), (128, 4, 2))
_STEEP = 16.0


class ProjectedGenerator(nn.Module):
    """Doublings from 4x4 maps, each layer modulated by latent and class."""

    def __init__(
        self,
        size: int,
        channels: int,
        num_classes: int,
        *,
        latent_size: int = 128,
        width: int = 32,
        class_size: int = 64,
    ) -> None:
        super().__init__()
        self._doublings = (size // 4).bit_length() - 1
        self._start, self._size = -(-size // 2**self._doublings), size
        self._conditional = num_classes > 1
        doublings = range(self._doublings + 1)
        maps = [min(_MOST_MAPS, width << (self._doublings - i)) for i in doublings]
        style = latent_size
        if self._conditional:
            self.add_module("class", nn.Embedding(num_classes, class_size))
            style += class_size
        self.dense = Flattened(style, 2 * maps[0] * self._start**2, maps_out=2 * maps[0])
        for i, count in enumerate(maps):
            if i:
                self.add_module(f"double_{i}", nn.Conv2d(maps[i - 1], 2 * count, 3, padding=1))
            self.add_module(f"maps_{i}_norm", nn.BatchNorm2d(2 * count))
            self.add_module(f"maps_{i}_modulation", nn.Linear(style, 4 * count))
            if i >= _SKIPPED:
                self.add_module(f"maps_{i}_grain", nn.Linear(style, 2 * count))
                earlier = maps[i - _SKIPPED]
                self.add_module(f"excite_{i}_squeeze", nn.Conv2d(earlier, count, 4))
                self.add_module(f"excite_{i}_gain", nn.Conv2d(count, count, 1))
        self.to_image = nn.Conv2d(maps[-1], channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Draws."""
        latents = latents * torch.rsqrt(latents.square().mean(-1, keepdim=True) + 1e-8)
        style = latents
        if self._conditional:  # neither hasattr nor get_submodule: `class` is no name for compile
            of_class: Any = self._modules["class"]
            style = torch.cat([latents, of_class(labels)], -1)
        x = self.dense(style)
        x = self._activated(x.view(len(x), -1, self._start, self._start), style, 0)
        levels = [x]
        for i in range(1, self._doublings + 1):
            x = self.get_submodule(f"double_{i}")(functional.interpolate(x, scale_factor=2))
            x = self._activated(x, style, i)
            if i >= _SKIPPED:
                x = x * self._excitation(levels[i - _SKIPPED], i)
            levels.append(x)
        cut = (x.shape[-1] - self._size) // 2
        images = torch.tanh(self.to_image(x))
        return images[:, :, cut : cut + self._size, cut : cut + self._size]

    def _activated(self, x: Tensor, style: Tensor, layer: int) -> Tensor:
        x = self.get_submodule(f"maps_{layer}_norm")(x)
        by = self.get_submodule(f"maps_{layer}_modulation")(style)[:, :, None, None]
        gain, shift = by.chunk(2, 1)
        x = x * (1 + gain) + shift
        if layer >= _SKIPPED:
            grain = self.get_submodule(f"maps_{layer}_grain")(style)[:, :, None, None]
            x = x + grain * torch.randn_like(x[:, :1])
        return functional.glu(x, 1)

    def _excitation(self, x: Tensor, layer: int) -> Tensor:
        rest = -x.shape[-1] % 4
        x = functional.pad(x, (0, rest, 0, rest))
        pooled = functional.avg_pool2d(x, x.shape[-1] // 4)
        x = functional.silu(self.get_submodule(f"excite_{layer}_squeeze")(pooled))
        return torch.sigmoid(self.get_submodule(f"excite_{layer}_gain")(x))


class ProjectedDiscriminator(nn.Module):
    """A frozen trunk and random mixing, then small networks with spectral norm."""

    def __init__(
        self,
        size: int,
        channels: int,
        num_classes: int,
        *,
        scales: int = len(_STAGES),
        seen_size: int = 0,
        projection: bool = True,
        classifier: bool = False,
    ) -> None:
        super().__init__()
        self._seen, self._stages = seen_size or max(64, size), list(_STAGES)[:scales]
        self._projection = projection and num_classes > 1
        self.trunk = TorchEfficientNetLite0().requires_grad_(False)
        self.mixing = nn.Module()
        coarser = 0
        for name, (maps, mixed) in reversed(_STAGES.items()):
            self.mixing.register_buffer(f"{name}_channels", torch.zeros(maps, mixed))
            if coarser:
                self.mixing.register_buffer(f"{name}_scales", torch.zeros(coarser, mixed))
            coarser = mixed
        widths = [_STAGES[name][1] for name in self._stages]
        for i, width in enumerate(widths):
            self._add(f"decide_{i}", width, width, 3, 1)
        before = 3 * channels
        for i, (maps, kernel, stride) in enumerate(_PIXEL_HEAD):
            self._add(f"pixels_{i}", before, maps, kernel, stride)
            before = maps
        for i, width in enumerate([*widths, before]):
            self.add_module(f"logits_{i}", nn.Conv2d(width + 1, 1, 1))
            if self._projection:
                embedding = nn.Embedding(num_classes, width + 1)
                self.add_module(f"class_{i}", embedding)
        if classifier and num_classes > 1:
            self.classes = nn.Linear(sum(widths), num_classes)

    def train(self, mode: bool = True) -> "ProjectedDiscriminator":
        """Sets the mode of all but the trunk."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Judged:
        """Judges."""
        return self.judge(self.see(images), images, labels, 0)

    def see(self, images: Tensor) -> list[Tensor]:
        """Returns the trunk's mixed maps, from fine to coarse."""
        if self._seen != images.shape[-1]:
            images = _resized(images, self._seen)
        found = self.trunk((images + 1) / 2)
        mixed: list[Tensor] = []
        for name in reversed(self._stages):
            x = self._mix(f"{name}_channels", found[name])
            if mixed:
                coarse = self._mix(f"{name}_scales", mixed[0])
                x = (x + _resized(coarse, x.shape[-1])) / 2**0.5
            mixed.insert(0, x)
        return mixed

    def judge(
        self, features: list[Tensor], images: Tensor, labels: Tensor, num_real: int
    ) -> Judged:
        """Judges images, of which the first are real, and the trunk's features of them."""
        scales, means = [], []
        for i, maps in enumerate(features):
            x = self._activated(f"decide_{i}", maps)
            scales.append(self._logits(x, labels, i, num_real))
            means.append(x.mean((2, 3)))
        x = torch.cat([images, *_steps(images)], 1)
        for i in range(len(_PIXEL_HEAD)):
            x = self._activated(f"pixels_{i}", x)
        scales.append(self._logits(x, labels, len(scales), num_real))
        classes = self.classes(torch.cat(means, 1)) if hasattr(self, "classes") else None
        return scales, classes

    def _activated(self, name: str, x: Tensor) -> Tensor:
        conv: Any = self.get_submodule(f"{name}_conv")
        x = self.get_submodule(f"{name}_norm")(same(conv, x))
        return functional.leaky_relu(x, _LEAK)

    def _logits(self, x: Tensor, labels: Tensor, scale: int, num_real: int) -> Tensor:
        x = torch.cat([x, self._deviation(x, num_real)], 1)
        logits: Tensor = self.get_submodule(f"logits_{scale}")(x)[:, 0]
        if self._projection:
            of_class = self.get_submodule(f"class_{scale}")(labels)
            logits = logits + (x * of_class[:, :, None, None]).sum(1)
        return logits.flatten(1)

    def _deviation(self, x: Tensor, num_real: int) -> Tensor:
        if not self.training:
            return torch.zeros_like(x[:, :1])
        parts = x.split([num_real, len(x) - num_real]) if num_real else [x]
        of_parts = [
            (part.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(part), 1, *x.shape[2:])
            for part in parts
        ]
        return torch.cat(of_parts)

    def _mix(self, name: str, x: Tensor) -> Tensor:
        kernel: Any = self.mixing.get_buffer(name)
        return functional.conv2d(x, kernel.T[:, :, None, None])

    def _add(self, name: str, before: int, after: int, kernel: int, stride: int) -> None:
        conv = spectral_norm(nn.Conv2d(before, after, kernel, stride, bias=False))
        self.add_module(f"{name}_conv", conv)
        self.add_module(f"{name}_norm", nn.BatchNorm2d(after))


def _steps(images: Tensor) -> list[Tensor]:
    """Returns the steps to the next pixel, below and to the right, small ones enlarged."""
    below = functional.pad(images.diff(dim=2), (0, 0, 0, 1))
    right = functional.pad(images.diff(dim=3), (0, 1))
    return [torch.tanh(_STEEP * below), torch.tanh(_STEEP * right)]


def _resized(x: Tensor, size: int) -> Tensor:
    smaller = size < x.shape[-1]
    return functional.interpolate(x, size=(size, size), mode="bilinear", antialias=smaller)
