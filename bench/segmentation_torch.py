"""The U-Net as PyTorch users write it, and its loop over a folder of images.

The layers have the names of `common/networks/unet.py`, so that `copy_weights` can pair them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

Variables = Mapping[str, Any]  # "params" and "batch_stats" of ours

_NAMES = {
    **{"kernel": "weight", "scale": "weight", "bias": "bias"},
    **{"mean": "running_mean", "var": "running_var"},
}


def software() -> str:
    """Returns the version, and what PyTorch computes on."""
    return f"PyTorch {torch.__version__} (cpu, {torch.get_num_threads()} threads)"


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


def copy_weights(variables: Variables, network: nn.Module) -> None:
    """Gives a network the weights and running statistics of ours.

    Raises:
      RuntimeError: the two do not have the same weights, of the same shapes.
    """
    tensors = {
        f"{layer}.{_NAMES[name]}": torch.from_numpy(_turned(layer, np.asarray(array)))
        for collection in ("params", "batch_stats")
        for layer, of_layer in variables[collection].items()
        for name, array in of_layer.items()
    }
    counters = {name for name, _ in network.named_buffers() if name.endswith("num_batches_tracked")}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) - counters:
        raise RuntimeError(f"weights without a partner: {missing} and {unexpected}")


def _turned(layer: str, array: np.ndarray) -> np.ndarray:
    """Returns a copy with PyTorch's order of axes."""
    if array.ndim == 4 and layer.startswith("double"):
        array = array[::-1, ::-1].transpose(2, 3, 0, 1)
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return np.array(array, order="C")


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


def predict_folder(
    network: nn.Module, files: Sequence[Path], output: Path, batch: int, workers: int
) -> None:
    """Writes the mask of every image."""
    loader = DataLoader(_Folder(files), batch, num_workers=workers)
    with torch.inference_mode():
        for images, names in loader:
            if next(network.parameters()).is_contiguous(memory_format=torch.channels_last):
                images = images.to(memory_format=torch.channels_last)  # noqa: PLW2901
            masks = (torch.sigmoid(network(images)) >= 0.5).to(torch.uint8) * 255
            for mask, name in zip(masks[:, 0].numpy(), names, strict=True):
                Image.fromarray(mask).save(output / name)
