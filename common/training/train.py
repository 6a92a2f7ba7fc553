"""--mode=train: everything around the loop, from a config to a finished workdir."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from ml_collections import ConfigDict

from common.data.feed import evaluation_batches, fits_on_device, open_feed
from common.data.prepared import Prepared, prepare
from common.data.splits import check_division
from common.errors import UserError
from common.interrupts import StopRequest, stop_request
from common.log import log
from common.memory import give_back_freed_memory
from common.metrics import known_values
from common.tasks import rules_of
from common.training import config as configs
from common.training import parallel, preflight
from common.training.checkpoints import Checkpoints
from common.training.clock import Schedule
from common.training.finite import Watch
from common.training.loop import Loop, latest_of
from common.training.optimizers import check_rates
from common.training.profile import Profile
from common.training.restart import begin_anew, check_progress, record_saved, saved_step
from common.training.speed import matrix_rate
from common.training.task import Examples, Measurement, Task, find_task, make_task, new_state
from common.training.workdir import (
    RECORD,
    Changes,
    Run,
    check_data,
    check_owner,
    claim,
    exclusive,
    read_record,
    update_record,
)
from common.training.writers import Writers, read_jsonl
from common.unlike.run import keep_reference

_VALIDATION = "val"
_EXAMPLE_BYTES = 32 * 2**20
_NUM_EXAMPLES = 4096
_NEXT = {  # what to do with a trained run, by mode
    "evaluate": ("scores:", ""),
    "generate": ("new images:", " --output=DIR"),
    "predict": ("new data:", " --input=PATH --output=DIR"),
}

Result = TypeVar("Result")


def train(
    config: ConfigDict,
    workdir: Path,
    *,
    profile: bool = False,
    restart: bool = False,
    allow_change: bool = False,
) -> bool:
    """Trains an experiment in its workdir, going on where an earlier run of it stopped.

    Returns whether no signal has come: then all steps are done, or as many as it was to make of a
    GAN that collapses.

    With `profile` a trace of the steps 10 to 20 of this session is written to WORKDIR/profile; with
    `restart` it begins anew, and what an earlier run wrote is moved to WORKDIR/earlier-1; with
    `allow_change` a run goes on with other settings, which are told and recorded in its run.json.

    Raises:
      UserError: a setting, the data, the workdir, the memory or the disk will not do.
      DivergenceError: a metric or the state became infinite or not a number.
    """
    with stop_request() as stop:
        if not parallel.alone():  # they agree before one of them stops
            stop.begin()
        begin = _Begin(profile=profile, restart=restart, allow_change=allow_change)
        run, step, num_steps = _train(config, workdir, stop, begin)
        if stop.requested and step < num_steps:
            print(
                f"{stop.signal_name}: saved step {step} of {num_steps} in {workdir}/checkpoints."
                " Run the same command again to go on."
            )
        elif parallel.is_main_process():
            _say_where(run, step, num_steps)
    return not stop.requested


class _Begin(NamedTuple):
    """How a training begins; see `train`."""

    profile: bool
    restart: bool
    allow_change: bool


def _train(
    config: ConfigDict, workdir: Path, stop: StopRequest, begin: _Begin
) -> tuple[Run, int, int]:
    """Returns the run, how far it is now, and its steps."""
    changed = _check_settings(config, workdir, begin)
    prepared = _main_process_first(lambda: prepare(config.data)) or prepare(config.data)
    _check_validation(config, prepared)
    task = make_task(config, prepared.card)
    run = Run(workdir, config, prepared.card)
    if not begin.restart:
        check_data(run)
    if prepared.card.synthetic:
        log.warning("The images are %s.", prepared.card.caption)
    with ExitStack() as stack:
        _main_process_first(lambda: stack.enter_context(exclusive(workdir)))
        if begin.restart:
            _main_process_first(lambda: begin_anew(workdir))
        like = jax.eval_shape(task.init, jax.random.key(config.seed))
        step = _step_to_go_on_from(run, like)
        if parallel.is_main_process():
            stack.callback(record_saved, workdir, run.checkpoints)
        checkpoints = stack.enter_context(run.checkpoints)
        keep_last = run.config.train.keep_last
        _main_process_first(lambda: preflight.check_disk(workdir, like, keep_last))
        state = None
        if task.needs_preparation:
            state = _restored_or_new(run, task, checkpoints, step, like)
            prepare_more = partial(task.prepare, prepared, state)
            prepared = _main_process_first(prepare_more) or prepare_more()
        traced = Profile(workdir / "profile" if begin.profile else None, step)
        # Before there is a state: compiling takes memory of its own, and gives it back.
        stand_in = parallel.stand_in(like)
        loop = _build_loop(run, prepared, task, checkpoints, stand_in, step, traced)
        if state is None:
            state = _restored_or_new(run, task, checkpoints, step, like)
        state = parallel.place(state)
        preflight.check_memory(loop.advance.temporary_bytes, config.train.low_memory)
        if changed:
            log.warning("From step %d on with other settings: %s.", step, configs.told(changed))
        _main_process_first(lambda: claim(run, step, changed))
        if hasattr(find_task(config.task), "predict"):
            _main_process_first(lambda: keep_reference(run, prepared))
        if parallel.is_main_process():
            loop.writers = stack.enter_context(Writers(workdir, step, loop.schedule.num_steps))
            loop.redraw(state, step)
        if step < loop.schedule.num_steps:
            stop.begin()
            step = loop.run(state, step, stop)
            if loop.writers:
                loop.writers.flush()  # the last picture, drawn meanwhile, would halve the rate
                _record_utilisation(run)
    return run, step, loop.schedule.num_steps


def _check_settings(config: ConfigDict, workdir: Path, begin: _Begin) -> Changes:
    """Returns the settings with which a run goes on; refuses what will not do, without any data."""
    find_task(config.get("task", ""))
    configs.check(config, rules_of(config.task))
    changed = check_owner(workdir, config, restart=begin.restart, allow_change=begin.allow_change)
    if begin.restart or not (workdir / RECORD).exists():
        check_division(config.data)
    parallel.local_batch_size(config.data.batch_size)
    return {} if begin.restart else changed


def _step_to_go_on_from(run: Run, like: Any) -> int:
    """Returns the step of the newest sound checkpoint, 0 where the run begins.

    The main process alone looks and moves damaged ones aside, so that all go on from the same. What
    it has read it lets go: compiling, which comes before there is a state, takes memory of its own.
    """

    def look() -> int:
        step = run.checkpoints.newest_sound_step(like)
        check_progress(run.workdir, run.checkpoints, step)
        record_saved(run.workdir, run.checkpoints)
        give_back_freed_memory()
        return step

    return parallel.highest(_main_process_first(look) or 0)


def _main_process_first(work: Callable[[], Result]) -> Result | None:
    """Runs work in the main process while the others wait; its errors end them all."""
    return _together(work if parallel.is_main_process() else lambda: None)


def _together(work: Callable[[], Result]) -> Result:
    """Runs work in every process; an error in one ends them all."""
    try:
        result = work()
    except Exception as error:
        parallel.all_succeed(error)
        raise
    parallel.all_succeed(None)
    return result


def _restored_or_new(
    run: Run, task: Task[Any], checkpoints: Checkpoints, step: int, like: Any
) -> Any:
    """Returns the state saved at a step, or at step 0 a new one."""
    if step:
        log.info("going on from step %d of %s", step, run.workdir)
        return _together(partial(checkpoints.restore, step, like))
    state = new_state(task, run.config.seed)
    state = _main_process_first(partial(task.warm_start, state)) or task.warm_start(state)
    log.info("%s", task.describe(state))
    return state


def _build_loop(
    run: Run,
    prepared: Prepared,
    task: Task[Any],
    checkpoints: Checkpoints,
    state: Any,
    step: int,
    profile: Profile,
) -> Loop:
    """Compiles the parts of the loop for states like this one."""
    config = run.config
    steps_per_epoch = prepared.card.num_examples["train"] / task.batches.examples
    schedule = Schedule.from_config(config.train, steps_per_epoch)
    if step < schedule.num_steps:
        for sentence in check_rates(config, steps_per_epoch):
            log.warning("%s", sentence)
    feed = open_feed(config, prepared, task.batches)
    low_memory = config.train.low_memory
    advance = parallel.compile_advance(
        task, config.seed, state, feed.example_block(), low_memory=low_memory
    )
    evaluate, val_names, compile_evaluation = _prepare_evaluation(config, prepared, task, state)
    measurement = None
    if not configs.never(config.train.eval_every):
        measurement = _main_process_first(partial(task.measurement, prepared))
        measurement = measurement or task.measurement(prepared)
    if measurement:
        _recall(measurement, run.workdir, step)
        evaluate = _with_measurement(evaluate, measurement)
        val_names = [*val_names, *measurement.names]
    _check_best_metric(config, [*(f"train/{name}" for name in advance.metric_names), *val_names])
    examples, watch = _some_examples(prepared), Watch(state)

    def compile_rest(state: Any) -> None:
        compile_evaluation()
        if parallel.is_main_process():
            advance.flops()  # for `record`; it traces the step once more
        if measurement:
            measurement.measure(parallel.unreplicate(state))
        watch.look(state)

    return Loop(
        advance=advance,
        compile_rest=compile_rest,
        evaluate=evaluate,
        pictures=lambda state: task.pictures(parallel.unreplicate(state), examples),
        feed=feed,
        schedule=schedule,
        checkpoints=checkpoints,
        checkpoint_minutes=config.train.checkpoint_minutes,
        best_metric=config.train.best_metric,
        record=_recorder(run, task.batches.examples),
        measurement=measurement,
        profile=profile,
        watch=watch,
    )


def _some_examples(prepared: Prepared) -> Examples:
    """Returns examples from all over the training split, for pictures."""
    split = prepared.splits["train"]
    most = min(_NUM_EXAMPLES, max(64, _EXAMPLE_BYTES // prepared.card.example_bytes))
    spread = np.linspace(0, len(split) - 1, min(len(split), most), dtype=int)
    return split.read(spread.tolist())


def _prepare_evaluation(
    config: ConfigDict, prepared: Prepared, task: Task[Any], state: Any
) -> tuple[Callable[[Any], dict[str, float]], list[str], Callable[[], Any]]:
    """Returns state -> metrics of the validation split, their names, and what compiles it."""
    split = prepared.splits.get(_VALIDATION)
    if split is None or configs.never(config.train.eval_every):
        return lambda state: {}, [], lambda: None
    batch_size = config.data.batch_size
    first = next(evaluation_batches(split, batch_size))
    low_memory = config.train.low_memory
    eval_step = parallel.prepare_evaluation(task, state, first, low_memory=low_memory)
    resident = None
    if fits_on_device(config, split):
        resident = list(evaluation_batches(split, batch_size))

    def evaluate(state: Any) -> dict[str, float]:
        total = None
        for batch in resident or evaluation_batches(split, batch_size):
            metrics = eval_step.run(state, batch)
            total = metrics if total is None else total.merge(metrics)
        assert total is not None  # a split has at least one example
        return {f"{_VALIDATION}/{name}": value for name, value in known_values(total).items()}

    names = [f"{_VALIDATION}/{name}" for name in eval_step.metric_names]
    return evaluate, names, eval_step.compile


def _with_measurement(
    evaluate: Callable[[Any], dict[str, float]], measurement: Measurement[Any]
) -> Callable[[Any], dict[str, float]]:
    """Returns state -> both kinds of figures. Every process measures, and finds the same."""
    return lambda state: {
        **evaluate(state),
        **measurement.measure(parallel.unreplicate(state)),
    }


def _recall(measurement: Measurement[Any], workdir: Path, step: int) -> None:
    """Tells the measurement what earlier sessions of the run have logged, so that none is told."""
    latest: dict[str, float] = {}
    for row in read_jsonl(workdir / "metrics.jsonl"):
        if row["step"] <= step:
            latest |= {name: float(value) for name, value in row.items()}
            if measurement.names[0] in row:
                measurement.warnings(int(row["step"]), latest)


def _check_validation(config: ConfigDict, prepared: Prepared) -> None:
    """Refuses a best checkpoint by a validation that will not be; needs nothing compiled."""
    best = config.train.best_metric
    if not best.startswith("val/"):
        return
    if _VALIDATION not in prepared.splits:
        raise UserError(
            f"config.train.best_metric is {best!r}, but {prepared.card.name} has no validation"
            " images; set --config.data.splits=70,15,15 to hold some out, or"
            " --config.train.best_metric=''."
        )
    if configs.never(config.train.eval_every):
        raise UserError(
            f"config.train.best_metric is {best!r}, but config.train.eval_every is 0; set it, or"
            " --config.train.best_metric=''."
        )


def _check_best_metric(config: ConfigDict, names: list[str]) -> None:
    best = config.train.best_metric
    if best and best not in names:
        raise UserError(
            f"config.train.best_metric is {best!r}, which this run does not log; it logs"
            f" {', '.join(sorted(names))}."
        )


def _recorder(run: Run, examples_per_step: int) -> Callable[[Loop], None]:
    """Returns what brings run.json up to date, earlier sessions of the run included."""
    earlier = read_record(run.workdir)
    seconds, metrics = earlier.get("wall_seconds", 0.0), earlier.get("metrics", {})
    warnings = earlier.get("warnings", [])

    def record(loop: Loop) -> None:
        clock, num_steps = loop.clock, loop.step - loop.clocked_from
        per_second = num_steps / clock.seconds
        update_record(
            run.workdir,
            {
                "step": loop.step,
                # The checkpoint of this step may still be being written.
                "saved_step": saved_step(run.workdir, loop.checkpoints),
                "wall_seconds": round(seconds + clock.seconds, 1),
                "images_per_second": round(per_second * examples_per_step, 2),
                "flops_per_second_and_device": per_second * loop.advance.flops(),
                "idle_share": round(clock.idle_share, 5),
                "data_wait_share": round(clock.data_wait_share, 5),
                "metrics": latest_of(metrics, loop.latest),
                "warnings": [*warnings, *loop.warnings],
                **(loop.writers.stated_numbers() if loop.writers else {}),
            },
        )

    return record


def _record_utilisation(run: Run) -> None:
    """Adds to run.json how near the steps came to the speed of a matrix product.

    The operations are those of the plain forms; Winograd's makes do with fewer, so that more than
    1 is possible.
    """
    rate = matrix_rate(run.config.train.dtype)
    speed = read_record(run.workdir)["flops_per_second_and_device"]
    update_record(
        run.workdir,
        {"matrix_flops_per_second": rate, "utilisation": round(speed / rate, 4)},
    )


def _say_where(run: Run, step: int, num_steps: int) -> None:
    """Prints where things are and what to do with them."""
    workdir = run.workdir
    ended = "is finished" if step >= num_steps else "was ended early, see the warning"
    print(f"step {step} of {num_steps}: {workdir} {ended}")
    print(f"  pictures:    {workdir}/pictures")
    print(f"  checkpoints: {workdir}/checkpoints")
    print(f"  numbers:     {workdir}/metrics.jsonl and run.json")
    record = read_record(workdir)
    if "utilisation" in record:
        print(
            f"  speed:       {record['images_per_second']:.4g} images/s,"
            f" {record['utilisation']:.0%} of a matrix product's operations a second;"
            f" {record['idle_share']:.1%} of the time without a step,"
            f" {record['data_wait_share']:.1%} for want of data"
        )
    for warning in record.get("warnings", []):
        print(f"  warning:     {warning}")
    task = find_task(run.config.task)
    for mode, (what, more) in _NEXT.items():
        if hasattr(task, mode):
            print(f"  {what:<12} python launch.py --mode={mode} --workdir={workdir}{more}")
