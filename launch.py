"""The one command: python launch.py --config=configs/acgan_covid.py [--workdir=DIR] [--mode=MODE].

It turns flags into a mode and knows no model. Heavy imports wait until the flags are understood.
"""

import sys

from common.interrupts import listen
from common.memory import restart_with_huge_pages

if __name__ == "__main__":  # before the imports that take a while
    restart_with_huge_pages()
    listen("stopped before it began; run the same command again.")

from absl import flags
from ml_collections import config_flags

from common.accidents import told_in
from common.command_line import run_app
from common.errors import UserError
from common.files import user_path
from common.options import define_option_flags, options_from_flags

_TASK_MODES = ("generate", "evaluate", "predict")  # each is a function of the task's module

_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment: configs/NAME.py[:tiny].")
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder; default runs/NAME.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ("train", "inspect", "utility", *_TASK_MODES), "What to do."
)
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Write a trace of training steps 10 to 20 to WORKDIR/profile."
)
_RESTART = flags.DEFINE_bool(
    "restart", False, "Train anew; what an earlier run wrote is moved to WORKDIR/earlier-1."
)
define_option_flags()
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0; not needed under srun and mpirun."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "Of the whole run, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer("process_id", 0, "Of this process, with --coordinator.")


def main(argv: list[str]) -> None:
    """Runs the mode that the flags ask for."""
    if argv[1:]:
        raise UserError(f"'{argv[1]}' is not a flag; flags begin with --, see --help.")
    if _RESTART.value and _MODE.value != "train":
        raise UserError("--restart is for --mode=train; leave it out.")
    if _MODE.value == "inspect":
        from common.data.inspect.command import run_inspect

        options = options_from_flags()
        sys.exit(
            run_inspect(_CONFIG.value, options.input, options.output, overwrite=options.overwrite)
        )
    with_config = {"train": "acgan_covid", "utility": "utility_covid"}.get(_MODE.value)
    if with_config and _CONFIG.value is None:
        raise UserError(f"--mode={_MODE.value} needs --config=FILE, as configs/{with_config}.py.")
    if not with_config and not _WORKDIR.value:
        raise UserError(f"--mode={_MODE.value} needs --workdir=DIR, the folder of a trained run.")
    from common.training.start import start_jax

    start_jax(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    (_run_config if with_config else _run_task_mode)()


def _run_config() -> None:
    from common.training.config import default_workdir

    file = config_flags.get_config_filename(flags.FLAGS["config"])
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    workdir = user_path(_WORKDIR.value or default_workdir(file, overrides))
    with told_in(workdir):
        if _MODE.value == "utility":
            from studies.utility import run_utility

            run_utility(_CONFIG.value, workdir, profile=_PROFILE.value)
        else:
            from common.training.train import train

            train(_CONFIG.value, workdir, profile=_PROFILE.value, restart=_RESTART.value)


def _run_task_mode() -> None:
    from common.training.task import find_mode
    from common.training.workdir import open_run

    workdir = user_path(_WORKDIR.value)
    with told_in(workdir):
        run = open_run(workdir)
        find_mode(run.config.task, _MODE.value, _TASK_MODES)(run, options_from_flags())


if __name__ == "__main__":
    run_app(main)
