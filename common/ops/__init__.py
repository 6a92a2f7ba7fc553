"""Convolutions and pooling as pure functions, each in the form that is fastest on its target.

These names are the room's interface; everything else in it is private. Every function equals its
plain `jax.lax` form, gradients included, in every floating dtype.
"""

from common.ops.convolutions import Padding, conv, conv_transpose
from common.ops.depthwise import depthwise_conv
from common.ops.forms import Form, Target, forms_for, plain_forms
from common.ops.grouped import grouped_conv
from common.ops.resampling import max_pool_2x2, upsample_conv

__all__ = [
    "Form",
    "Padding",
    "Target",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "forms_for",
    "grouped_conv",
    "max_pool_2x2",
    "plain_forms",
    "upsample_conv",
]
