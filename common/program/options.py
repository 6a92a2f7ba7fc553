"""The flags of the program and of its modes. Needs no JAX."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from absl import flags

from common.program.errors import UserError
from common.program.rules import SEEDS, Rule, choice, number, switch, text, whole

MODES = ("train", "run", "inspect", "utility", "generate", "evaluate", "predict")
TASK_MODES = MODES[4:]  # each is a function of a task's module
_RUNNING = tuple(mode for mode in MODES if mode != "inspect")
_TOGETHER = ("train", *TASK_MODES)  # the modes that may run on many processes

Kind = TypeVar("Kind", "Command", "Options")


def _flag(default: Any, meaning: str, rule: Rule | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"help": meaning, "rule": rule or text(), **more})


def _chosen(default: Any, meaning: str, *choices: Any, **more: Any) -> Any:
    return _flag(default, meaning, choice(*choices), choices=choices, **more)


def _switched(default: bool, meaning: str, **more: Any) -> Any:
    return _flag(default, meaning, switch(), **more)


class _Flags:
    """Each field is a flag of the same name, with its default, help text and allowed values."""

    def __post_init__(self) -> None:
        """Refuses an invalid value.

        Raises:
          UserError: naming the flag.
        """
        for flag in fields(self):  # type: ignore[arg-type]  # of the classes below
            flag.metadata["rule"].check(f"--{flag.name}", getattr(self, flag.name))


@dataclass(frozen=True)
class Command(_Flags):
    """What to do, where and how; `modes` are those that take the flag."""

    mode: str = _chosen("train", "What to do.", *MODES, modes=MODES)
    workdir: str = _flag("", "The run's folder; default runs/NAME.", modes=_RUNNING)
    profile: bool = _switched(
        False, "Write a trace of training steps 10 to 20 to WORKDIR/profile.", modes=("train",)
    )
    restart: bool = _switched(
        False,
        "Start over; an earlier run's files are moved to WORKDIR/earlier-1.",
        modes=("train", "run"),
    )
    allow_config_change: bool = _switched(
        False,
        "Resume with changed settings; run.json records them.",
        modes=("train",),
    )
    results: str = _flag(
        "",
        "A file of finished runs of a study, a line each: they are not run again; others are"
        " added when they finish.",
        modes=("utility",),
    )
    coordinator: str = _flag(
        "", "HOST:PORT of process 0; not needed under srun and mpirun.", modes=_TOGETHER
    )
    num_processes: int = _flag(
        1, "Number of processes, with --coordinator.", whole(1, 1_000_000), modes=_TOGETHER
    )
    process_id: int = _flag(
        0, "Number of this process, from 0, with --coordinator.", whole(0, 999_999), modes=_TOGETHER
    )

    def __post_init__(self) -> None:
        """Refuses values that are invalid, alone or together.

        Raises:
          UserError: naming the flag.
        """
        super().__post_init__()
        if not self.coordinator and (self.num_processes > 1 or self.process_id):
            raise UserError(
                "--num_processes and --process_id need --coordinator=HOST:PORT, by which the"
                " processes find each other; add it."
            )
        if self.process_id >= self.num_processes:
            raise UserError(
                f"--process_id is {self.process_id}; it must be less than --num_processes,"
                f" which is {self.num_processes}."
            )


@dataclass(frozen=True)
class Options(_Flags):
    """The flags of the modes other than training; a task's flags.py lists which each takes."""

    input: str = _flag("", "Your own folder or file, to inspect, evaluate or predict.")
    output: str = _flag(
        "", "Where modes other than train write; nothing is written outside this folder."
    )
    overwrite: bool = _switched(
        False, "Replace what an earlier command wrote to --output, never other files."
    )
    num_images: int = _flag(64, "Number of images to generate.", whole(1, 100_000_000))
    label: str = _flag("", "Class of generated images; default all in turn.")
    seed: int = _flag(0, "Seed of generated images; training has --config.seed.", whole(0, SEEDS))
    strict: bool = _switched(
        False, "Generate only if --mode=evaluate found no repeated training images."
    )
    bits: int = _chosen(8, "Bits per pixel of generated images; 16: the source's range.", 8, 16)
    truncation: float = _flag(
        0.0, "Truncate latents to +- this, for fewer odd images; 0: off.", number(0, 1000)
    )
    walk: str = _chosen(
        "",
        "Generate a walk instead: between latents, along single entries of a latent, or from class"
        " to class.",
        *("", "linear", "spherical", "axes", "classes"),
    )
    rows: int = _flag(4, "Number of walks, one below the other.", whole(1, 10_000))
    frames: int = _flag(32, "Number of images in a walk.", whole(2, 100_000))
    axis: int = _flag(
        0, "The first entry of the latent that --walk=axes moves along.", whole(0, 65535)
    )
    images_per_class: int = _flag(
        1000, "Number of generated images per class to evaluate.", whole(2, 10_000_000)
    )
    extractors: str = _flag("", "Features to compare images by, as in radiomic,vgg16.")
    judge: str = _flag("", "Workdir of a trained classifier that judges generated images.")
    threshold: float = _flag(
        0.0,
        "Probability threshold of predicted masks; 0: the evaluation's, or 1/2.",
        number(0, 1, below=True),
    )
    operating_point: str = _flag(
        "",
        "How a classifier's thresholds are chosen on validation: youden (the default), or at least"
        " sensitivity=0.95 or specificity=0.95.",
    )
    positive: str = _flag("", "The positive class of a classifier; default each in turn.")
    rescale: bool = _switched(
        True, "Resample images to the scale of the training images before predicting."
    )
    overlays: bool = _switched(False, "Also write the images with predicted outlines.")
    explain: bool = _switched(False, "Also write what in an image speaks for its predicted class.")
    probabilities: bool = _switched(False, "Also write predicted probabilities.")


def define_flags() -> None:
    """Defines the flag of every field."""
    for flag in (*fields(Command), *fields(Options)):
        name, default, meaning = flag.name, flag.default, flag.metadata["help"]
        if choices := flag.metadata.get("choices"):
            flags.DEFINE_enum(name, str(default), [str(choice) for choice in choices], meaning)
        else:
            define: Any = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }[type(default)]
            define(name, default, meaning)


def read_flags(kind: type[Kind]) -> Kind:
    """Returns the values given on the command line.

    Raises:
      UserError: a value is invalid.
    """
    given = flags.FLAGS.flag_values_dict()
    kinds: dict[str, Any] = {flag.name: type(flag.default) for flag in fields(kind)}
    # Flags with choices hold text.
    return kind(**{name: of(given[name]) for name, of in kinds.items()})
