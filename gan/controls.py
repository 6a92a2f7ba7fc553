"""What training changes by rule instead of by gradients: `GANState.controls`."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from common.devices.axis import AXIS
from common.learning.network import Variables, moving_average

_DECAY = 0.99  # of averages; that of LeCam's authors


@dataclass(frozen=True)
class Controls:
    """The rules.

    Attributes:
      averages: the outputs of the discriminator of which a moving average over steps is kept, as
        "average_NAME".
    """

    averages: tuple[str, ...] = ()

    @property
    def at_first(self) -> Variables:
        """Returns the controls at step 0."""
        return {f"average_{name}": jnp.zeros(()) for name in self.averages}

    def after(
        self,
        controls: Variables,
        outputs: Mapping[str, Float[Array, ""] | Float[Array, " batch"]],
        step: Int[Array, ""],
    ) -> Variables:
        """Returns the controls after a step, equal on all devices.

        Args:
          controls: before it.
          outputs: of the players' updates, by the names under which they are logged.
          step: how many were made before.
        """

        def mean(name: str) -> Float[Array, ""]:
            found: Array = jax.lax.pmean(outputs[f"discriminator_{name}"].mean(), AXIS)
            return found

        means = {f"average_{name}": mean(name) for name in self.averages}
        kept = {name: controls[name] for name in means}
        return moving_average(kept, means, step, _DECAY)
