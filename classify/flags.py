"""The modes of a classifier and their flags. Needs no JAX."""

from dataclasses import dataclass

from common.config.declaration import Mode
from common.program.options import Options, flag, switched
from common.program.rules import some


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """The flags of evaluating and predicting classes."""

    operating_point: str = flag(
        "",
        "How a classifier's thresholds are chosen on validation: youden (the default), or at least"
        " sensitivity=0.95 or specificity=0.95.",
    )
    average: str = flag(
        "",
        "Also average over views of each image: mirror (left to right), flip (top to bottom),"
        " scale; '' with predict: as in the evaluation.",
        some("mirror", "flip", "scale"),
    )
    positive: str = flag("", "The positive class of a classifier; default each in turn.")
    explain: bool = switched(False, "Also write what in an image speaks for its predicted class.")


MODES = {
    "evaluate": Mode(
        ("input", "output", "overwrite", "split", "average", "operating_point", "positive"),
        gives="scores",
    ),
    "predict": Mode(
        ("input", "output", "overwrite", "average", "explain"),
        gives="new data",
        needs="--input=PATH --output=DIR",
    ),
    "export": Mode(("output", "overwrite"), needs="--output=DIR"),
}
