"""Durations, "3000" steps, "15 epochs" or "50 %" of training, as numbers of steps."""

import math

from common.program.errors import UserError
from common.program.rules import MOST_STEPS, read_duration


def steps(duration: str, steps_per_epoch: float, training: str = "0") -> int:
    """Converts a duration, "3000", "15 epochs", "0.5 epochs" or "50 %", to steps (rounded up).

    Args:
      duration: the text.
      steps_per_epoch: of the data.
      training: the duration of training, of which "%" is a share.

    Raises:
      UserError: the text is neither, or exceeds what the counters of a state can hold.
    """
    read = read_duration(duration)
    if read is None:
        raise UserError(
            f"'{duration}' is not a duration: write whole steps as \"3000\" or epochs as"
            ' "15 epochs".'
        )
    number, unit = read
    of_unit = {"steps": 1, "epochs": steps_per_epoch}
    if unit == "%":
        of_unit["%"] = steps(training, steps_per_epoch) / 100
    found = math.ceil(number * of_unit[unit])
    if found > MOST_STEPS:
        raise UserError(f"'{duration}' is {found} steps, more than the {MOST_STEPS} possible.")
    return found


def never(duration: str) -> bool:
    """Returns whether a duration is 0, which turns the action off."""
    return steps(duration, 1.0, training="1") == 0
