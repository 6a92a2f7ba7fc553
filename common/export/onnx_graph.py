"""An ONNX graph that grows, node by node; needs the package onnx."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """Nodes and weights, which have names.

    A shape may have the batch in it, of any size: it is written as -1 where ONNX infers that, else
    as the size of the first input.

    Attributes:
      nodes: in their order.
      weights: arrays that do not change.
      narrow: of what was broadcast, the name of what it was before: see `_elementwise` in
        onnx_operations.py.
    """

    def __init__(self, first_input: str) -> None:
        """Begins with the size of the batch, which is that of an input."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._known: dict[int, str] = {}  # arrays by their identity
        self._kept: list[Any] = []  # so that no identity is given twice
        self.narrow: dict[str, str] = {}
        self._names = 0
        self._batch = ""
        self._first_input = first_input

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output, and returns the name of that."""
        name = self._name()
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, value: object) -> str:
        """Returns the name of an array that does not change."""
        if id(value) not in self._known:
            name = self._name()
            self.weights.append(numpy_helper.from_array(np.asarray(value), name))
            self._known[id(value)] = name
            self._kept.append(value)
        return self._known[id(value)]

    def whole_numbers(self, *numbers: int) -> str:
        """Returns the name of a list of numbers, such as axes."""
        return self.constant(np.array(numbers, np.int64))

    def shape(self, dimensions: Sequence[object]) -> str:
        """Returns the name of a shape that may have the batch in it."""
        numbers = [size for size in dimensions if isinstance(size, int)]
        if len(numbers) == len(dimensions):
            return self.whole_numbers(*numbers)
        if not self._batch:
            whole = self.add("Shape", self._first_input)
            self._batch = self.add("Gather", whole, self.whole_numbers(0))
        parts = [
            self.whole_numbers(size) if isinstance(size, int) else self._batch
            for size in dimensions
        ]
        return self.add("Concat", *parts, axis=0)

    def reshaped(self, name: str, dimensions: Sequence[object]) -> str:
        """Returns an array in another shape."""
        sizes = [size if isinstance(size, int) else -1 for size in dimensions]
        return self.add("Reshape", name, self.whole_numbers(*sizes))

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"


def shape_of(atom: Any) -> tuple[Any, ...]:
    """Returns the shape of a variable of JAX's programs; the batch is not a number."""
    return tuple(atom.aval.shape)


def dtype_of(atom: Any) -> np.dtype[Any]:
    """Returns the type of a variable's numbers."""
    dtype: np.dtype[Any] = np.dtype(atom.aval.dtype)
    return dtype
