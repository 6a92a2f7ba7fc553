"""VGG16 with a head over the maps' mean, as PyTorch users write it.

The layers have the names of `classify/networks/vgg16.py`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.networks.vgg16 import BLOCKS, IMAGENET_MEAN, IMAGENET_STD, NAMES


class TorchVGG16(nn.Module):
    """grey images NCHW in [0, 1] -> logits."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        before, names = 3, iter(NAMES)
        self.trunk = nn.ModuleDict()
        for widths in BLOCKS:
            for width in widths:
                self.trunk[next(names)] = nn.Conv2d(before, width, 3, padding=1)
                before = width
        self.classes = nn.Linear(before, num_classes)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits."""
        x, names = (images.expand(-1, 3, -1, -1) - self.mean) / self.deviation, iter(NAMES)
        for widths in BLOCKS:
            for _ in widths:
                x = functional.relu(self.trunk[next(names)](x))
            x = functional.max_pool2d(x, 2)
        logits: Tensor = self.classes(x.mean((2, 3)))
        return logits
