"""The convolution within groups of channels.

On a CPU, XLA takes its gradients pixel by pixel. As convolutions of some groups at once, with a
kernel that is zero from group to group, they take 16 to 97 times less time in the layers of R3GAN
(`python bench/layers.py --only=grouped`).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from common.ops import thresholds
from common.ops.blocks import LAYOUT
from common.ops.convolutions import Padding, conv, forward_pads
from common.ops.forms import Form, form_on_target


def grouped_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width group channels"],
    padding: Padding = "SAME",
    form: Form = "auto",
) -> Float[Array, "batch out_height out_width channels"]:
    """Convolves each group of channels with its own kernel, to as many features.

    With n the number of a group's channels and g(c) the first channel of the group of c,
    `y[i, j, c] = sum_abk x[i + a - low_h, j + b - low_w, g(c) + k] kernel[a, b, k, c]`, equal to
    `lax.conv_general_dilated` with `feature_group_count = channels / n`.
    """
    channels, group = x.shape[-1], kernel.shape[2]
    if form_on_target(form) == "lax":
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            forward_pads(x, kernel, 1, padding),
            dimension_numbers=LAYOUT,
            feature_group_count=channels // group,
        )
    together = max(thresholds.TOGETHER // group, 1) * group
    ends = list(range(together, channels, together))
    parts = zip(jnp.split(x, ends, -1), jnp.split(kernel, ends, -1), strict=True)
    return jnp.concatenate([conv(part, _spread(taps), padding=padding) for part, taps in parts], -1)


def _spread(kernel: Array) -> Float[Array, "rows columns channels channels"]:
    """Returns the kernel of all channels at once, zero from group to group."""
    rows, columns, group, channels = kernel.shape
    groups = channels // group
    own = jnp.eye(groups, dtype=kernel.dtype)
    of_groups = kernel.reshape(rows, columns, 1, group, groups, group)
    spread: Array = of_groups * own[:, None, :, None]
    return spread.reshape(rows, columns, channels, channels)
