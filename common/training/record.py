"""What run.json records about training, and what is printed at its end."""

import math
from collections.abc import Callable

from common.config.tasks import declaration_of
from common.runs.workdir import Run, read_record, update_record
from common.training.loop import Loop, latest_of
from common.training.restart import saved_step
from common.training.speed import matrix_rate

_OF_OPERATIONS = ("flops_per_second_and_device", "matrix_flops_per_second", "utilisation")


def recorder(
    run: Run, examples_per_step: int, flops: Callable[[], float] | None
) -> Callable[[Loop], None]:
    """Returns a function that updates run.json, including earlier sessions of the run.

    Args:
      run: whose record it is.
      examples_per_step: of all devices together.
      flops: returns the operations of a step on one device; None records no operations a second.
    """
    earlier = read_record(run.workdir)
    seconds, metrics = earlier.get("wall_seconds", 0.0), earlier.get("metrics", {})
    warnings = earlier.get("warnings", [])

    def record(loop: Loop) -> None:
        clock, num_steps = loop.clock, loop.step - loop.clocked_from
        per_second = num_steps / clock.seconds
        speed = {"flops_per_second_and_device": per_second * flops()} if flops else {}
        # Those of an earlier session would stand beside this one's images a second.
        without = () if flops else _OF_OPERATIONS
        update_record(
            run.workdir,
            {
                "step": loop.step,
                # The checkpoint of this step may still be being written.
                "saved_step": saved_step(run.workdir, loop.checkpoints),
                "wall_seconds": round(seconds + clock.seconds, 1),
                "images_per_second": round(per_second * examples_per_step, 2),
                **speed,
                "idle_share": round(clock.idle_share, 5),
                "data_wait_share": round(clock.data_wait_share, 5),
                "metrics": latest_of(metrics, loop.latest),
                "warnings": [*warnings, *loop.warnings],
                **(loop.writers.stated_numbers() if loop.writers else {}),
            },
            without,
        )

    return record


def record_utilisation(run: Run) -> None:
    """Adds to run.json how close the steps came to the speed of a matrix product.

    The operations are those of the plain forms; Winograd's form needs fewer, so values above 1 are
    possible.
    """
    speed = read_record(run.workdir).get("flops_per_second_and_device")
    if speed is None:
        return
    rate = matrix_rate(run.config.train.dtype)
    update_record(
        run.workdir,
        {"matrix_flops_per_second": rate, "utilisation": round(speed / rate, 4)},
    )


def say_where(run: Run, step: int, num_steps: int) -> None:
    """Prints where results are and what to do next."""
    workdir = run.workdir
    ended = "is finished" if step >= num_steps else "was ended early, see the warning"
    print(f"step {step} of {num_steps}: {workdir} {ended}")
    print(f"  pictures:    {workdir}/pictures")
    print(f"  checkpoints: {workdir}/checkpoints")
    print(f"  numbers:     {workdir}/metrics.jsonl and run.json")
    record = read_record(workdir)
    if "images_per_second" in record:
        share = record.get("utilisation", math.inf)
        # Above 1 the forms used need fewer operations, so the share says nothing.
        relative = (
            f", {share:.0%} of a matrix product's operations per second" if share <= 1 else ""
        )
        print(
            f"  speed:       {record['images_per_second']:.4g} images/s{relative};"
            f" {record['idle_share']:.1%} of the time without a step,"
            f" {record['data_wait_share']:.1%} waiting for data"
        )
    for warning in record.get("warnings", []):
        print(f"  warning:     {warning}")
    modes = declaration_of(run.config.task).modes.items()
    for name, mode in sorted(modes, key=lambda item: len(item[1].needs)):  # the easiest first
        if mode.gives:
            command = f"python launch.py --mode={name} --workdir={workdir} {mode.needs}"
            print(f"  {mode.gives + ':':<12} {command.rstrip()}")
