"""--mode=train: everything around the loop, from a config to a finished workdir."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.defaults import RunSettings
from common.config.tasks import declaration_of, find_task, rules_of
from common.data.prepared.prepared import prepare
from common.data.prepared.splits import check_division
from common.devices import placement, processes
from common.learning.network import join_frozen, split_frozen
from common.program.errors import DivergenceError
from common.program.files import user_path, write_atomically
from common.program.interrupts import StopRequest, stop_request
from common.program.log import log
from common.program.memory import give_back_freed_memory
from common.program.stores import address
from common.run_page.write import try_page
from common.runs import changes, manifest
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import (
    RECORD,
    Changes,
    Run,
    check_data,
    check_owner,
    claim,
    exclusive,
    open_run,
)
from common.training import preflight
from common.training.loop import Loop
from common.training.record import say_where
from common.training.replicas import (
    check_alone,
    common_step,
    replicas_of,
    side_by_side,
    without_diverged,
)
from common.training.restart import begin_anew, check_progress, record_saved
from common.training.rollback import config_after, roll_back, rollbacks_of, seed_after
from common.training.task import Task, make_task, new_state
from common.training.trackers import check_installed, trackers_of
from common.training.transfer import transferred
from common.training.validation import check_validation
from common.training.writers import ConsoleWriter, Writers
from common.unlike.run import keep_reference


def train(
    config: ConfigDict,
    workdir: Path,
    *,
    profile: bool = False,
    restart: bool = False,
    allow_change: bool = False,
) -> bool:
    """Trains an experiment in its workdir; resumes where an earlier run of it stopped.

    Returns whether no signal came: then all steps are done, or those before a collapsing GAN was
    stopped.

    `profile` writes a trace of steps 10 to 20 of this session to WORKDIR/profile; `restart` starts
    over and moves an earlier run's files to WORKDIR/earlier-1; `allow_change` resumes with changed
    settings, which are logged and recorded in run.json.

    Raises:
      UserError: a setting or the data is invalid, or workdir, memory or disk are unsuitable.
      DivergenceError: a metric or the state became infinite or not a number.
    """
    with stop_request() as stop:
        if not processes.alone():  # all agree before one of them stops
            stop.begin()
        begin = _Begin(profile=profile, restart=restart, allow_change=allow_change)
        while True:
            try:
                runs, step, num_steps = _train(config, workdir, stop, begin)
                break
            except DivergenceError as error:
                processes.main_process_first(partial(roll_back, config, workdir, error))
                begin = _Begin(profile=False, restart=False, allow_change=False)
        if stop.requested and step < num_steps:
            places = ", ".join(f"{address(run.workdir)}/checkpoints" for run in runs)
            print(
                f"{stop.signal_name}: saved step {step} of {num_steps} in {places}."
                " Run the same command again to resume."
            )
        elif processes.is_main_process():
            say_where(runs, step, num_steps)
    return not stop.requested


PARAMETERS = "parameters.txt"  # in the workdir


class _Begin(NamedTuple):
    """How training starts; see `train`."""

    profile: bool
    restart: bool
    allow_change: bool


def _train(
    config: ConfigDict, workdir: Path, stop: StopRequest, begin: _Begin
) -> tuple[list[Run], int, int]:
    """Returns the runs, usually one, their current step and their number of steps."""
    replicas = replicas_of(config, workdir)
    changed = {place: _check_settings(own, place, begin) for own, place in replicas}
    config = replicas[0][0]
    prepared = processes.main_process_first(lambda: prepare(config.data)) or prepare(config.data)
    settings = RunSettings.of(config)
    check_validation(settings.train, prepared)
    rollbacks = 0 if begin.restart else rollbacks_of(workdir)
    task = make_task(config_after(config, rollbacks), prepared.card)
    runs = [Run(place, own, prepared.card) for own, place in replicas]
    if not begin.restart:
        for run in runs:
            check_data(run)
        runs = without_diverged(runs)
    if prepared.card.synthetic:
        log.warning("The images are %s.", prepared.card.caption)
    with ExitStack() as stack:
        for run in runs:
            processes.main_process_first(partial(_take, run.workdir, stack, begin))
        like = _shapes_of_state(task, settings.seed)
        step = _step_to_go_on_from(runs, like)
        checkpoints = [_open_checkpoints(run, like, stack) for run in runs]
        make_states = partial(_restored_or_new, runs, task, checkpoints, step, like)
        states = []
        if task.needs_preparation:
            check_alone(runs)
            states = make_states()
            prepare_more = partial(task.prepare, prepared, states[0])
            prepared = processes.main_process_first(prepare_more) or prepare_more()
        # Before there is a state: compiling takes memory, and frees it again.
        seeds = [seed_after(run.settings.seed, rollbacks) for run in runs]
        loop = Loop(runs, seeds, prepared, task, checkpoints, like, step, profile=begin.profile)
        states = states or make_states()
        table = "" if step else task.describe(states[0])
        state = placement.place(side_by_side(states))
        del states
        preflight.check_memory(loop.advance.temporary_bytes, settings.train.low_memory)
        for run in runs:
            processes.main_process_first(partial(_claim, run, step, changed[run.workdir], table))
            if declaration_of(config.task).keeps_reference:
                processes.main_process_first(partial(keep_reference, run, prepared))
        if processes.is_main_process():
            loop.begin(state, [_open_writers(runs, i, loop, stack) for i in range(len(runs))])
        if step < loop.schedule.num_steps:
            stop.begin()
            step = loop.train(state, stop)
            loop.finish()
    return runs, step, loop.schedule.num_steps


def _take(workdir: Path, stack: ExitStack, begin: _Begin) -> None:
    """Locks a workdir until the end, and clears it if training starts over."""
    stack.enter_context(exclusive(workdir))
    if begin.restart:
        begin_anew(workdir)


def _open_checkpoints(run: Run, like: Any, stack: ExitStack) -> Checkpoints:
    """Returns where the states of a run are saved, once the disk is found to have room."""
    if processes.is_main_process():
        stack.callback(record_saved, run.workdir, run.checkpoints)
    checkpoints = stack.enter_context(run.checkpoints)
    learning, frozen = split_frozen(like)
    checkpoints.frozen = manifest.described(frozen)
    keep_last = run.settings.train.keep_last
    processes.main_process_first(lambda: preflight.check_disk(run.workdir, learning, keep_last))
    return checkpoints


def _open_writers(runs: Sequence[Run], which: int, loop: Loop[Any], stack: ExitStack) -> Writers:
    """Returns where numbers and pictures of one of the runs go."""
    run = runs[which]
    stack.callback(try_page, run)  # when the writers have finished
    num_steps, shown = loop.schedule.num_steps, declaration_of(run.config.task).shown
    console = ConsoleWriter(
        *(loop.step, num_steps, shown),
        label=run.workdir.name if len(runs) > 1 else "",
        place=which,
    )
    writers = Writers(run.workdir, loop.step, num_steps, console, trackers_of(run))
    return stack.enter_context(writers)


def _check_settings(config: ConfigDict, workdir: Path, begin: _Begin) -> Changes:
    """Returns the changed settings of a resumed run; refuses invalid ones without reading data."""
    find_task(config.get("task", ""))
    configs.check(config, rules_of(config.task))
    settings = RunSettings.of(config)
    data = settings.data
    check_installed(settings.train.trackers)
    changed = check_owner(workdir, config, restart=begin.restart, allow_change=begin.allow_change)
    if begin.restart or not (workdir / RECORD).exists():
        check_division(data)
        if source := settings.train.init_from:
            open_run(user_path(source))  # which is refused before anything is compiled
    processes.local_batch_size(data.batch_size)
    return {} if begin.restart else changed


def _step_to_go_on_from(runs: Sequence[Run], like: Any) -> int:
    """Returns the step of the newest intact checkpoint, 0 for new runs.

    Only the main process checks and moves damaged ones aside, so that all resume from the same. It
    frees what it has read: compiling, which comes before there is a state, takes memory itself.
    """

    def look() -> int:
        step = common_step(runs, like)
        for run in runs:
            check_progress(run.workdir, run.checkpoints, step)
            record_saved(run.workdir, run.checkpoints)
        give_back_freed_memory()
        return step

    return processes.highest(processes.main_process_first(look) or 0)


def _shapes_of_state(task: Task[Any], seed: int) -> Any:
    """Returns the shapes of a task's state, with the weights that do not learn."""
    load = partial(task.load_frozen, jax.eval_shape(task.init, jax.random.key(seed)))
    return processes.main_process_first(load) or load()


def _restored_or_new(
    runs: Sequence[Run], task: Task[Any], checkpoints: Sequence[Checkpoints], step: int, like: Any
) -> list[Any]:
    """Returns the states that the runs saved at a step, or new ones at step 0."""
    if step:
        for run in runs:
            log.info("resuming from step %d of %s", step, run.workdir)
        return [processes.together(partial(saved.restore, step, like)) for saved in checkpoints]
    states = [_new(run, task, like) for run in runs]
    log.info("%s", task.totals(states[0]))
    return states


def _new(run: Run, task: Task[Any], like: Any) -> Any:
    state = join_frozen(new_state(task, run.settings.seed), split_frozen(like)[1])
    state = processes.main_process_first(partial(task.warm_start, state)) or task.warm_start(state)
    if source := run.settings.train.init_from:
        state = processes.together(partial(transferred, state, source))
    return state


def _claim(run: Run, step: int, changed: Changes, table: str) -> None:
    """Writes the first files of a run: its settings, its record, and of a new run the table."""
    if changed:
        log.warning("Resuming from step %d with changed settings: %s.", step, changes.told(changed))
    claim(run, step, changed)
    if table:
        write_atomically(run.workdir / PARAMETERS, table + "\n")
        log.info("all parameters are listed in %s", run.workdir / PARAMETERS)
