"""--mode=train: everything around the loop, from a config to a finished workdir."""

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
from common.program.files import write_atomically
from common.program.interrupts import StopRequest, stop_request
from common.program.log import log
from common.program.memory import give_back_freed_memory
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
from common.training.record import record_utilisation, say_where
from common.training.restart import begin_anew, check_progress, record_saved
from common.training.task import Task, make_task, new_state
from common.training.trackers import check_installed, trackers_of
from common.training.transfer import transferred
from common.training.validation import check_validation
from common.training.writers import Writers
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
        run, step, num_steps = _train(config, workdir, stop, begin)
        if stop.requested and step < num_steps:
            print(
                f"{stop.signal_name}: saved step {step} of {num_steps} in {workdir}/checkpoints."
                " Run the same command again to resume."
            )
        elif processes.is_main_process():
            say_where(run, step, num_steps)
    return not stop.requested


PARAMETERS = "parameters.txt"  # in the workdir


class _Begin(NamedTuple):
    """How training starts; see `train`."""

    profile: bool
    restart: bool
    allow_change: bool


def _train(
    config: ConfigDict, workdir: Path, stop: StopRequest, begin: _Begin
) -> tuple[Run, int, int]:
    """Returns the run, its current step and its number of steps."""
    changed = _check_settings(config, workdir, begin)
    declared = declaration_of(config.task)
    prepared = processes.main_process_first(lambda: prepare(config.data)) or prepare(config.data)
    settings = RunSettings.of(config)
    check_validation(settings.train, prepared)
    task = make_task(config, prepared.card)
    run = Run(workdir, config, prepared.card)
    if not begin.restart:
        check_data(run)
    if prepared.card.synthetic:
        log.warning("The images are %s.", prepared.card.caption)
    with ExitStack() as stack:
        processes.main_process_first(lambda: stack.enter_context(exclusive(workdir)))
        if begin.restart:
            processes.main_process_first(lambda: begin_anew(workdir))
        like = _shapes_of_state(task, settings.seed)
        step = _step_to_go_on_from(run, like)
        if processes.is_main_process():
            stack.callback(record_saved, workdir, run.checkpoints)
        checkpoints = stack.enter_context(run.checkpoints)
        learning, frozen = split_frozen(like)
        checkpoints.frozen = manifest.described(frozen)
        processes.main_process_first(
            lambda: preflight.check_disk(workdir, learning, settings.train.keep_last)
        )
        state = None
        if task.needs_preparation:
            state = _restored_or_new(run, task, checkpoints, step, like)
            prepare_more = partial(task.prepare, prepared, state)
            prepared = processes.main_process_first(prepare_more) or prepare_more()
        # Before there is a state: compiling takes memory, and frees it again.
        stand_in = placement.stand_in(like)
        loop = Loop(run, prepared, task, checkpoints, stand_in, step, profile=begin.profile)
        if state is None:
            state = _restored_or_new(run, task, checkpoints, step, like)
        table = "" if step else task.describe(state)
        state = placement.place(state)
        preflight.check_memory(loop.advance.temporary_bytes, settings.train.low_memory)
        processes.main_process_first(lambda: _claim(run, step, changed, table))
        if declared.keeps_reference:
            processes.main_process_first(lambda: keep_reference(run, prepared))
        if processes.is_main_process():
            stack.callback(try_page, run)  # when the writers have finished
            num_steps, trackers = loop.schedule.num_steps, trackers_of(run)
            writers = Writers(workdir, step, num_steps, declared.shown, trackers)
            loop.begin(state, stack.enter_context(writers))
        if step < loop.schedule.num_steps:
            stop.begin()
            step = loop.train(state, stop)
            if loop.writers:
                loop.writers.flush()  # drawing the last picture meanwhile would halve the rate
                record_utilisation(run)
    return run, step, loop.schedule.num_steps


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
            open_run(Path(source))  # which is refused before anything is compiled
    processes.local_batch_size(data.batch_size)
    return {} if begin.restart else changed


def _step_to_go_on_from(run: Run, like: Any) -> int:
    """Returns the step of the newest intact checkpoint, 0 for a new run.

    Only the main process checks and moves damaged ones aside, so that all resume from the same. It
    frees what it has read: compiling, which comes before there is a state, takes memory itself.
    """

    def look() -> int:
        step = run.checkpoints.newest_sound_step(like)
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
    run: Run, task: Task[Any], checkpoints: Checkpoints, step: int, like: Any
) -> Any:
    """Returns the state saved at a step, or a new one at step 0."""
    if step:
        log.info("resuming from step %d of %s", step, run.workdir)
        return processes.together(partial(checkpoints.restore, step, like))
    state = join_frozen(new_state(task, run.settings.seed), split_frozen(like)[1])
    state = processes.main_process_first(partial(task.warm_start, state)) or task.warm_start(state)
    if source := run.settings.train.init_from:
        state = processes.together(partial(transferred, state, source))
    log.info("%s", task.totals(state))
    return state


def _claim(run: Run, step: int, changed: Changes, table: str) -> None:
    """Writes the first files of a run: its settings, its record, and of a new run the table."""
    if changed:
        log.warning("Resuming from step %d with changed settings: %s.", step, changes.told(changed))
    claim(run, step, changed)
    if table:
        write_atomically(run.workdir / PARAMETERS, table + "\n")
        log.info("all parameters are listed in %s", run.workdir / PARAMETERS)
