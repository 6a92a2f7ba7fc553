"""The discriminator of a DCGAN as a classifier: its layers, and a dense one on the means of maps.

With `config.train.init_from`, the workdir of a GAN with this discriminator, it starts from what
that has learned without labels; without it, from scratch.
"""

import flax.linen as nn

from classify.networks import Classifier, Images, Maps, Stages
from common.devices.axis import AXIS
from common.networks.halvings import Halvings, halvings_of

# Images of more than 64 pixels are halved more than four times: by the last stage.
STAGES: Stages = ("halve_1", ("halve_2", "norm_2"), ("halve_3", "norm_3"), ("halve_", "norm_"))


class Network(Classifier):
    """Grey or RGB images -> the layers that halve them -> the mean of their maps -> dense.

    Attributes:
      width, momentum, axis_name, frozen: those of `Halvings`.
    """

    width: int = 64
    momentum: float = 0.9
    frozen: int = 0
    axis_name: str = AXIS

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps."""
        frozen = self.frozen if self.frozen < len(STAGES) else halvings_of(images.shape[1])[1]
        trunk = Halvings(self.width, self.momentum, self.axis_name, frozen)
        nn.share_scope(self, trunk)  # its layers have the names that a discriminator gives them
        return trunk(2 * images - 1, train=train)[-1]
