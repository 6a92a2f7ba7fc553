"""The modes of a GAN and their flags. Needs no JAX."""

from dataclasses import dataclass

from common.config.declaration import Mode
from common.program.options import Options, chosen, flag, switched
from common.program.rules import SEEDS, number, whole


@dataclass(frozen=True)
class GANOptions(Options):
    """The flags of generating images and of evaluating generated ones."""

    num_images: int = flag(64, "Number of images to generate.", whole(1, 100_000_000))
    label: str = flag("", "Class of generated images; default all in turn.")
    seed: int = flag(0, "Seed of generated images; training has --config.seed.", whole(0, SEEDS))
    strict: bool = switched(
        False, "Generate only if --mode=evaluate found no repeated training images."
    )
    bits: int = chosen(8, "Bits per pixel of generated images; 16: the source's range.", 8, 16)
    truncation: float = flag(
        1.0,
        "How far an image may be from the middle of its class, for fewer odd images; 1: off.",
        number(0, 1),
    )
    reject: float = flag(
        0.0,
        "Leave out images that the discriminator takes for generated, up to this percentile; 0:"
        " off.",
        number(0, 100, below=True),
    )
    novel: bool = switched(
        False, "Leave out generated images that are too near to a training image."
    )
    walk: str = chosen(
        "",
        "Generate a walk instead: between latents, along single entries of a latent, or from class"
        " to class.",
        *("", "linear", "spherical", "axes", "classes"),
    )
    rows: int = flag(4, "Number of walks, one below the other.", whole(1, 10_000))
    frames: int = flag(32, "Number of images in a walk.", whole(2, 100_000))
    axis: int = flag(
        0, "The first entry of the latent that --walk=axes moves along.", whole(0, 65535)
    )
    images_per_class: int = flag(
        1000, "Number of generated images per class to evaluate.", whole(2, 10_000_000)
    )
    curve: bool = switched(
        False, "Measure precision and recall with several --truncation and --reject, too."
    )
    extractors: str = flag("", "Features to compare images by, as in radiomic,vgg16.")
    real: str = flag("", "A folder of real images that --input is compared with, without a run.")
    image_size: int = flag(
        64, "The side, in pixels, at which --input and --real are compared.", whole(1, 8192)
    )
    judge: str = flag("", "Workdir of a trained classifier that judges generated images.")


MODES = {
    "generate": Mode(
        (
            *("output", "overwrite", "num_images", "label", "seed", "strict", "bits"),
            *("truncation", "reject", "novel", "walk", "rows", "frames", "axis"),
        ),
        gives="new images",
        needs="--output=DIR",
    ),
    "evaluate": Mode(
        (
            *("output", "overwrite", "seed", "images_per_class", "extractors", "judge"),
            *("truncation", "reject", "curve"),
            *("input", "real", "image_size"),
        ),
        gives="scores",
        without_run="real",
    ),
    "export": Mode(("output", "overwrite"), needs="--output=DIR"),
}
