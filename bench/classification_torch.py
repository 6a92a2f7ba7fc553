"""VGG16 with a head over the maps' mean, as PyTorch users write it, and its fine-tuning step.

The layers have the names of `classify/networks/vgg16.py`, so that `copy_weights` can pair them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.networks.vgg16 import BLOCKS, IMAGENET_MEAN, IMAGENET_STD, NAMES

VARIANTS = ("NCHW", "channels_last", "torch.compile")


def software() -> str:
    """Returns the version, and what PyTorch computes on."""
    return f"PyTorch {torch.__version__} (cpu, {torch.get_num_threads()} threads)"


class TorchVGG16(nn.Module):
    """grey images NCHW in [0, 1] -> logits."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        before, names = 3, iter(NAMES)
        for widths in BLOCKS:
            for width in widths:
                self.add_module(next(names), nn.Conv2d(before, width, 3, padding=1))
                before = width
        self.classes = nn.Linear(before, num_classes)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits."""
        x, names = (images.expand(-1, 3, -1, -1) - self.mean) / self.deviation, iter(NAMES)
        for widths in BLOCKS:
            for _ in widths:
                x = functional.relu(self.get_submodule(next(names))(x))
            x = functional.max_pool2d(x, 2)
        logits: Tensor = self.classes(x.mean((2, 3)))
        return logits


def copy_weights(params: Mapping[str, Any], network: nn.Module) -> None:
    """Gives a network the weights of ours.

    Raises:
      RuntimeError: the two do not have the same weights, of the same shapes.
    """
    layers = {**params["trunk"], "classes": params["classes"]}
    tensors = {}
    for name, layer in layers.items():
        kernel = np.asarray(layer["kernel"])
        turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        tensors[f"{name}.weight"] = torch.from_numpy(np.array(turned, order="C"))
        tensors[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"]))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - {"mean", "deviation"}:
        raise RuntimeError(f"weights without a partner: {missing} and {unexpected}")


class TorchFineTuning:
    """Forward passes and updates, over and over on the same images.

    Attributes:
      network: changes.
    """

    def __init__(
        self, params: Mapping[str, Any], images: np.ndarray, labels: np.ndarray, variant: str
    ) -> None:
        self.network = TorchVGG16(params["classes"]["bias"].shape[0])
        copy_weights(params, self.network)
        self._images = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2).contiguous()
        self._labels = torch.from_numpy(labels.astype(np.int64))
        if variant == "channels_last":
            network: Any = self.network
            network.to(memory_format=torch.channels_last)  # an overload that mypy cannot see
            self._images = self._images.to(memory_format=torch.channels_last)
        self._call: Callable[[Tensor], Tensor] = self.network
        if variant == "torch.compile":
            self._call = torch.compile(self.network)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), 1e-5, eps=1e-7, weight_decay=0.0, fused=True
        )

    def logits(self) -> np.ndarray:
        """Returns the logits of the images."""
        with torch.inference_mode():
            logits: np.ndarray = self._call(self._images).numpy()
        return logits

    def forward(self, times: int) -> None:
        """Classifies the images."""
        for _ in range(times):
            self.logits()

    def update(self, times: int) -> None:
        """Makes training steps."""
        for _ in range(times):
            self._optimizer.zero_grad()
            functional.cross_entropy(self._call(self._images), self._labels).backward()
            self._optimizer.step()
