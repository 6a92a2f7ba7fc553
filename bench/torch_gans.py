"""The GANs' networks as PyTorch users write them, with the layer names of `gan/networks`.

A generator maps latents [n, latent] and labels [n] to images NCHW in [-1, 1]; a discriminator maps
images and labels to logits [n], positive for "real", or one array [n, patches] of each scale, and
to the logits of the classes, or None.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_weights import Flattened

Judged = tuple[Tensor | list[Tensor], Tensor | None]

_LEAK = 0.2
_MAPS = 128


class DCGANGenerator(nn.Module):
    """As in the tutorial, 64x64."""

    def __init__(self, channels: int, latent_size: int, width: int) -> None:
        super().__init__()
        features = [width << i for i in (3, 2, 1, 0)]
        self.project = nn.ConvTranspose2d(latent_size, features[0], 4, bias=False)
        self.norms = len(features)
        for layer, maps in enumerate(features):
            self.add_module(f"norm_{layer}", nn.BatchNorm2d(maps))
        for layer, (before, after) in enumerate(
            zip(features, [*features[1:], channels], strict=True)
        ):
            double = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
            self.add_module(f"double_{layer + 1}", double)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Draws."""
        del labels
        x = self.project(latents[:, :, None, None])
        for layer in range(self.norms):
            x = functional.relu(self.get_submodule(f"norm_{layer}")(x))
            x = self.get_submodule(f"double_{layer + 1}")(x)
        return torch.tanh(x)


class DCGANDiscriminator(nn.Module):
    """As in the tutorial, 64x64."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        before = channels
        for layer in range(1, 5):
            features = width << (layer - 1)
            self.add_module(
                f"halve_{layer}", nn.Conv2d(before, features, 4, stride=2, padding=1, bias=False)
            )
            if layer > 1:
                self.add_module(f"norm_{layer}", nn.BatchNorm2d(features))
            before = features
        self.real_or_generated = nn.Conv2d(before, 1, 4, bias=False)

    def forward(self, images: Tensor, labels: Tensor) -> Judged:
        """Judges."""
        del labels
        x = images
        for layer in range(1, 5):
            x = self.get_submodule(f"halve_{layer}")(x)
            if layer > 1:
                x = self.get_submodule(f"norm_{layer}")(x)
            x = functional.leaky_relu(x, _LEAK)
        return self.real_or_generated(x).flatten(), None


class ACGANGenerator(nn.Module):
    """Nearest-neighbour upsampling, then 3x3 convolutions."""

    def __init__(self, image_size: int, channels: int, latent_size: int, num_classes: int) -> None:
        super().__init__()
        self._small = image_size // 4
        self.embedding = nn.Embedding(num_classes, latent_size)
        self.dense = Flattened(latent_size, _MAPS * self._small**2, maps_out=_MAPS)
        self.norm_1 = nn.BatchNorm2d(_MAPS, eps=1e-3, momentum=0.2)
        self.upsample_1 = nn.Conv2d(_MAPS, _MAPS, 3, padding=1)
        self.norm_2 = nn.BatchNorm2d(_MAPS, eps=1e-3, momentum=0.2)
        self.upsample_2 = nn.Conv2d(_MAPS, 64, 3, padding=1)
        self.norm_3 = nn.BatchNorm2d(64, eps=1e-3, momentum=0.2)
        self.to_image = nn.Conv2d(64, channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Draws."""
        x = functional.relu(self.dense(latents * self.embedding(labels)))
        x = self.norm_1(x.view(-1, _MAPS, self._small, self._small))
        x = functional.relu(self.upsample_1(functional.interpolate(x, scale_factor=2)))
        x = self.norm_2(x)
        x = functional.relu(self.upsample_2(functional.interpolate(x, scale_factor=2)))
        return torch.tanh(self.to_image(self.norm_3(x)))


class ACGANDiscriminator(nn.Module):
    """Four convolutions, then two heads."""

    def __init__(self, image_size: int, channels: int, num_classes: int, rate: float) -> None:
        super().__init__()
        self._rate = rate
        self.conv_1 = nn.Conv2d(channels, 16, 3, stride=2)
        self.conv_2 = nn.Conv2d(16, 32, 3, stride=2)
        self.norm_2 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.2)
        self.conv_3 = nn.Conv2d(32, 64, 3, stride=2)
        self.norm_3 = nn.BatchNorm2d(64, eps=1e-3, momentum=0.2)
        self.conv_4 = nn.Conv2d(64, _MAPS, 3)
        side = -(-(image_size // 4 + 1) // 2)
        self.real_or_generated = Flattened(_MAPS * side**2, 1, maps_in=_MAPS)
        self.classes = Flattened(_MAPS * side**2, num_classes, maps_in=_MAPS)

    def forward(self, images: Tensor, labels: Tensor) -> Judged:
        """Judges."""
        del labels
        x = self._activate(same(self.conv_1, images))
        x = self._activate(functional.pad(same(self.conv_2, x), (0, 1, 0, 1)))
        x = self._activate(same(self.conv_3, self.norm_2(x)))
        x = self._activate(same(self.conv_4, self.norm_3(x))).flatten(1)
        return self.real_or_generated(x)[:, 0], self.classes(x)

    def _activate(self, x: Tensor) -> Tensor:
        return functional.dropout(functional.leaky_relu(x, _LEAK), self._rate, self.training)


class CNNGANGenerator(nn.Module):
    """Two transposed convolutions, then one a quarter as large as the image."""

    def __init__(self, image_size: int, channels: int, latent_size: int) -> None:
        super().__init__()
        self._quarter = image_size // 4
        self.dense = Flattened(latent_size, _MAPS * self._quarter**2, maps_out=_MAPS)
        self.double_1 = nn.ConvTranspose2d(_MAPS, _MAPS, 4, stride=2, padding=1)
        self.double_2 = nn.ConvTranspose2d(_MAPS, _MAPS, 4, stride=2, padding=1)
        self.to_image = nn.Conv2d(_MAPS, channels, self._quarter)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Draws."""
        del labels
        x = functional.leaky_relu(self.dense(latents), _LEAK)
        x = x.view(-1, _MAPS, self._quarter, self._quarter)
        x = functional.leaky_relu(self.double_1(x), _LEAK)
        x = functional.leaky_relu(self.double_2(x), _LEAK)
        return torch.tanh(same(self.to_image, x))


class CNNGANDiscriminator(nn.Module):
    """Three convolutions of stride 2."""

    def __init__(self, image_size: int, channels: int, rate: float) -> None:
        super().__init__()
        self._rate = rate
        self.conv_1 = nn.Conv2d(channels, 64, 3, stride=2)
        self.conv_2 = nn.Conv2d(64, 96, 3, stride=2)
        self.conv_3 = nn.Conv2d(96, _MAPS, 3, stride=2)
        self.real_or_generated = Flattened(_MAPS * (-(-image_size // 8)) ** 2, 1, maps_in=_MAPS)

    def forward(self, images: Tensor, labels: Tensor) -> Judged:
        """Judges."""
        del labels
        x = images
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            x = functional.leaky_relu(same(conv, x), _LEAK)
            x = functional.dropout(x, self._rate, self.training)
        return self.real_or_generated(x.flatten(1))[:, 0], None


class DenseGenerator(nn.Module):
    """Dense layers only."""

    def __init__(
        self, image_size: int, channels: int, latent_size: int, widths: Sequence[int], rate: float
    ) -> None:
        super().__init__()
        self._shape, self._rate, self._layers = (
            (channels, image_size, image_size),
            rate,
            len(widths),
        )
        before = latent_size
        for layer, width in enumerate(widths, 1):
            self.add_module(f"dense_{layer}", nn.Linear(before, width))
            self.add_module(f"norm_{layer}", nn.BatchNorm1d(width, eps=1e-3, momentum=0.2))
            before = width
        self.to_image = Flattened(before, channels * image_size**2, maps_out=channels)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Draws."""
        del labels
        x = latents
        for layer in range(1, self._layers + 1):
            x = functional.leaky_relu(self.get_submodule(f"dense_{layer}")(x), _LEAK)
            if layer > 1:
                x = functional.dropout(x, self._rate, self.training)
            x = self.get_submodule(f"norm_{layer}")(x)
        return torch.tanh(self.to_image(x)).view(-1, *self._shape)


class DenseDiscriminator(nn.Module):
    """Dense layers only."""

    def __init__(self, image_size: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        before, self._layers = channels * image_size**2, len(widths)
        for layer, width in enumerate(widths, 1):
            dense: nn.Linear = Flattened(before, width, maps_in=channels if layer == 1 else 0)
            self.add_module(f"dense_{layer}", dense)
            before = width
        self.real_or_generated = nn.Linear(before, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Judged:
        """Judges."""
        del labels
        x = images.flatten(1)
        for layer in range(1, self._layers + 1):
            x = functional.leaky_relu(self.get_submodule(f"dense_{layer}")(x), _LEAK)
        return self.real_or_generated(x)[:, 0], None


def same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolves with "SAME" padding, whose odd row is below and to the right.

    `padding="same"` does this for stride 1, and warns for even kernels.
    """
    pads: list[int] = []
    for length, taps, stride in zip(x.shape[2:], conv.kernel_size, conv.stride, strict=True):
        total = max((-(-length // stride) - 1) * stride + taps - length, 0)
        pads = [total // 2, total - total // 2, *pads]
    if any(low != high for low, high in (pads[:2], pads[2:])):
        return conv(functional.pad(x, pads))
    return functional.conv2d(
        x, conv.weight, conv.bias, conv.stride, (pads[2], pads[0]), groups=conv.groups
    )
