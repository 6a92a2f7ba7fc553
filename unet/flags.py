"""Which flags of common/program/options.py the modes of a segmentation network take. Needs no JAX."""

FLAGS = {
    "evaluate": ("input", "output", "overwrite", "threshold"),
    "predict": (
        *("input", "output", "overwrite", "threshold", "rescale"),
        *("overlays", "probabilities"),
    ),
}
