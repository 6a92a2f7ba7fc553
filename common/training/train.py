"""--mode=train: everything around the loop, from a config to a finished workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from common.data.feed import evaluation_batches, open_feed
from common.data.prepared import Prepared, prepare
from common.errors import UserError
from common.log import log
from common.training import config as configs
from common.training import parallel, preflight
from common.training.checkpoints import Checkpoints
from common.training.clock import Schedule
from common.training.interrupts import stop_request
from common.training.loop import Loop
from common.training.task import Examples, Task, make_task
from common.training.workdir import Run, check_data, check_owner, claim, read_record, update_record
from common.training.writers import Writers

_VALIDATION = "val"
_NUM_EXAMPLES = 256


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains an experiment in its workdir, going on where an earlier run of it stopped.

    Raises:
      UserError: a setting, the data, the workdir, the memory or the disk will not do.
      DivergenceError: a metric became infinite or not a number.
    """
    configs.check(config)
    check_owner(workdir, config)
    parallel.local_batch_size(config.data.batch_size)
    prepared = _prepare_once(config)
    task = make_task(config, prepared.card)
    run = Run(workdir, config, prepared.card)
    check_data(run)
    if prepared.card.synthetic:
        log.warning("The images are %s.", prepared.card.caption)
    with run.checkpoints() as checkpoints, stop_request() as stop:
        state, first_step = _restored_or_new(run, task, checkpoints)
        loop, state = _build_loop(run, prepared, task, checkpoints, state, first_step)
        step = first_step
        try:
            if parallel.is_main_process():
                claim(run)
            if step < loop.schedule.num_steps:
                if step == 0 and loop.writers and loop.schedule.picture:
                    loop.writers.write_images(0, loop.pictures(state))
                step = loop.run(state, step, stop)
        finally:
            if loop.writers:
                loop.writers.close()
    if parallel.is_main_process():
        if step > first_step:
            _record(run, loop, step - first_step)
        _say_where(run, step, loop.schedule.num_steps, stop.signal_name)


def _prepare_once(config: ConfigDict) -> Prepared:
    """Prepares the data in the main process first; the others then find it in the cache."""
    if parallel.is_main_process():
        prepared = prepare(config.data)
    parallel.wait_for_all("prepared")
    return prepared if parallel.is_main_process() else prepare(config.data)


def _restored_or_new(run: Run, task: Task[Any], checkpoints: Checkpoints) -> tuple[Any, int]:
    """Returns the newest saved state, or a new one, and its step."""
    state = jax.jit(task.init)(jax.random.key(run.config.seed))
    step = checkpoints.latest_step() or 0
    if step:
        log.info("going on from step %d of %s", step, run.workdir)
        return checkpoints.restore(step, state), step
    log.info("%s", task.describe(state))
    return state, step


def _build_loop(
    run: Run,
    prepared: Prepared,
    task: Task[Any],
    checkpoints: Checkpoints,
    state: Any,
    step: int,
) -> tuple[Loop, Any]:
    """Compiles the parts of the loop and places the state on the devices."""
    config, main = run.config, parallel.is_main_process()
    if main:
        preflight.check_disk(run.workdir, state, config.train.keep_last)
    schedule = Schedule.from_config(config, prepared.card.num_examples["train"])
    # The writers start first: TensorFlow loads in the background while XLA compiles.
    writers = Writers(run.workdir, step, schedule.num_steps) if main else None
    state = parallel.replicate(state)
    feed = open_feed(config, prepared)
    advance = parallel.compile_advance(task, config.seed, state, feed.block(step, 1))
    preflight.check_memory(advance.memory_bytes)
    evaluate, val_names = _compile_evaluation(config, prepared, task, state)
    _check_best_metric(config, [*(f"train/{name}" for name in advance.metric_names), *val_names])
    examples = _some_examples(prepared)
    loop = Loop(
        advance=advance,
        evaluate=evaluate,
        pictures=lambda state: task.pictures(parallel.unreplicate(state), examples),
        feed=feed,
        schedule=schedule,
        checkpoints=checkpoints,
        checkpoint_minutes=config.train.checkpoint_minutes,
        writers=writers,
    )
    return loop, state


def _some_examples(prepared: Prepared) -> Examples:
    """Returns examples from all over the training split, for pictures."""
    split = prepared.splits["train"]
    spread = np.linspace(0, len(split) - 1, min(len(split), _NUM_EXAMPLES), dtype=int)
    return split.read(spread.tolist())


def _compile_evaluation(
    config: ConfigDict, prepared: Prepared, task: Task[Any], state: Any
) -> tuple[Callable[[Any], dict[str, float]], list[str]]:
    """Returns state -> metrics of the validation split, and the names of the metrics."""
    split = prepared.splits.get(_VALIDATION)
    if split is None or config.train.eval_every == "0":
        return lambda state: {}, []
    batch_size = config.data.batch_size
    first = next(evaluation_batches(split, batch_size))
    eval_step = parallel.compile_evaluation(task, state, first)

    def evaluate(state: Any) -> dict[str, float]:
        total = None
        for batch in evaluation_batches(split, batch_size):
            metrics = eval_step.run(state, batch)
            total = metrics if total is None else total.merge(metrics)
        assert total is not None  # a split has at least one example
        return {f"{_VALIDATION}/{name}": float(value) for name, value in total.compute().items()}

    return evaluate, [f"{_VALIDATION}/{name}" for name in eval_step.metric_names]


def _check_best_metric(config: ConfigDict, names: list[str]) -> None:
    best = config.train.best_metric
    if best and best not in names:
        raise UserError(
            f"config.train.best_metric is {best!r}, which this run does not log; it logs"
            f" {', '.join(sorted(names))}."
        )


def _record(run: Run, loop: Loop, num_steps: int) -> None:
    """Adds what this process did to run.json."""
    clock = loop.clock
    before = read_record(run.workdir).get("wall_seconds", 0.0)
    update_record(
        run.workdir,
        {
            "synthetic_data": run.card.synthetic,
            "wall_seconds": round(before + clock.seconds, 1),
            "images_per_second": round(num_steps * run.config.data.batch_size / clock.seconds, 2),
            "idle_share": round(clock.idle_share, 5),
            "flops_per_second": num_steps * loop.advance.flops / clock.seconds,
            "metrics": loop.latest,
        },
    )


def _say_where(run: Run, step: int, num_steps: int, signal_name: str) -> None:
    """Prints where things are and, after a signal, how to go on."""
    workdir = run.workdir
    if signal_name:
        print(
            f"{signal_name}: saved step {step} of {num_steps} in {workdir}/checkpoints."
            " Run the same command again to go on."
        )
        return
    print(f"step {step} of {num_steps}: {workdir} is finished")
    print(f"  pictures:    {workdir}/pictures")
    print(f"  checkpoints: {workdir}/checkpoints")
    print(f"  numbers:     {workdir}/metrics.jsonl and run.json")
    print(f"  new images:  python launch.py --mode=generate --workdir={workdir} --output=DIR")
