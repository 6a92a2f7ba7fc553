"""A small convolutional network: a baseline, trained from scratch in minutes."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Conv, Dense, dropout_after, max_pool_2x2

STAGES = ("level_0", "level_1", "level_2", "level_3")
_EPSILON = 1e-5


class Network(nn.Module):
    """Levels of a 3x3 convolution, BatchNorm, ReLU and 2x2 max pooling; the mean of their maps.

    Attributes:
      num_classes: how many logits.
      width: maps of the first level; each further one has twice as many.
      dropout_rate: before the last layer.
      frozen: so many stages, from the image on, never learn: their BatchNorm does not either.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    num_classes: int
    width: int = 32
    dropout_rate: float = 0.0
    frozen: int = 0
    axis_name: str = AXIS

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
        features: Float[Array, "batch features"] | None = None,
    ) -> Float[Array, "batch classes"]:
        """Maps images in [0, 1] to logits."""
        x = self._features(images, train) if features is None else features
        self.sow("intermediates", "features", x)
        x = dropout_after(x, dropout_keys if train else None, 0, self.dropout_rate)
        logits: jax.Array = Dense(self.num_classes, nn.initializers.lecun_normal(), name="classes")(
            x
        )
        return logits

    def _features(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch features"]:
        """Maps images to what the head sees."""
        x = images
        for i, name in enumerate(STAGES):
            x = Conv(self.width << i, 3, use_bias=False, name=f"{name}_conv")(x)
            norm = BatchNorm(0.9, _EPSILON, self.axis_name, name=f"{name}_norm")
            stays = i < self.frozen
            x = max_pool_2x2(nn.relu(norm(x, use_running_average=not train or stays)))
        # For Grad-CAM: the last maps, and the gradient toward them.
        x = self.perturb("maps", x)
        self.sow("intermediates", "maps", x)
        return x.mean((1, 2))
