"""What the command line says to the modes other than training. Needs no JAX."""

from dataclasses import dataclass, field, fields
from typing import Any

from absl import flags


def _flag(default: Any, meaning: str, choices: tuple[Any, ...] = ()) -> Any:
    return field(default=default, metadata={"help": meaning, "choices": choices})


@dataclass(frozen=True)
class Options:
    """Each field is a flag of the same name, with its default and its help."""

    input: str = _flag("", "A folder or a file: to inspect, to evaluate on, to predict.")
    output: str = _flag(
        "", "The folder that modes other than train write to; nothing is written outside it."
    )
    overwrite: bool = _flag(
        False, "Replace what an earlier command wrote to --output; never another's file."
    )
    num_images: int = _flag(64, "How many images to generate.")
    label: str = _flag("", "Of which class; default all in turn.")
    seed: int = _flag(0, "Of what is generated; training has --config.seed.")
    strict: bool = _flag(
        False, "Generate only if --mode=evaluate found that no training images are repeated."
    )
    bits: int = _flag(8, "Of generated images; 16: the source's range.", (8, 16))
    truncation: float = _flag(0.0, "Latents lie within +- this: fewer odd images; 0: anywhere.")
    walk: str = _flag(
        "",
        "Generate a walk between images instead: between latents, along single entries of a latent,"
        " or from class to class.",
        ("", "linear", "spherical", "axes", "classes"),
    )
    rows: int = _flag(4, "How many walks, one below the other.")
    frames: int = _flag(32, "How many images in a walk.")
    axis: int = _flag(0, "The first entry of the latent that --walk=axes moves along.")
    images_per_class: int = _flag(1000, "How many generated images of each class are evaluated.")
    extractors: str = _flag("", "Of features that they are compared by, as in radiomic,vgg16.")
    judge: str = _flag("", "The folder of a trained classifier that reads generated images.")
    threshold: float = _flag(0.0, "Of a predicted mask's probability; 0: the evaluation's, or 1/2.")
    rescale: bool = _flag(True, "Bring images to the scale of the training images to predict them.")
    overlays: bool = _flag(False, "Write predicted outlines on the images, too.")
    explain: bool = _flag(False, "Write what in an image speaks for its predicted class, too.")
    probabilities: bool = _flag(False, "Write predicted probabilities, too.")


def define_option_flags() -> None:
    """Defines the flag of every option."""
    for option in fields(Options):
        name, default, meaning = option.name, option.default, option.metadata["help"]
        if choices := option.metadata["choices"]:
            flags.DEFINE_enum(name, str(default), [str(choice) for choice in choices], meaning)
        else:
            define: Any = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }[type(default)]
            define(name, default, meaning)


def options_from_flags() -> Options:
    """Returns the options that the command line gave."""
    given = flags.FLAGS.flag_values_dict()
    kinds: dict[str, Any] = {option.name: type(option.default) for option in fields(Options)}
    # A flag with choices has text.
    return Options(**{name: kind(given[name]) for name, kind in kinds.items()})
