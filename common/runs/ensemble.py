"""--mode=ensemble: a workdir whose predictions are the mean of those of trained runs."""

from collections.abc import Sequence
from pathlib import Path

from common.config.tasks import declaration_of
from common.program.errors import UserError
from common.program.files import user_path
from common.program.words import counted
from common.runs.members import ENSEMBLE, write_members
from common.runs.workdir import Run, exclusive, open_run, pinned, written_in

# Settings of the data that say how a file becomes an image.
_READ_ALIKE = ("fit", "window", "plane", "mask_values", "neighbours")


def make_ensemble(members: str, workdir: str) -> None:
    """Makes the workdir of an ensemble, which evaluate and predict open like a run's.

    Args:
      members: workdirs of its runs, separated by commas.
      workdir: of the ensemble.

    Raises:
      UserError: a member is no run, or can't be averaged with the others, or the workdir is in use.
    """
    named = [name.strip() for name in members.split(",") if name.strip()]
    if not workdir or not named:
        raise UserError(
            "--mode=ensemble needs --members=RUN1,RUN2, the workdirs of trained runs, and"
            " --workdir=DIR, the folder of the ensemble; or --config=FILE, to train its members."
        )
    ensemble_of([user_path(name) for name in named], user_path(workdir))
    print(
        f"An ensemble of {counted(len(named), 'run')}; next:"
        f" python launch.py --mode=evaluate --workdir={workdir}"
    )


def ensemble_of(members: Sequence[Path], workdir: Path) -> Run:
    """Writes the file that names the members, and opens the ensemble.

    Raises:
      UserError: see `make_ensemble`.
    """
    runs = [open_run(place) for place in members]
    if len({run.workdir.resolve() for run in runs}) < len(runs):
        raise UserError("--members names a run twice; name each once.")
    checksums = checksums_of(runs)
    if (workdir / ENSEMBLE).exists() or written_in(workdir):
        raise UserError(f"The workdir {workdir} is in use; choose another --workdir.")
    with exclusive(workdir):
        write_members(workdir, checksums)
    return open_run(workdir)


def checksums_of(runs: Sequence[Run]) -> dict[Path, str]:
    """Returns the checksum of each member by its workdir, as `write_members` takes them.

    Raises:
      UserError: one can't be averaged with the first.
    """
    for run in runs:
        _check(run, runs[0])
    return {run.workdir: pinned(run)[1] for run in runs}


def _check(run: Run, first: Run) -> None:
    """Refuses a run that does not predict, or predicts something else than the first."""
    if run.ensemble:
        raise UserError(f"{run.workdir} is an ensemble; name its members instead.")
    if "predict" not in declaration_of(run.config.task).modes:
        raise UserError(
            f"{run.workdir} is a run of config.task {run.config.task!r}, which predicts nothing"
            " that could be averaged; name runs that --mode=predict takes."
        )
    for what, own, other in (
        ("config.task", run.config.task, first.config.task),
        ("the classes", run.card.classes, first.card.classes),
        ("the masks' classes", run.card.mask_classes, first.card.mask_classes),
        ("config.data.image_size", run.card.image_size, first.card.image_size),
        ("config.data.channels", run.card.channels, first.card.channels),
        *(
            (f"config.data.{name}", run.config.data[name], first.config.data[name])
            for name in _READ_ALIKE
        ),
    ):
        if own != other:
            raise UserError(
                f"{run.workdir} can't be averaged with {first.workdir}: {what} {own!r} there is"
                f" {other!r} here; name runs that agree in it."
            )
