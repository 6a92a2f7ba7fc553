"""ResNet-18: residual blocks, batch normalisation, one dense layer.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016), table 1, as
torchvision has it: the second 3x3 convolution of a block sees what the first made of it, and a 1x1
convolution brings the shortcut to another size.
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key

from common.axis import AXIS
from common.layers import BatchNorm, Conv, dropout_after

STAGES = ("stem", "stage_1", "stage_2", "stage_3", "stage_4")
_EPSILON = 1e-5
_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_BLOCKS = 2


class Network(nn.Module):
    """A 7x7 convolution, four stages of two residual blocks, the mean of their maps.

    Attributes:
      num_classes: how many logits.
      width: maps of the first stage; 64 in the paper.
      dropout_rate: before the last layer.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    num_classes: int
    width: int = 64
    dropout_rate: float = 0.0
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
        logits: jax.Array = nn.Dense(self.num_classes, name="classes")(x)
        return logits

    def _features(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch features"]:
        """Maps images to what the head sees."""

        def conv(x: Array, features: int, size: int, stride: int, name: str) -> Array:
            pad = size // 2
            pads = ((pad, pad), (pad, pad))
            x = Conv(features, size, stride, pads, False, _INIT, name=f"{name}_conv")(x)
            norm = BatchNorm(0.9, _EPSILON, self.axis_name, name=f"{name}_norm")
            return norm(x, use_running_average=not train)

        x = nn.relu(conv(images, self.width, 7, 2, "stem"))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage in range(1, 5):
            features = self.width << (stage - 1)
            for block in range(1, _BLOCKS + 1):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if stage > 1 and block == 1 else 1
                y = nn.relu(conv(x, features, 3, stride, f"{name}_1"))
                y = conv(y, features, 3, 1, f"{name}_2")
                if stride > 1:
                    x = conv(x, features, 1, stride, f"{name}_shortcut")
                x = nn.relu(x + y)
        x = self.perturb("maps", x)
        self.sow("intermediates", "maps", x)
        return x.mean((1, 2))
