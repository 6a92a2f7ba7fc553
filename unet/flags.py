"""The modes of a segmentation network and their flags. Needs no JAX."""

from dataclasses import dataclass

from common.config.declaration import Mode
from common.program.options import Options, flag, switched
from common.program.rules import Rule, number, some

CHOOSE = "choose"


def _is_size(value: object) -> bool:
    return isinstance(value, str) and (value in ("", CHOOSE) or value.isdecimal())


@dataclass(frozen=True)
class UNetOptions(Options):
    """The flags of evaluating and predicting masks."""

    threshold: float = flag(
        0.0,
        "Probability threshold of predicted masks; 0: the evaluation's, or 1/2.",
        number(0, 1, below=True),
    )
    smallest: str = flag(
        "",
        "Remove found regions of fewer pixels, at the network's scale: a number, or choose, by"
        " validation images; '' with predict: as in the evaluation.",
        Rule(f"a whole number, or {CHOOSE!r}", _is_size),
    )
    native: bool = switched(False, "Also score masks in the images' own size, as predict has it.")
    average: str = flag(
        "",
        "Also average over views of each image: mirror (left to right), flip (top to bottom);"
        " '' with predict: as in the evaluation.",
        some("mirror", "flip"),
    )
    rescale: bool = switched(
        True, "Resample images to the scale of the training images before predicting."
    )
    overlays: bool = switched(False, "Also write the images with predicted outlines.")
    probabilities: bool = switched(False, "Also write predicted probabilities.")


MODES = {
    "evaluate": Mode(
        ("input", "output", "overwrite", "split", "average", "threshold", "smallest", "native"),
        gives="scores",
    ),
    "predict": Mode(
        (
            *("input", "output", "overwrite", "average", "threshold", "smallest"),
            *("rescale", "overlays", "probabilities"),
        ),
        gives="new data",
        needs="--input=PATH --output=DIR",
    ),
    "export": Mode(("output", "overwrite"), needs="--output=DIR"),
}
