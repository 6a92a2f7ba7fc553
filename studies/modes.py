"""The modes that take a config: training a run, and everything that consists of runs."""

from common.config.defaults import default_workdir
from common.devices.processes import alone
from common.program.accidents import told_in
from common.program.command_line import show
from common.program.errors import UserError
from common.program.files import user_path
from common.program.options import Command, Options
from common.program.stores import is_url
from studies.experiment import Experiment


def run_mode(command: Command, options: Options, given: Experiment | None) -> None:
    """Does what the command line asks for; imports no more than that needs.

    Args:
      command: the mode, and the flags of all tasks.
      options: the flags of the task.
      given: the experiment; only "run" and "ensemble" can do without.
    """
    if command.mode == "run":
        from studies.own_data import run_own_data

        run_own_data(given, options.input, command.workdir, restart=command.restart)
        return
    if command.mode == "ensemble" and given is None:
        from common.runs.ensemble import make_ensemble

        make_ensemble(command.members, command.workdir)
        return
    assert given
    if command.mode == "config":
        from common.config.explained import explained

        show(explained(given.config))
    if command.mode == "plan":
        from studies.plan.plan import run_plan

        names = command.topology
        run_plan(given, names, command.batch_per_chip, options.output, overwrite=options.overwrite)
        return
    workdir = user_path(command.workdir or default_workdir(given.file, given.overrides))
    with told_in(workdir):
        if command.mode == "utility":
            from studies.utility import run_utility

            run_utility(given.config, workdir, command.results)
        elif command.mode == "ensemble":
            from studies.ensemble import train_ensemble

            train_ensemble(given.config, command, workdir)
        elif command.mode == "ablate":
            from studies.ablation.ablate import run_ablation

            run_ablation(given.file, given.config, command, options, workdir)
        else:
            from common.training.train import train

            _check_store(command.workdir)
            begin = {"profile": command.profile, "restart": command.restart}
            train(given.config, workdir, **begin, allow_change=command.allow_config_change)


def _check_store(workdir: str) -> None:
    """Refuses a workdir of which each of several processes would have a copy of its own."""
    if is_url(workdir) and not alone():
        raise UserError(
            f"--workdir={workdir} is in an object store, which several processes can't share; name"
            " a folder that all of them see."
        )
