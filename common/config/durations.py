"""Durations, "3000" steps or "15 epochs", as numbers of steps."""

import math

from common.program.errors import UserError
from common.program.rules import MOST_STEPS, read_duration


def steps(duration: str, steps_per_epoch: float) -> int:
    """Converts a duration, "3000", "15 epochs" or "0.5 epochs", to steps (rounded up).

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
    found = math.ceil(number * steps_per_epoch) if unit == "epochs" else int(number)
    if found > MOST_STEPS:
        raise UserError(f"'{duration}' is {found} steps, more than the {MOST_STEPS} possible.")
    return found


def never(duration: str) -> bool:
    """Returns whether a duration is 0, which turns the action off."""
    return steps(duration, 1.0) == 0
