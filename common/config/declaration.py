"""What a task says of itself before JAX is imported: `TASK` in its config.py."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ml_collections import ConfigDict

from common.program.options import Options
from common.program.rules import Rules
from common.program.settings import Section

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

    def called(self, numbers: Iterable[str]) -> dict[str, str]:
        """Returns what the numbers that fit are called for people, by their names.

        Several, such as those of each class, are told apart by what the stars stand for.
        """
        fitting = [name for name in numbers if fnmatchcase(name, self.number)]
        if len(fitting) < 2:
            return dict.fromkeys(fitting, self.name)
        return {name: f"{self.name} ({self._stars(name)})" for name in fitting}

    @staticmethod
    def beside(name: str, last: str) -> str:
        """Returns the name of a number beside another: of "x.value" and "floor", "x.floor"."""
        return f"{name.rpartition('.')[0]}.{last}"

    def _stars(self, name: str) -> str:
        """Returns the parts of a name where the number has stars: "COVID"."""
        parts = zip(name.split("."), self.number.split("."), strict=False)
        return ", ".join(own for own, asked in parts if "*" in asked)


@dataclass(frozen=True)
class Declaration:
    """What the program has to know of a task before it imports JAX.

    Attributes:
      defaults: returns all settings with their defaults.
      rules: the values that the settings take.
      settings: the class of the settings, whose comments say what each means.
      options: the flags of the modes: a subclass of `Options` for flags of its own.
      modes: the modes beside training, by name.
      shown: how the names of the metrics begin that the progress line shows.
      continuable: settings that may change when a run resumes, beside those of every run.
      compared: the numbers of its evaluation by which runs are compared.
      captions: what the pictures show that its evaluation writes, by their files, in the order in
        which report.html has them.
      use: what a trained model is for, in a sentence.
      limits: what it cannot do, or its scores do not show, in sentences.
      keeps_reference: whether a run keeps what its training images are like, so that its modes can
        say how far new images lie outside them (common/unlike).
    """

    defaults: Callable[[], ConfigDict]
    rules: Rules
    settings: type[Section] = Section
    options: type[Options] = Options
    modes: Mapping[str, Mode] = field(default_factory=dict)
    shown: tuple[str, ...] = SHOWN
    continuable: frozenset[str] = frozenset()
    compared: tuple[Compared, ...] = ()
    captions: Mapping[str, str] = field(default_factory=dict)
    use: str = ""
    limits: tuple[str, ...] = ()
    keeps_reference: bool = False
