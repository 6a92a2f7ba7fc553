"""Networks in PyTorch's forms: eager and compiled, NCHW and channels_last."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_weights import Weights, copy_weights


def device() -> torch.device:
    """Returns the device that PyTorch uses."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Networks:
    """Networks in one of PyTorch's forms.

    Attributes:
      plain: the networks by name.
      call: the same, compiled where that is asked for.
    """

    def __init__(self, variant: str, dtype: str, **networks: nn.Module) -> None:
        self._dtype = dtype
        self._last = "channels_last" in variant
        self._compiled = "compile" in variant
        for network in networks.values():
            moved: Any = network
            moved.to(device())
            if self._last:
                moved.to(memory_format=torch.channels_last)  # an overload that mypy cannot see
        self.plain = networks
        self.call = {name: self.form(network) for name, network in networks.items()}

    def form(self, function: Any) -> Any:
        """Returns a function or a network as it is called."""
        return torch.compile(function) if self._compiled else function

    def precision(self) -> torch.autocast:
        """Returns the context for networks and losses of a training step."""
        narrow = self._dtype == "bfloat16"
        return torch.autocast(device().type, torch.bfloat16, enabled=narrow)

    def load(self, weights: Weights) -> None:
        """Loads our weights."""
        for name, network in self.plain.items():
            copy_weights(weights, name, network)

    def placed(self, images: Tensor) -> Tensor:
        """Returns images NCHW as the networks take them."""
        images = images.to(device())
        return images.to(memory_format=torch.channels_last) if self._last else images
