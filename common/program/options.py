"""The flags of the program, and what a task says its own with. Needs no JAX."""

from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from absl import flags

from common.program.errors import UserError
from common.program.rules import Rule, choice, each, switch, text, whole
from common.program.stores import is_url

# Every task adds its own.
MODES = ("train", "config", "run", "inspect", "utility", "ablate", "plan", "ensemble", "report")
OF_TASKS = "*"  # stands for all modes of tasks
_OF_MANY = ("ablate", "ensemble")  # the modes whose runs have processes of their own
_TOGETHER = ("train", OF_TASKS)  # the modes that may run on many processes

Kind = TypeVar("Kind", bound="_Flags")
Value = TypeVar("Value")


def flag(default: Value, meaning: str, rule: Rule | None = None, **more: object) -> Value:
    """Returns a field that is a flag.

    Args:
      default: the flag's value where it is not given: a text, a number, True or False.
      meaning: its line in --help.
      rule: the values it takes; by default any text.
      **more: further metadata of the field.
    """
    return field(default=default, metadata={"help": meaning, "rule": rule or text(), **more})


def chosen(default: Value, meaning: str, *choices: Value, **more: object) -> Value:
    """Returns a field that is a flag with few values."""
    return flag(default, meaning, choice(*choices), choices=choices, **more)


def switched(default: Value, meaning: str, **more: object) -> Value:
    """Returns a field that is a flag to switch something on or off."""
    return flag(default, meaning, switch(), **more)


class _Flags:
    """Each field is a flag of the same name, with its default, help text and allowed values."""

    def __post_init__(self) -> None:
        """Refuses an invalid value.

        Raises:
          UserError: naming the flag.
        """
        for one in flags_of(type(self)):
            one.metadata["rule"].check(f"--{one.name}", getattr(self, one.name))


def flags_of(kind: type[_Flags]) -> tuple[Field[object], ...]:
    """Returns the fields of `Command` or of a task's options."""
    return fields(kind)  # type: ignore[arg-type]  # each is a dataclass


@dataclass(frozen=True)
class Command(_Flags):
    """What to do, where and how; `modes` are those that take the flag."""

    mode: str = flag("train", "What to do.", modes=(*MODES, OF_TASKS))
    workdir: str = flag(
        "",
        "The run's folder; default runs/NAME. With report also several, separated by commas.",
        modes=("train", "run", "utility", "ablate", "ensemble", "report", OF_TASKS),
    )
    profile: bool = switched(
        False, "Write a trace of training steps 10 to 20 to WORKDIR/profile.", modes=("train",)
    )
    restart: bool = switched(
        False,
        "Start over; an earlier run's files are moved to WORKDIR/earlier-1.",
        modes=("train", "run"),
    )
    allow_config_change: bool = switched(
        False,
        "Resume with changed settings; run.json records them.",
        modes=("train",),
    )
    members: str = flag(
        "", "Workdirs of the runs of an ensemble, separated by commas.", modes=("ensemble",)
    )
    seeds: int = flag(
        1,
        "With how many seeds an ensemble trains each fold, from config.seed on.",
        whole(1, 10_000),
        modes=("ensemble",),
    )
    results: str = flag(
        "",
        "A file of finished runs of a study, a line each: they are not run again; others are"
        " added when they finish.",
        modes=("ablate", "utility"),
    )
    sweep: tuple[str, ...] = flag(
        (),
        "A setting to vary and its values, as in loss.name=hinge,lsgan or seed=0..4; given several"
        " times, they are crossed.",
        each(text()),
        modes=("ablate",),
    )
    at_once: int = flag(1, "How many runs train side by side.", whole(1, 10_000), modes=_OF_MANY)
    executor: str = chosen(
        "local",
        "Where the runs train: here, or as jobs of Slurm.",
        *("local", "slurm"),
        modes=_OF_MANY,
    )
    slurm: str = flag(
        "",
        "What each job asks of Slurm, as in partition=gpu,gpus_per_node=1,time=240 (minutes).",
        modes=_OF_MANY,
    )
    topology: str = flag(
        "",
        "Hardware to plan for, as in v5e:16x16 or v5e:2x4,h100:8.",
        modes=("plan",),
    )
    batch_per_chip: int = flag(
        0,
        "Images that a chip takes in a step; 0: the config's batch, spread over the chips.",
        whole(0, 65536),
        modes=("plan",),
    )
    coordinator: str = flag(
        "", "HOST:PORT of process 0; not needed under srun and mpirun.", modes=_TOGETHER
    )
    num_processes: int = flag(
        1,
        "Number of processes, with --coordinator.",
        whole(1, 1_000_000),
        modes=_TOGETHER,
    )
    process_id: int = flag(
        0,
        "Number of this process, from 0, with --coordinator.",
        whole(0, 999_999),
        modes=_TOGETHER,
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
        if is_url(self.workdir) and self.mode in ("run", "utility", "ablate", "ensemble"):
            raise UserError(
                f"--workdir={self.workdir} is in an object store, which --mode={self.mode} can't"
                " use; name a folder."
            )
        if self.process_id >= self.num_processes:
            raise UserError(
                f"--process_id is {self.process_id}; it must be less than --num_processes,"
                f" which is {self.num_processes}."
            )


@dataclass(frozen=True)
class Options(_Flags):
    """The flags that modes of several tasks take; a task adds its own in a subclass."""

    input: str = flag("", "Your own folder or file, to inspect, evaluate or predict.")
    output: str = flag(
        "", "Where modes other than train write; nothing is written outside this folder."
    )
    split: str = chosen(
        "test",
        "Images to score: those of test (of val without one), or val, those held out in training.",
        *("test", "val"),
    )
    overwrite: bool = switched(
        False, "Replace what an earlier command wrote to --output, never other files."
    )

    def __post_init__(self) -> None:
        """Refuses values that are invalid.

        Raises:
          UserError: naming the flag.
        """
        super().__post_init__()
        if is_url(self.output):
            raise UserError(
                f"--output={self.output} is in an object store; name a folder. Without --output"
                " results go to the workdir, which may be in one."
            )


def define_flags(kinds: Iterable[type[_Flags]], modes: Sequence[str]) -> None:
    """Defines the flag of every field; of fields with the same name that of the first."""
    for one in (one for kind in kinds for one in flags_of(kind)):
        name, default, meaning = one.name, one.default, one.metadata["help"]
        choices = modes if name == "mode" else one.metadata.get("choices")
        if name in flags.FLAGS:
            continue
        if choices:
            flags.DEFINE_enum(name, str(default), [str(choice) for choice in choices], meaning)
        else:
            define: Any = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
                tuple: flags.DEFINE_multi_string,
            }[type(default)]
            define(name, default, meaning)


def read_flags(kind: type[Kind]) -> Kind:
    """Returns the values given on the command line.

    Raises:
      UserError: a value is invalid.
    """
    kinds: dict[str, Any] = {one.name: type(one.default) for one in flags_of(kind)}
    given = {name: flags.FLAGS[name].value for name in kinds if flags.FLAGS[name].present}
    # Flags with choices hold text.
    return kind(**{name: kinds[name](value) for name, value in given.items()})
