"""The modes of a translation and their flags. Needs no JAX."""

from dataclasses import dataclass

from common.config.declaration import Mode
from common.program.options import Options, flag, switched


@dataclass(frozen=True)
class TranslateOptions(Options):
    """The flags of evaluating and of translating new images."""

    back: bool = switched(False, "Translate the other way; for runs without pairs.")
    segmenter: str = flag("", "Workdir of a trained U-Net that segments translated images, too.")


MODES = {
    "evaluate": Mode(
        ("input", "output", "overwrite", "split", "back", "segmenter"), gives="scores"
    ),
    "predict": Mode(
        ("input", "output", "overwrite", "back"),
        gives="new images",
        needs="--input=PATH --output=DIR",
    ),
    "export": Mode(("output", "overwrite"), needs="--output=DIR"),
}
