"""Compiling the parts of the loop and assembling them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from common.config import durations
from common.data.prepared.prepared import Prepared
from common.devices import placement, processes
from common.learning.optimizers import check_rates
from common.program.errors import UserError
from common.program.log import log
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run
from common.scores.metrics import known_values
from common.training import dispatch
from common.training.clock import Schedule
from common.training.feed import evaluation_batches, fits_on_device, open_feed
from common.training.finite import Watch
from common.training.loop import Loop
from common.training.profile import Profile
from common.training.record import recorder
from common.training.task import Examples, Measurement, Task
from common.training.writers import read_jsonl

_VALIDATION = "val"

_EXAMPLE_BYTES = 32 * 2**20

_NUM_EXAMPLES = 4096

_STEPS_TO_TIME = 50  # fewer say little of how many operations a second there are


def build_loop(
    run: Run,
    prepared: Prepared,
    task: Task[Any],
    checkpoints: Checkpoints,
    state: Any,
    step: int,
    profile: Profile,
) -> Loop:
    """Returns the loop, its parts compiled for states like this one."""
    config = run.config
    steps_per_epoch = prepared.card.num_examples["train"] / task.batches.examples
    schedule = Schedule.from_config(config.train, steps_per_epoch)
    if step < schedule.num_steps:
        for sentence in check_rates(config, steps_per_epoch):
            log.warning("%s", sentence)
    feed = open_feed(config, prepared, task.batches)
    low_memory = config.train.low_memory
    advance = dispatch.compile_advance(
        task, config.seed, state, feed.example_block(), low_memory=low_memory
    )
    evaluate, val_names, compile_evaluation = _prepare_evaluation(config, prepared, task, state)
    measurement = None
    if not durations.never(config.train.eval_every):
        measurement = processes.main_process_first(partial(task.measurement, prepared))
        measurement = measurement or task.measurement(prepared)
    if measurement:
        _recall(measurement, run.workdir, step)
        evaluate = _with_measurement(evaluate, measurement)
        val_names = [*val_names, *measurement.names]
    _check_best_metric(config, [*(f"train/{name}" for name in advance.metric_names), *val_names])
    examples, watch = _some_examples(prepared), Watch(state)
    # To count a step's operations is to trace it once more, which takes seconds.
    flops = advance.flops if schedule.num_steps - step >= _STEPS_TO_TIME else None

    def compile_rest(state: Any) -> None:
        compile_evaluation()
        if flops and processes.is_main_process():
            flops()  # for `record`
        if measurement:
            measurement.measure(placement.unreplicate(state))
        watch.look(state)

    return Loop(
        advance=advance,
        compile_rest=compile_rest,
        evaluate=evaluate,
        pictures=lambda state: task.pictures(placement.unreplicate(state), examples),
        feed=feed,
        schedule=schedule,
        checkpoints=checkpoints,
        checkpoint_minutes=config.train.checkpoint_minutes,
        best_metric=config.train.best_metric,
        record=recorder(run, task.batches.examples, flops),
        measurement=measurement,
        profile=profile,
        watch=watch,
    )


def _some_examples(prepared: Prepared) -> Examples:
    """Returns examples spread over the training split, for pictures."""
    split = prepared.splits["train"]
    most = min(_NUM_EXAMPLES, max(64, _EXAMPLE_BYTES // prepared.card.example_bytes))
    spread = np.linspace(0, len(split) - 1, min(len(split), most), dtype=int)
    return split.read(spread.tolist())


def _prepare_evaluation(
    config: ConfigDict, prepared: Prepared, task: Task[Any], state: Any
) -> tuple[Callable[[Any], dict[str, float]], list[str], Callable[[], Any]]:
    """Returns state -> metrics of the validation split, their names, and its compilation."""
    split = prepared.splits.get(_VALIDATION)
    if split is None or durations.never(config.train.eval_every):
        return lambda state: {}, [], lambda: None
    batch_size = config.data.batch_size
    first = next(evaluation_batches(split, batch_size))
    low_memory = config.train.low_memory
    eval_step = dispatch.prepare_evaluation(task, state, first, low_memory=low_memory)
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
    """Returns state -> both kinds of values. Every process measures, with equal results."""
    return lambda state: {
        **evaluate(state),
        **measurement.measure(placement.unreplicate(state)),
    }


def _recall(measurement: Measurement[Any], workdir: Path, step: int) -> None:
    """Shows the measurement what earlier sessions logged, so that warnings are not repeated."""
    latest: dict[str, float] = {}
    for row in read_jsonl(workdir / "metrics.jsonl"):
        if row["step"] <= step:
            latest |= {name: float(value) for name, value in row.items()}
            if measurement.names[0] in row:
                measurement.warnings(int(row["step"]), latest)


def check_validation(config: ConfigDict, prepared: Prepared) -> None:
    """Refuses to keep a best checkpoint without a validation; needs nothing compiled."""
    best = config.train.best_metric
    if not best.startswith("val/"):
        return
    if _VALIDATION not in prepared.splits:
        raise UserError(
            f"config.train.best_metric is {best!r}, but {prepared.card.name} has no validation"
            " images; set --config.data.splits=70,15,15 to hold some out, or"
            " --config.train.best_metric=''."
        )
    if durations.never(config.train.eval_every):
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
