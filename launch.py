"""The one command: python launch.py --config=FILE [--workdir=DIR] [--mode=MODE]; knows no model."""

import sys
from typing import TYPE_CHECKING

from common.program.interrupts import listen
from common.program.memory import restart_with_huge_pages

if __name__ == "__main__":  # before the slow imports
    restart_with_huge_pages()
    listen("stopped before it began; run the same command again.")

from absl import flags
from ml_collections import config_flags

from common.config.known_tasks import KnownTasks
from common.config.usage import help_text
from common.program.accidents import told_in
from common.program.command_line import Program, run_app
from common.program.errors import UserError
from common.program.files import user_path
from common.program.options import MODES, Command, read_flags
from common.program.stores import kept_in_store

if TYPE_CHECKING:
    from studies.experiment import Experiment

_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment: configs/NAME.py[:tiny].")
# Another is found by the config or the workdir.
TASKS = KnownTasks(("gan", "unet", "classify", "translate", "pretrain"))


def main(argv: list[str]) -> None:
    """Runs the mode that the flags ask for; heavy imports wait until they are read."""
    if argv[1:]:
        raise UserError(f"'{argv[1]}' is not a flag; flags begin with --, see --help.")
    command, options = read_flags(Command), TASKS.read_options()
    given = [name for name in flags.FLAGS if flags.FLAGS[name].present]
    TASKS.check_flags(given, command.mode)
    if command.mode == "inspect":
        from common.inspect.command import run_inspect as run

        sys.exit(run(_CONFIG.value, options.input, options.output, overwrite=options.overwrite))
    if command.mode == "report":
        from common.run_page.command import run_report as report

        with kept_in_store(command.workdir):
            code = report(command.workdir, options.output, overwrite=options.overwrite)
        sys.exit(code)
    example = {
        **dict.fromkeys(("train", "config", "plan"), "acgan_covid"),
        "utility": "utility_covid",
        "ablate": "ablate_gan_losses",
    }.get(command.mode)
    if example and _CONFIG.value is None:
        raise UserError(f"--mode={command.mode} needs --config=FILE, such as configs/{example}.py.")
    alone = TASKS.without_run(command, given)
    if command.mode == "plan":
        from studies.plan.topologies import prepare_for

        prepare_for(command.topology)
    from common.training.start import start_jax

    process = start_jax(command.coordinator, command.num_processes, command.process_id)
    with kept_in_store(command.workdir, process):
        if command.mode in MODES:
            from studies.modes import run_mode

            run_mode(command, options, _experiment())
        elif alone:
            alone()
        else:
            _run_task_mode(command, given)


def _experiment() -> "Experiment | None":
    from studies.experiment import Experiment

    if _CONFIG.value is None:
        return None
    flag = flags.FLAGS["config"]
    file, overrides = config_flags.get_config_filename(flag), config_flags.get_override_values(flag)
    return Experiment(file, _CONFIG.value, overrides)


def _run_task_mode(command: Command, given: list[str]) -> None:
    from common.config.tasks import find_mode, options_of
    from common.runs.workdir import advised, open_run

    workdir = user_path(command.workdir)
    with told_in(workdir), advised(workdir, command.mode):
        run = open_run(workdir)
        mode = find_mode(run.config.task, command.mode)
        TASKS.check_flags(given, command.mode, run.config.task)
        mode(run, read_flags(options_of(run.config.task)))


if __name__ == "__main__":
    run_app(Program(TASKS.define, lambda config: help_text(TASKS, config), main))
