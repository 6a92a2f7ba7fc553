"""A trained model as other programs take it: a function of arrays, and what is known of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import export
from jaxtyping import Array, Shaped

from common.ops import plain_forms

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass(frozen=True)
class Values:
    """An input or the output of a model.

    Attributes:
      shape: without the batch, which is the first axis.
      dtype: "uint8".
      meaning: for people, with range and order: "pixels, 0 to 255".
    """

    shape: tuple[int, ...]
    dtype: str
    meaning: str

    @property
    def facts(self) -> dict[str, object]:
        """Returns them for JSON."""
        return {"shape": ["batch", *self.shape], "dtype": self.dtype, "meaning": self.meaning}


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
      function: of the inputs, in their order, with the weights in it.
      inputs: by name.
      output: what it returns.
      step: of the checkpoint.
      facts: what else is to be known of it.
    """

    function: Callable[..., Array]
    inputs: Mapping[str, Values]
    output: Values
    step: int
    facts: Mapping[str, object]

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Returns the shapes of the inputs with a batch of any size."""
        (batch,) = export.symbolic_shape("batch")
        return [
            jax.ShapeDtypeStruct((batch, *one.shape), np.dtype(one.dtype))
            for one in self.inputs.values()
        ]

    def plain(self, *inputs: Array) -> Array:
        """Computes in the plain forms, which every platform and format has."""
        with plain_forms():
            return self.function(*inputs)

    def exported(self) -> export.Exported:
        """Returns the program as StableHLO, for a batch of any size on any platform."""
        return export.export(jax.jit(self.plain), platforms=PLATFORMS)(*self.shapes())

    def examples(self, size: int) -> list[Shaped[np.ndarray, "{size} ..."]]:
        """Returns inputs drawn at random, to compare programs by."""
        random = np.random.default_rng(size)
        return [_drawn(random, (size, *one.shape), one.dtype) for one in self.inputs.values()]


def _drawn(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "float32":
        return random.standard_normal(shape, np.float32)
    return random.integers(0, 256 if dtype == "uint8" else 2, shape).astype(dtype)
