"""The U-Net as PyTorch users write it, and its loop over a folder of images.

The layers have the names of `common/networks/unet.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset


class TorchUNet(nn.Module):
    """images NCHW in [0, 1] -> logits NCHW."""

    def __init__(self, channels: int, outputs: int, width: int, depth: int, epsilon: float) -> None:
        super().__init__()
        self._depth = depth

        def level(name: str, before: int, features: int) -> None:
            for i, incoming in ((1, before), (2, features)):
                self.add_module(f"{name}_conv_{i}", nn.Conv2d(incoming, features, 3, padding=1))
                self.add_module(f"{name}_norm_{i}", nn.BatchNorm2d(features, eps=epsilon))

        before = channels
        for i in range(depth - 1):
            level(f"down_{i}", before, width << i)
            before = width << i
        level("bottom", before, width << (depth - 1))
        for i in range(depth - 1):
            up = nn.ConvTranspose2d(width << (i + 1), width << i, 2, stride=2)
            self.add_module(f"double_{i}", up)
            level(f"up_{i}", width << (i + 1), width << i)
        self.output = nn.Conv2d(width, outputs, 1)
        self.output_norm = nn.BatchNorm2d(outputs, eps=epsilon)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits."""
        x, seen = images, []
        for i in range(self._depth - 1):
            seen.append(self._level(f"down_{i}", x))
            x = functional.max_pool2d(seen[-1], 2)
        x = self._level("bottom", x)
        for i in reversed(range(self._depth - 1)):
            x = torch.cat([seen[i], self.get_submodule(f"double_{i}")(x)], 1)
            x = self._level(f"up_{i}", x)
        logits: Tensor = self.output_norm(self.output(x))
        return logits

    def _level(self, name: str, x: Tensor) -> Tensor:
        for i in (1, 2):
            x = self.get_submodule(f"{name}_conv_{i}")(x)
            x = functional.relu(self.get_submodule(f"{name}_norm_{i}")(x))
        return x


class _Folder(Dataset[Any]):
    """The images of a folder, NCHW in [0, 1], and where their masks go."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        with Image.open(self._files[index]) as image:
            pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, self._files[index].name


def predict_folder(network: nn.Module, files: Sequence[Path], output: Path, batch: int) -> None:
    """Writes the mask of every image."""
    parameter = next(network.parameters())
    last = any(
        kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
        for kernel in network.parameters()
        if kernel.ndim == 4
    )
    with torch.inference_mode():
        for images, names in DataLoader(_Folder(files), batch):
            batch_of = images.to(parameter.device)
            if last:
                batch_of = batch_of.to(memory_format=torch.channels_last)
            masks = (torch.sigmoid(network(batch_of)) >= 0.5).to(torch.uint8) * 255
            for mask, name in zip(masks[:, 0].cpu().numpy(), names, strict=True):
                Image.fromarray(mask).save(output / name)
