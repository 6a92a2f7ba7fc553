"""The trunk of EfficientNet-Lite0 as PyTorch users write it.

The layers have the names of `common/networks/efficientnet_lite.py`.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch_gans import same

# Blocks, kernel, the first block's stride, the expansion ratio and the maps of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class TorchEfficientNetLite0(nn.Module):
    """Grey or RGB images NCHW in [0, 1] -> the last maps of each stage, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self._add("stem", 3, 32, 3, 2)
        self._blocks: list[tuple[str, int, bool, bool]] = []
        before = 32
        for i, (blocks, kernel, stride, widening, maps) in enumerate(_STAGES, 1):
            for j in range(1, blocks + 1):
                name, wide = f"stage_{i}_block_{j}", widening * before
                self._blocks.append((name, i, widening > 1, j > 1))
                if widening > 1:
                    self._add(f"{name}_widen", before, wide)
                self._add(f"{name}_depthwise", wide, wide, kernel, stride if j == 1 else 1, wide)
                self._add(f"{name}_narrow", wide, maps)
                before = maps
        self._add("top", before, 1280)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images to the maps of all stages."""
        x = (images.expand(-1, 3, -1, -1) * 255 - 127) / 128
        x = functional.relu6(self._normalised("stem", x))
        found = {"stem": x}
        for name, stage, widens, adds in self._blocks:
            y = functional.relu6(self._normalised(f"{name}_widen", x)) if widens else x
            y = functional.relu6(self._normalised(f"{name}_depthwise", y))
            y = self._normalised(f"{name}_narrow", y)
            x = found[f"stage_{stage}"] = x + y if adds else y
        return found

    def top(self, x: Tensor) -> Tensor:
        """Maps the last stage's maps to 1,280."""
        return functional.relu6(self._normalised("top", x))

    def _normalised(self, name: str, x: Tensor) -> Tensor:
        layer: Any = self.get_submodule(f"{name}_conv")
        found: Tensor = self.get_submodule(f"{name}_norm")(same(layer, x))
        return found

    def _add(
        self, name: str, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        conv = nn.Conv2d(before, after, kernel, stride, groups=groups, bias=False)
        self.add_module(f"{name}_conv", conv)
        self.add_module(f"{name}_norm", nn.BatchNorm2d(after, eps=1e-3))
