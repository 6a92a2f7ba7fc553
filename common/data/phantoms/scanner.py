"""How an MRI scanner shows tissues: contrast of the sequence, coil shading, noise."""

import numpy as np
from jaxtyping import Float32, UInt8

from common.data.phantoms.brain import TISSUES, Brains
from common.data.phantoms.drawing import Draws, averaged, axis_of

SEQUENCES = ("T1", "T1 with contrast agent", "FLAIR", "T2")
# Relative signal of the tissues in each, for the looks: not a simulation of relaxation
_SIGNAL = {
    "scalp": (1.30, 1.30, 0.95, 0.85),
    "bone": (0.08, 0.08, 0.06, 0.06),
    "marrow": (0.45, 0.45, 0.35, 0.40),
    "fluid": (0.14, 0.14, 0.10, 0.98),
    "grey": (0.42, 0.43, 0.54, 0.58),
    "white": (0.56, 0.56, 0.42, 0.38),
    "vessel": (0.26, 1.00, 0.30, 0.10),
    "gliosis": (0.44, 0.44, 0.78, 0.70),
    "tumour": (0.32, 0.33, 0.80, 0.80),
    "rim": (0.34, 0.95, 0.74, 0.70),
}


def scan(
    brains: Brains,
    sequences: tuple[str, ...],
    draws: Draws,
    noise: Float32[np.ndarray, "block sequences size size"],
) -> UInt8[np.ndarray, "block size size sequences"]:
    """Images slices in several sequences, which differ in contrast, shading and noise."""
    block, count, size, _ = noise.shape
    table = np.array([_SIGNAL[tissue] for tissue in TISSUES], np.float32).T
    mean = table[[SEQUENCES.index(name) for name in sequences]]
    varied = mean * draws.uniform(0.94, 1.06, mean.size).reshape(block, *mean.shape)
    fractions = averaged(brains.fractions, size).reshape(block, len(TISSUES), -1)
    signal = (varied @ fractions).reshape(noise.shape)
    x, y = axis_of(size), axis_of(size)[:, None]
    tilt_x, tilt_y = (draws.uniform(-0.25, 0.25, count)[:, :, None, None] for _ in range(2))
    bowl = draws.uniform(-0.05, 0.35, count)[:, :, None, None]  # coils lie around the head
    signal *= 0.9 + tilt_x * x + tilt_y * y + bowl * (x**2 + y**2)
    signal += draws.uniform(0.008, 0.03, count)[:, :, None, None] * noise
    gain = draws.uniform(130.0, 210.0, count)[:, :, None, None]
    grey = np.clip(np.abs(signal) * gain, 0, 255)  # a magnitude: noise in air is not negative
    return np.moveaxis(np.rint(grey).astype(np.uint8), 1, 3)
