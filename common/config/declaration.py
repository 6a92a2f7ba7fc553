"""What a task says of itself before JAX is imported: `TASK` in its config.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ml_collections import ConfigDict

from common.program.options import Options
from common.program.rules import Rules

SHOWN = ("train/loss", "val/")  # in the progress line, if a task says nothing else


@dataclass(frozen=True)
class Mode:
    """A mode that uses a trained run: the function `NAME(run, options)` of the task's task.py.

    Attributes:
      flags: the fields of the task's options that it takes.
      gives: what it makes, in the command that the end of training prints; "" prints none.
      needs: the flags that this command cannot do without: "--output=DIR".
      without_run: a flag with which the mode needs no run: it is then the function
        `NAME_without_run(options)`.
    """

    flags: tuple[str, ...] = ()
    gives: str = ""
    needs: str = ""
    without_run: str = ""


@dataclass(frozen=True)
class Compared:
    """A number of evaluations by which runs are compared.

    Attributes:
      name: for people: "Fréchet distance (radiomic)".
      number: its name in evaluation.json, levels joined by dots; * stands for any text.
      best: "highest" or "lowest".
      reference: the last part of the name of a number beside it that real data have: "floor".
    """

    name: str
    number: str
    best: str = "highest"
    reference: str = ""


@dataclass(frozen=True)
class Declaration:
    """What the program has to know of a task before it imports JAX.

    Attributes:
      defaults: returns all settings with their defaults.
      rules: the values that the settings take.
      options: the flags of the modes: a subclass of `Options` for flags of its own.
      modes: the modes beside training, by name.
      shown: how the names of the metrics begin that the progress line shows.
      continuable: settings that may change when a run resumes, beside those of every run.
      compared: the numbers of its evaluation by which runs are compared.
      captions: what the pictures show that its evaluation writes, by their files, in the order in
        which report.html has them.
      keeps_reference: whether a run keeps what its training images are like, so that its modes can
        say how far new images lie outside them (common/unlike).
    """

    defaults: Callable[[], ConfigDict]
    rules: Rules
    options: type[Options] = Options
    modes: Mapping[str, Mode] = field(default_factory=dict)
    shown: tuple[str, ...] = SHOWN
    continuable: frozenset[str] = frozenset()
    compared: tuple[Compared, ...] = ()
    captions: Mapping[str, str] = field(default_factory=dict)
    keeps_reference: bool = False
