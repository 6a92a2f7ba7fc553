"""What training changes by rule instead of by gradients: `GANState.controls`.

| control             | is there with             | what it is                                     |
|---------------------|---------------------------|------------------------------------------------|
| average_NAME        | a term that asks for it   | the moving average of an output of the         |
|                     |                           | discriminator's updates                        |
| augment_probability | adaptive_augment.target   | the probability that the discriminator sees an |
|                     |                           | image varied                                   |
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from common.devices.axis import AXIS
from common.learning.network import Variables, moving_average

AUGMENT_PROBABILITY = "augment_probability"
_DECAY = 0.99  # of averages; that of LeCam's authors


@dataclass(frozen=True)
class Controls:
    """The rules.

    Attributes:
      averages: the outputs of the discriminator of which a moving average over steps is kept, as
        "average_NAME".
      target: of the mean sign of training images' logits; 0: images are always varied.
      rise: the number of steps in which the probability can go from 0 to 1.
    """

    averages: tuple[str, ...] = ()
    target: float = 0.0
    rise: int = 1

    @property
    def at_first(self) -> Variables:
        """Returns the controls at step 0."""
        names = [f"average_{name}" for name in self.averages]
        if self.target:
            names.append(AUGMENT_PROBABILITY)
        return {name: jnp.zeros(()) for name in names}

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
        new: Variables = moving_average(kept, means, step, _DECAY)
        if self.target:
            sign = 2 * mean("accuracy_real") - 1
            new[AUGMENT_PROBABILITY] = self._probability(controls[AUGMENT_PROBABILITY], sign)
        return new

    def _probability(
        self, probability: Float[Array, ""], sign: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Returns a probability that is one step larger if training images are too easily known.

        A discriminator that overfits is sure of its training images. Karras et al., "Training
        Generative Adversarial Networks with Limited Data" (2020), section 3, where the authors take
        the mean sign of four batches and aim at 0.6.
        """
        above = jnp.round(sign - self.target, 5)  # other numbers of devices change the last digits
        return (probability + jnp.sign(above) / self.rise).clip(0, 1)
