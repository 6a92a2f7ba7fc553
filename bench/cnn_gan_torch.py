"""The 200x200 convolutional GAN as PyTorch users write it, and its generator's update.

The layers have the names of `gan/networks/cnn_gan.py`, so that `copy_weights` can pair them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional

Weights = Mapping[str, Mapping[str, Any]]  # of one of our networks: layer -> name -> array

_LEAK = 0.2
_MAPS = 128  # what the generator's dense layer gives and the discriminator's takes

# What Flax calls a weight -> what PyTorch calls it.
_NAMES = {"kernel": "weight", "bias": "bias"}


class Variant(NamedTuple):
    """One of the ways to run PyTorch.

    Attributes:
      name: for the table.
      channels_last: whether images and kernels lie NHWC in memory.
      compiled: whether `torch.compile` makes one graph of both networks and the loss.
    """

    name: str
    channels_last: bool
    compiled: bool


VARIANTS = (
    Variant("NCHW", channels_last=False, compiled=False),
    Variant("channels_last", channels_last=True, compiled=False),
    Variant("torch.compile", channels_last=False, compiled=True),
)


class Setting(NamedTuple):
    """What is updated.

    Attributes:
      latents: of every update.
      image_size: height and width, a multiple of 4.
      channels: of the images.
      dropout_rate: of the discriminator.
    """

    latents: Float32[np.ndarray, "batch latent"]
    image_size: int
    channels: int
    dropout_rate: float


def software() -> str:
    """Returns the version, and what PyTorch computes on."""
    return f"PyTorch {torch.__version__} (cpu, {torch.get_num_threads()} threads)"


class Generator(nn.Module):
    """latents [n, latent] -> images NCHW in [-1, 1]."""

    def __init__(self, image_size: int, channels: int, latent_size: int) -> None:
        super().__init__()
        self._quarter = image_size // 4
        self.dense = nn.Linear(latent_size, _MAPS * self._quarter**2)
        self.double_1 = nn.ConvTranspose2d(_MAPS, _MAPS, 4, stride=2, padding=1)
        self.double_2 = nn.ConvTranspose2d(_MAPS, _MAPS, 4, stride=2, padding=1)
        self.to_image = nn.Conv2d(_MAPS, channels, self._quarter)

    def forward(self, latents: Tensor) -> Tensor:
        """Draws."""
        x = functional.leaky_relu(self.dense(latents), _LEAK)
        x = x.view(-1, _MAPS, self._quarter, self._quarter)
        x = functional.leaky_relu(self.double_1(x), _LEAK)
        x = functional.leaky_relu(self.double_2(x), _LEAK)
        return torch.tanh(_same(self.to_image, x))


class Discriminator(nn.Module):
    """images NCHW -> logits [n], positive for "real"."""

    def __init__(self, image_size: int, channels: int, dropout_rate: float) -> None:
        super().__init__()
        self._dropout_rate = dropout_rate
        self.conv_1 = nn.Conv2d(channels, 64, 3, stride=2)
        self.conv_2 = nn.Conv2d(64, 96, 3, stride=2)
        self.conv_3 = nn.Conv2d(96, _MAPS, 3, stride=2)
        self.real_or_generated = nn.Linear(_MAPS * (-(-image_size // 8)) ** 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Judges."""
        x = images
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            x = functional.leaky_relu(_same(conv, x), _LEAK)
            x = functional.dropout(x, self._dropout_rate, self.training)
        return self.real_or_generated(x.flatten(1))[:, 0]


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolves with the padding "SAME", of which the odd row lies below and to the right.

    `padding="same"` does this where the stride is 1, and warns where the kernel is even.
    """
    pads: list[int] = []
    for length, taps, stride in zip(x.shape[2:], conv.kernel_size, conv.stride, strict=True):
        total = max((-(-length // stride) - 1) * stride + taps - length, 0)
        pads = [total // 2, total - total // 2, *pads]
    return conv(functional.pad(x, pads))


def in_their_layout(weights: Weights) -> dict[str, np.ndarray]:
    """Returns a network's weights, or gradients toward them, as a `state_dict` has them."""
    return {
        f"{layer}.{_NAMES[name]}": np.array(_turned(layer, name, np.asarray(array)), order="C")
        for layer, of_layer in weights.items()
        for name, array in of_layer.items()
    }


def _turned(layer: str, name: str, array: np.ndarray) -> np.ndarray:
    """Returns a view, or a copy, with PyTorch's order of axes and of flattened images."""
    if layer.startswith("double") and name == "kernel":
        return array[::-1, ::-1].transpose(2, 3, 0, 1)
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if layer == "dense":
        return _maps_first(array).T
    return _maps_first(array.T) if name == "kernel" else array


def _maps_first(array: np.ndarray) -> np.ndarray:
    """Turns the last axis, images flattened from HWC, into images flattened from CHW."""
    return array.reshape(*array.shape[:-1], -1, _MAPS).swapaxes(-1, -2).reshape(array.shape)


def copy_weights(weights: Weights, network: nn.Module) -> None:
    """Gives a network the weights of ours.

    Raises:
      RuntimeError: the two do not have the same weights, of the same shapes.
    """
    tensors = {name: torch.from_numpy(array) for name, array in in_their_layout(weights).items()}
    network.load_state_dict(tensors)


class TorchUpdate:
    """The generator's update, over and over on the same latents.

    Attributes:
      generator: changes.
      discriminator: stays; no gradient toward its weights is computed.
    """

    def __init__(self, setting: Setting, variant: Variant = VARIANTS[0]) -> None:
        latents, image_size, channels, rate = setting
        self.generator = Generator(image_size, channels, latents.shape[1])
        self.discriminator = Discriminator(image_size, channels, rate)
        self.discriminator.requires_grad_(False)
        if variant.channels_last:
            networks: tuple[Any, Any] = self.generator, self.discriminator
            for network in networks:
                network.to(memory_format=torch.channels_last)  # an overload that mypy cannot see
        self._latents = torch.from_numpy(latents)
        self._loss: Callable[[Tensor], Tensor] = self.loss
        if variant.compiled:
            self._loss = torch.compile(self.loss)
        # On a CPU, too, faster than the default, a loop of one operation after the other.
        self._optimizer = torch.optim.Adam(
            self.generator.parameters(), 2e-4, betas=(0.5, 0.999), eps=1e-7, fused=True
        )

    def loss(self, latents: Tensor) -> Tensor:
        """Returns the binary cross-entropy toward "real"."""
        logits = self.discriminator(self.generator(latents))
        return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def images(self) -> np.ndarray:
        """Returns what the generator draws, NHWC."""
        with torch.no_grad():
            images: np.ndarray = self.generator(self._latents).permute(0, 2, 3, 1).numpy()
        return images

    def gradients(self) -> dict[str, np.ndarray]:
        """Returns the gradients of the loss, and updates nothing."""
        self._loss(self._latents).backward()
        gradients = {
            name: weight.grad.numpy().copy()
            for name, weight in self.generator.named_parameters()
            if weight.grad is not None
        }
        self._optimizer.zero_grad()
        return gradients

    def run(self, num_steps: int) -> None:
        """Makes updates and reads the last one's loss."""
        for _ in range(num_steps):
            loss = self._loss(self._latents)
            loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
        loss.item()
