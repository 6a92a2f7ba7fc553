"""The modes of a pretraining and their flags. Needs no JAX."""

from dataclasses import dataclass

from common.config.declaration import Mode
from common.program.options import Options, flag
from common.program.rules import whole


@dataclass(frozen=True)
class PretrainOptions(Options):
    """The flags of evaluating what a network has learned without labels."""

    nearest: int = flag(
        20, "So many nearest training images say what class an image is.", whole(1, 100_000)
    )


MODES = {
    "evaluate": Mode(("output", "overwrite", "split", "nearest"), gives="scores"),
}
