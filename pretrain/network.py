"""A classifier's network without its head, and a projector that only pretraining needs."""

import flax.linen as nn
from jaxtyping import Array, Float

from classify.networks import Classifier, Features, Images
from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Dense

Projections = Float[Array, "batch projections"]

_MOMENTUM, _EPSILON = 0.9, 1e-5  # of BatchNorm


class PretrainedNetwork(nn.Module):
    """Images -> features of the trunk -> projections.

    The trunk's layers have the names that they have in a classifier, which so finds them.

    Attributes:
      trunk: a network without a head.
      widths: of the projector's layers.
      axis_name: over which its BatchNorm takes its statistics; "" for each device by itself.
    """

    trunk: Classifier
    widths: tuple[int, ...]
    axis_name: str = AXIS

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> tuple[Features, Projections]:
        """Maps images in [0, 1] to features and their projections."""
        nn.share_scope(self, self.trunk)
        features = self.trunk(images, train=train)
        projector = Projector(self.widths, self.axis_name, name="projector")
        return features, projector(features, train=train)


class Projector(nn.Module):
    """Dense layers with BatchNorm and ReLU between them.

    The losses are of its output rather than of the features: what views differ in, but a classifier
    may need, is lost in it and not before (Chen et al., 2020, section 4.2).

    Attributes:
      widths: of the layers.
      axis_name: over which BatchNorm takes its statistics; "" for each device by itself.
    """

    widths: tuple[int, ...]
    axis_name: str = AXIS

    @nn.compact
    def __call__(self, features: Features, *, train: bool) -> Projections:
        """Projects features."""
        x = features
        for i, width in enumerate(self.widths):
            if i:
                norm = BatchNorm(_MOMENTUM, _EPSILON, self.axis_name, name=f"norm_{i}")
                x = nn.relu(norm(x, use_running_average=not train))
            x = Dense(width, name=f"dense_{i + 1}")(x)
        return x
