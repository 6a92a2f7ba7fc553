"""The tasks that the command line knows, and the flags that their modes take. Needs no JAX."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.config.declaration import Declaration
from common.config.tasks import (
    declaration_of,
    find_mode,
    is_task,
    look_in,
    options_of,
    task_in,
)
from common.program.command_line import config_file, value_of
from common.program.config_files import read_config
from common.program.errors import UserError
from common.program.files import user_path
from common.program.options import (
    MODES,
    OF_TASKS,
    Command,
    Options,
    define_flags,
    flags_of,
    read_flags,
)
from common.program.stores import is_url

_WITH_CONFIG = ("train", "config", "run", "inspect", "utility", "ablate", "ensemble", "plan")
_OF_INSPECT = ("input", "output", "overwrite")
_OF_PLAN = ("output", "overwrite")
_ONE_RUN = ("input", "output", "overwrite")  # flags of evaluate that say where a single run is read
_OF_REPORT = ("output", "overwrite")


class KnownTasks:
    """The built-in tasks, and the one that a command is about."""

    def __init__(self, names: Sequence[str]) -> None:
        """Takes the names of the built-in tasks."""
        self._names, self._about = tuple(names), ""

    def define(self, argv: Sequence[str]) -> None:
        """Finds the task that a command is about, and defines the flags of all tasks.

        Of flags with the same name those of this task count.

        Args:
          argv: the command line.

        Raises:
          UserError: the config.py of this task fails.
        """
        self._about = task_of(argv)
        if self._about and self._about not in self._names:
            self._names = (self._about, *self._names)
        about = options_of(self._about)
        others = (declaration_of(name).options for name in self._names)
        define_flags((Command, about, *others), self.modes)

    def read_options(self) -> Options:
        """Returns what is given of the flags of the task that the command is about.

        Raises:
          UserError: a value is invalid.
        """
        return read_flags(options_of(self._about))

    @property
    def modes(self) -> tuple[str, ...]:
        """Returns the names of all modes."""
        of_tasks = (mode for declared in self._declared().values() for mode in declared.modes)
        return tuple(dict.fromkeys((*MODES, *of_tasks)))

    @property
    def kinds(self) -> tuple[type[Command] | type[Options], ...]:
        """Returns the classes of all flags; a task's own are of one that is derived."""
        own = (declared.options for declared in self._declared().values())
        return (Command, Options, *own)

    def uses_of(self, flag: str) -> dict[str, tuple[str, ...]]:
        """Returns the modes that take a flag, each with its tasks; () means any task."""
        uses: dict[str, tuple[str, ...]] = {}
        if flag == "config":
            return dict.fromkeys(_WITH_CONFIG, ())
        for each in flags_of(Command):
            if each.name == flag:
                taking = each.metadata["modes"]
                return {
                    mode: ()
                    for mode in self.modes
                    if mode in taking or (mode not in MODES and OF_TASKS in taking)
                }
        if flag in _OF_INSPECT:
            uses["inspect"] = ()
        if flag in _OF_REPORT:
            uses["report"] = ()
        if flag in _OF_PLAN:
            uses["plan"] = ()
        if flag == "input":
            uses["run"] = ()
        for task, declared in self._declared().items():
            for mode, of_mode in declared.modes.items():
                if flag in of_mode.flags:
                    uses[mode] = (*uses.get(mode, ()), task)
                    if mode == "evaluate" and flag not in (*_ONE_RUN, of_mode.without_run):
                        uses["ablate"] = (*uses.get("ablate", ()), task)
        return {mode: uses[mode] for mode in self.modes if mode in uses}

    def without_run(self, command: Command, given: Iterable[str]) -> Callable[[], None] | None:
        """Returns what a mode of a task does without a run; None for other modes, or with a run.

        Raises:
          UserError: the mode needs a run.
        """
        mode = command.mode
        if mode in MODES or command.workdir:
            return None
        for task, declared in self._declared().items():
            if mode in declared.modes and declared.modes[mode].without_run in given:
                self.check_flags(given, mode, task)
                options = read_flags(declared.options)
                return lambda: find_mode(task, mode, without_run=True)(options)
        raise UserError(f"--mode={mode} needs --workdir=DIR, the folder of a trained run.")

    def told_uses(self, flag: str) -> str:
        """Returns the uses of a flag as text: "train, predict (unet, classify)"."""
        uses = self.uses_of(flag)
        if len(uses) == len(self.modes) and not any(uses.values()):
            return "every mode"
        named = (f"{mode} ({', '.join(tasks)})" if tasks else mode for mode, tasks in uses.items())
        return ", ".join(named)

    def check_flags(self, given: Iterable[str], mode: str, task: str = "") -> None:
        """Refuses flags that a mode does not take, or does not take for this task.

        Args:
          given: names of flags; those of other programs, such as absl's, do not matter.
          mode: of this command.
          task: of the run; "" while it is unknown.

        Raises:
          UserError: naming the flag and what takes it.
        """
        ours = {"config", *(each.name for kind in self.kinds for each in flags_of(kind))}
        for flag in sorted({name.split(".")[0] for name in given} & ours):
            uses = self.uses_of(flag)
            if mode in uses and not (task and uses[mode] and task not in uses[mode]):
                continue
            of_task = f" of config.task {task!r}" if task and uses.get(mode) else ""
            raise UserError(
                f"--mode={mode}{of_task} takes no --{flag}; it is for {self.told_uses(flag)}."
                " Leave it out."
            )

    def _declared(self) -> Mapping[str, Declaration]:
        return {name: declaration_of(name) for name in self._names}


def task_of(argv: Sequence[str]) -> str:
    """Returns the task that a command is about, by its config or its workdir; "" if unknown.

    What is wrong with either is told by those who read them. A package may lie beside the config.
    """
    file, argument = config_file(argv)
    name = ""
    if file:
        look_in(Path(file).resolve().parent)
        with suppress(Exception):  # a config file may raise anything
            name = str(read_config(file, argument).task)
    elif (workdir := value_of("workdir", argv)) and not is_url(workdir):
        name = task_in(user_path(workdir))
    name = value_of("config.task", argv) or name
    return name if is_task(name) else ""
