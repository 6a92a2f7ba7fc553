"""What run.json records about training, and what is printed at its end."""

import math
from collections.abc import Callable, Sequence

from common.config.tasks import declaration_of
from common.program.stores import address
from common.run_page.write import REPORT
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run, read_record, update_record
from common.training.clock import DeviceClock
from common.training.numbers import Numbers, latest_of
from common.training.restart import saved_step
from common.training.speed import matrix_rate
from common.training.trackers import places_of

_OF_OPERATIONS = ("flops_per_second_and_device", "matrix_flops_per_second", "utilisation")


class Recorder:
    """Updates run.json during training, including what earlier sessions of the run recorded."""

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        examples_per_step: int,
        flops: Callable[[], float] | None,
    ) -> None:
        """Reads what earlier sessions recorded.

        Args:
          run: whose record it is.
          checkpoints: of the run.
          examples_per_step: of all devices together.
          flops: returns the operations of a step on one device; None records no operations a
            second.
        """
        self._run, self._checkpoints = run, checkpoints
        self._examples_per_step, self._flops = examples_per_step, flops
        self._earlier = read_record(run.workdir)

    def flops(self) -> None:
        """Counts the operations of a step, which takes seconds, if they are to be recorded."""
        if self._flops:
            self._flops()

    def write(self, step: int, num_steps: int, clock: DeviceClock, numbers: Numbers) -> None:
        """Updates the record.

        Args:
          step: the current step.
          num_steps: the number of steps since the clock started.
          clock: of this session.
          numbers: of this session.
        """
        earlier, workdir, flops = self._earlier, self._run.workdir, self._flops
        per_second = num_steps / clock.seconds
        speed = {"flops_per_second_and_device": per_second * flops()} if flops else {}
        # Those of an earlier session would stand beside this one's images a second.
        without = () if flops else _OF_OPERATIONS
        update_record(
            workdir,
            {
                "step": step,
                # The checkpoint of this step may still be being written.
                "saved_step": saved_step(workdir, self._checkpoints),
                "wall_seconds": round(earlier.get("wall_seconds", 0.0) + clock.seconds, 1),
                "images_per_second": round(per_second * self._examples_per_step, 2),
                **speed,
                "idle_share": round(clock.idle_share, 5),
                "data_wait_share": round(clock.data_wait_share, 5),
                "metrics": latest_of(earlier.get("metrics", {}), numbers.latest),
                "warnings": self._warnings(numbers),
                **(numbers.writers.stated_numbers() if numbers.writers else {}),
            },
            without,
        )

    def _warnings(self, numbers: Numbers) -> list[str]:
        """Returns all warnings of the run, each once."""
        of_trackers = numbers.writers.warnings if numbers.writers else []
        all_of_them = (*self._earlier.get("warnings", ()), *numbers.warnings, *of_trackers)
        return list(dict.fromkeys(all_of_them))


def record_utilisation(run: Run) -> None:
    """Adds to run.json how close the steps came to the speed of a matrix product.

    The operations are those of the plain forms; Winograd's form needs fewer, so values above 1 are
    possible.
    """
    speed = read_record(run.workdir).get("flops_per_second_and_device")
    if speed is None:
        return
    rate = matrix_rate(run.settings.train.dtype)
    update_record(
        run.workdir,
        {"matrix_flops_per_second": rate, "utilisation": round(speed / rate, 4)},
    )


def say_where(runs: Sequence[Run], step: int, num_steps: int) -> None:
    """Prints where results are and what to do next; of several replicas, in full of the first."""
    _say_where(runs[0], step, num_steps)
    if others := runs[1:]:
        print(f"  the same of: {', '.join(address(run.workdir) for run in others)}")
        each = ",".join(address(run.workdir) for run in runs)
        print(f"  side by side: python launch.py --mode=report --workdir={each}")


def _say_where(run: Run, step: int, num_steps: int) -> None:
    workdir = address(run.workdir)
    ended = "is finished" if step >= num_steps else "was ended early, see the warning"
    print(f"step {step} of {num_steps}: {workdir} {ended}")
    print(f"  report:      {workdir}/{REPORT}")
    print(f"  pictures:    {workdir}/pictures")
    print(f"  checkpoints: {workdir}/checkpoints")
    print(f"  numbers:     {workdir}/metrics.jsonl and run.json")
    for name, place in places_of(run.workdir, run.settings.train.trackers).items():
        print(f"  {name + ':':<12} {place}")
    record = read_record(run.workdir)
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
