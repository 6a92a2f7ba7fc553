"""What a classifier's outputs mean: one class of all (a softmax), or any findings (sigmoids)."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from scipy.special import expit, logit

from common.data.findings import findings_of, joined_name, may_be_several, outputs_of, shown_by
from common.program.errors import UserError

Logits = Float[np.ndarray, "num outputs"]
Shares = Float[np.ndarray, "num outputs"]


@dataclass(frozen=True)
class Outputs:
    """The outputs of a classifier.

    Attributes:
      names: of the classes, or of the findings.
      several: whether an image may show several of them, or none.
      shown: which of them the images of each class of the data show.
    """

    names: tuple[str, ...]
    several: bool
    shown: Bool[np.ndarray, "classes outputs"]

    @classmethod
    def of(cls, classes: Sequence[str]) -> "Outputs":
        """Returns the outputs for data with these classes."""
        return cls(outputs_of(classes), may_be_several(classes), shown_by(classes))

    def probabilities(self, logits: Logits, temperature: float) -> Shares:
        """Returns the probabilities of logits divided by a temperature, in float64."""
        if not self.several:
            return softmax(logits, temperature)
        shares: Shares = expit(logits.astype(np.float64) / temperature)
        return shares

    def logits(self, shares: Shares) -> Logits:
        """Returns logits of probabilities."""
        least = np.finfo(shares.dtype).tiny
        highest = 1 - np.finfo(shares.dtype).epsneg
        found: Logits = (
            logit(np.clip(shares, least, highest))
            if self.several
            else np.log(np.maximum(shares, least))
        )
        return found

    def traced_probabilities(self, logits: Float[Array, "n outputs"]) -> Float[Array, "n outputs"]:
        """Returns probabilities, as part of a program."""
        return jax.nn.sigmoid(logits) if self.several else jax.nn.softmax(logits)

    def traced_logits(self, shares: Float[Array, "n outputs"]) -> Float[Array, "n outputs"]:
        """Returns logits, as part of a program."""
        kind = jnp.finfo(shares.dtype)
        found = jnp.log(jnp.maximum(shares, kind.tiny))
        return found - jnp.log(jnp.maximum(1 - shares, kind.epsneg)) if self.several else found

    def label_of(self, shares: Shaped[np.ndarray, " outputs"]) -> str:
        """Returns what probabilities say: the likeliest class, or all findings from 1/2 on."""
        if not self.several:
            return self.names[int(shares.argmax())]
        pairs = zip(self.names, shares, strict=True)
        return joined_name([name for name, share in pairs if share >= 0.5])

    def labels_for(self, name: str, classes: Sequence[str]) -> np.ndarray:
        """Returns what the images of each class of other data show: [classes], or with outputs.

        Args:
          name: of the data.
          classes: of the data, which may lack some of the run's.

        Raises:
          UserError: the run does not know one.
        """
        of_each = [findings_of(one) if self.several else (one,) for one in classes]
        if not set(self.names).issuperset(one for found in of_each for one in found):
            raise UserError(
                f"The classes of {name} are {', '.join(classes)}, the run's are"
                f" {', '.join(self.names)}; name the folders of the data as the run's classes."
            )
        if self.several:
            return np.array([[one in found for one in self.names] for found in of_each])
        return np.array([self.names.index(one) for one in classes])


def softmax(logits: Logits, temperature: float) -> Shares:
    """Returns the probabilities of logits divided by a temperature, in float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(-1, keepdims=True)
    shares = np.exp(scaled)
    probabilities: Shares = shares / shares.sum(-1, keepdims=True)
    return probabilities
