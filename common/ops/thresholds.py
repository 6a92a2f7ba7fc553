"""From which sizes on one form is faster than another on a CPU, all measured by bench/layers.py."""

MANY_CHANNELS = 32  # and features, for Winograd's form and the gradient of a kernel by rows
MANY_PIXELS = 13 * 13  # with fewer, Winograd's kernel at the points is more work than the image
MANY_TAPS = 15 * 15  # from about here on the Fourier form is faster
FEW_FEATURES = 4  # at most, that XLA's convolution cannot fill its vectors with ...
ENOUGH_CHANNELS = 16  # ... of so many channels or more
MANY_FEATURES = 128  # of a doubling, to be faster by rows and columns than by blocks
FILLED = 0.75  # of the pixels of Winograd's tiles; VGG16's images of 14 have 0.77
TILES_IN_CHUNK = 256  # as fast as 128 to 1024 in the layers of VGG16 and of the U-Net
PIXELS_IN_CHUNK = 1024  # of small images in upsampling; 512 to 2048 are as fast, less is slower
PARTS = 8  # in which a depthwise kernel's gradient is summed
