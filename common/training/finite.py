"""The watch over what is logged: training stops when a number stops being one."""

import math
from collections.abc import Mapping

from common.errors import DivergenceError


def check_finite(values: Mapping[str, float], start: int, end: int) -> None:
    """Refuses metrics that are not finite.

    Raises:
      DivergenceError: naming the metrics and the steps.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DivergenceError(
            f"Training diverged between steps {start + 1} and {end}:"
            f" {', '.join(bad[:3])}{more}. Lower the"
            " learning rate or choose another seed, and start again in another --workdir."
        )
