"""A small convolutional network: a baseline, trained from scratch in minutes."""

import flax.linen as nn

from classify.networks import Classifier, Images, Maps
from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Conv
from common.ops import max_pool_2x2

STAGES = ("level_0", "level_1", "level_2", "level_3")
_EPSILON = 1e-5


class Network(Classifier):
    """Levels of a 3x3 convolution, BatchNorm, ReLU and 2x2 max pooling; the mean of their maps.

    Attributes:
      width: maps of the first level; each further one has twice as many.
      frozen: this many stages, from the image on, never learn, nor does their BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    width: int = 32
    frozen: int = 0
    axis_name: str = AXIS

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps."""
        x = images
        for i, name in enumerate(STAGES):
            x = Conv(self.width << i, 3, use_bias=False, name=f"{name}_conv")(x)
            norm = BatchNorm(0.9, _EPSILON, self.axis_name, name=f"{name}_norm")
            stays = i < self.frozen
            x = max_pool_2x2(nn.relu(norm(x, use_running_average=not train or stays)))
        return x
