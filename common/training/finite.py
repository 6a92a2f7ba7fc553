"""The watch over training, which stops when a logged number or the state is not finite.

A loss can stay finite while normalisation hides what happened to the weights and statistics. So at
each log the state is checked, too, on the device, while the next steps run.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from common.devices import placement
from common.learning.network import split_frozen
from common.program.errors import DivergenceError
from common.runs.leaves import has_fractions, leaves_by_path

Look: TypeAlias = Float[Array, " arrays"]  # sums of squares, on the device until read


class Watch:
    """Checks states of one structure: the sum of squares of every floating-point array.

    It is finite if all numbers are and none exceeds 1e19, which no healthy training reaches.
    """

    def __init__(self, like: PyTree) -> None:
        """Finds the arrays to check.

        Args:
          like: a state, or its shapes.
        """
        learning = leaves_by_path(split_frozen(like)[0])
        self._paths = [path for path, leaf in learning.items() if has_fractions(leaf)]
        # Only those that learn: the norm of an average is close to its network's.
        networks = (path.split("/")[0] for path in self._paths if "/opt_state/" in path)
        self._networks = tuple(dict.fromkeys(networks))
        self._squares: Callable[[Any], Look] = jax.jit(self._sum_squares)

    def look(self, state: PyTree) -> Look:
        """Checks a state on the devices; does not wait for the result.

        Only the copy on this process's first device is checked: all copies are equal.
        """
        return self._squares(placement.first_copies(state))

    def read(self, look: Look) -> tuple[dict[str, float], str]:
        """Returns each network's norm by name, and the first array that is not finite, or ""."""
        squares = dict(zip(self._paths, np.asarray(look, np.float64).tolist(), strict=True))
        norms = {}
        for network in self._networks:
            own = [x for path, x in squares.items() if path.startswith(f"{network}/params/")]
            norms[f"{network}_weight_norm"] = math.sqrt(sum(own))
        return norms, next((path for path, x in squares.items() if not math.isfinite(x)), "")

    def _sum_squares(self, state: PyTree) -> Look:
        leaves = leaves_by_path(state)
        return jnp.stack([jnp.square(leaves[path]).sum() for path in self._paths])


def check_finite(
    values: Mapping[str, float],
    start: int,
    end: int,
    *,
    bad: str = "",
    saved: Callable[[], int | None] = lambda: None,
) -> None:
    """Refuses metrics and a state that are not finite.

    Args:
      values: metrics of the steps (start, end].
      start: the step before the first.
      end: the last step.
      bad: the first array of the state at `end` that is not finite, "" if all are.
      saved: returns the step of the newest checkpoint, None if there is none.

    Raises:
      DivergenceError: naming the array, the metrics and the steps.
    """
    found = [f"{bad} is not finite"] if bad else []
    metrics = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    found += metrics[:3]
    if not found:
        return
    more = f" and {len(metrics) - 3} more" if len(metrics) > 3 else ""
    if step := saved():
        advice = (
            f"Lower the learning rate and resume from the checkpoint of step {step} with"
            " --allow_config_change, or choose another seed and start again in another --workdir."
        )
    else:
        advice = (
            "Lower the learning rate or choose another seed, and start again with"
            " --allow_config_change, or in another --workdir."
        )
    where = f"between steps {start + 1} and {end}" if start + 1 < end else f"in step {end}"
    raise DivergenceError(f"Training diverged {where}: {', '.join(found)}{more}.", advice)
