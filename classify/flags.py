"""Which flags of common/program/options.py the modes of a classifier take. Needs no JAX."""

FLAGS = {
    "evaluate": ("input", "output", "overwrite", "operating_point", "positive"),
    "predict": ("input", "output", "overwrite", "explain"),
}
