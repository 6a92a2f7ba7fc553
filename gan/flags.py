"""Which flags of common/program/options.py the modes of a GAN take. Needs no JAX."""

FLAGS = {
    "generate": (
        *("output", "overwrite", "num_images", "label", "seed", "strict", "bits", "truncation"),
        *("walk", "rows", "frames", "axis"),
    ),
    "evaluate": ("output", "overwrite", "seed", "images_per_class", "extractors", "judge"),
}
