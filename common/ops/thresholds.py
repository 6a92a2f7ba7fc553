"""Sizes from which one form of an operation is faster than another.

All were measured on a CPU by bench/layers.py. `MANY_TAPS` applies on every platform, the others on
CPUs alone.
"""

MANY_CHANNELS = 32  # and features, for Winograd's form and the gradient of a kernel by rows
MANY_PIXELS = 13 * 13  # with fewer, transforming Winograd's kernel is more work than the image
MANY_TAPS = 15 * 15  # from about here on the Fourier form is faster
FEW_FEATURES = 4  # at most: too few to fill the vectors of XLA's convolution ...
ENOUGH_CHANNELS = 16  # ... with at least so many channels
MANY_FEATURES = 128  # from here on a doubling is faster by rows and columns than by blocks
FILLED = 0.75  # share of the pixels of Winograd's tiles; VGG16's images of 14 have 0.77
TILES_IN_CHUNK = 256  # as fast as 128 to 1024 in the layers of VGG16 and of the U-Net
PIXELS_IN_CHUNK = 1024  # of small images in upsampling; 512 to 2048 are as fast, less is slower
PARTS = 8  # partial sums of a depthwise kernel's gradient
TOGETHER = 64  # channels of groups in one convolution; zeros of more cost more than it saves
