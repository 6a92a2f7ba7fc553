"""Which flags of common/program/options.py a segmentation network's modes take. Needs no JAX."""

FLAGS = {
    "evaluate": ("input", "output", "overwrite", "threshold"),
    "predict": (
        *("input", "output", "overwrite", "threshold", "rescale"),
        *("overlays", "probabilities"),
    ),
}
