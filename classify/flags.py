"""Which flags of common/options.py the modes of a classifier take. Needs no JAX."""

FLAGS = {
    "evaluate": ("input", "output", "overwrite"),
    "predict": ("input", "output", "overwrite", "explain"),
}
