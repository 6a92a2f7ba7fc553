"""JAX's operations as nodes of ONNX: those that the networks of this program are made of.

Each function adds nodes to a graph: it takes the graph, JAX's equation and the names of the inputs,
and returns the name of the output. Images are NHWC in JAX and NCHW in ONNX.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn
from onnx import TensorProto, helper

from common.export.onnx_graph import Graph, dtype_of, shape_of
from common.program.errors import UserError

_TO_IMAGES, _FROM_IMAGES = (0, 3, 1, 2), (0, 2, 3, 1)  # NHWC -> NCHW, and back


def _elementwise(operation: str, graph: Graph, equation: JaxprEqn, *inputs: str) -> str:
    """Adds an operation that broadcasts by itself, so that one input must be of full size."""
    full = shape_of(equation.outvars[0])
    given = [(name, shape_of(atom)) for name, atom in zip(inputs, equation.invars, strict=True)]
    if any(shape == full and name not in graph.narrow for name, shape in given):
        return graph.add(operation, *(graph.narrow.get(name, name) for name in inputs))
    return graph.add(operation, *inputs)


def _broadcast(graph: Graph, equation: JaxprEqn, operand: str, *_: str) -> str:
    shape, places = equation.params["shape"], equation.params["broadcast_dimensions"]
    before = shape_of(equation.invars[0])
    sizes: list[Any] = [1] * len(shape)
    for place, size in zip(places, before, strict=True):
        sizes[place] = size
    narrow = operand if list(before) == sizes else graph.reshaped(operand, sizes)
    if sizes == list(shape):
        return narrow
    wide = graph.add("Expand", narrow, graph.shape(shape))
    graph.narrow[wide] = narrow
    return wide


def _reshape(graph: Graph, equation: JaxprEqn, operand: str, *_: str) -> str:
    return graph.reshaped(operand, equation.params["new_sizes"])


def _convert(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return graph.add("Cast", operand, to=_kind(equation.params["new_dtype"]))


def _power(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    dtype = dtype_of(equation.invars[0])
    return graph.add("Pow", operand, graph.constant(np.array(equation.params["y"], dtype)))


def _square(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return graph.add("Mul", operand, operand)


def _inverse_root(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return graph.add("Reciprocal", graph.add("Sqrt", operand))


def _log_of_one_more(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    """log(1 + x): where x is so small that 1 + x is 1, the error is x itself, less than 1e-7."""
    one = graph.constant(np.ones((), dtype_of(equation.invars[0])))
    return graph.add("Log", graph.add("Add", operand, one))


def _not_equal(graph: Graph, equation: JaxprEqn, first: str, second: str) -> str:
    return graph.add("Not", graph.add("Equal", first, second))


def _select(graph: Graph, equation: JaxprEqn, which: str, if_false: str, if_true: str) -> str:
    return graph.add("Where", which, if_true, if_false)


def _gather(graph: Graph, equation: JaxprEqn, operand: str, places: str) -> str:
    """Rows along one axis, by their numbers; or a part that begins at a place. All are valid."""
    numbers, size = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    axes, shape = numbers.start_index_map, shape_of(equation.invars[0])
    of_places, found = shape_of(equation.invars[1]), shape_of(equation.outvars[0])
    rows = len(axes) == 1 and numbers.collapsed_slice_dims == axes
    if any(size[axis] != whole for axis, whole in enumerate(shape) if axis not in axes):
        rows = False
    elif len(of_places) == 1:
        begin = graph.add("Cast", places, to=TensorProto.INT64)
        end = graph.add("Add", begin, graph.whole_numbers(*(size[axis] for axis in axes)))
        part = graph.add("Slice", operand, begin, end, graph.whole_numbers(*axes))
        return graph.reshaped(part, found) if numbers.collapsed_slice_dims else part
    expected = shape[: axes[0]] + of_places[:-1] + shape[axes[0] + 1 :]
    if not rows or found != expected:
        raise UserError("ONNX is not written of this form of JAX's operation gather.")
    return graph.add("Gather", operand, graph.reshaped(places, of_places[:-1]), axis=axes[0])


def _count(graph: Graph, equation: JaxprEqn) -> str:
    """The numbers 0, 1, ... along one axis."""
    shape, axis = shape_of(equation.outvars[0]), equation.params["dimension"]
    numbers = np.arange(shape[axis], dtype=equation.params["dtype"])
    line = [-1 if i == axis else 1 for i in range(len(shape))]
    return graph.constant(np.broadcast_to(numbers.reshape(line), shape))


def _padded(graph: Graph, equation: JaxprEqn, operand: str, value: str) -> str:
    padding = equation.params["padding_config"]
    if any(inner for _, _, inner in padding):
        raise UserError("ONNX is not written of JAX's operation pad between pixels.")
    ends = [low for low, _, _ in padding] + [high for _, high, _ in padding]
    return graph.add("Pad", operand, graph.whole_numbers(*ends), value)


def _product(graph: Graph, equation: JaxprEqn, first: str, second: str) -> str:
    """A product of matrices, by the letters of its axes."""
    (contracted, batched), letters = equation.params["dimension_numbers"], string.ascii_letters
    ranks = [len(shape_of(atom)) for atom in equation.invars]
    if (ranks, contracted, batched) == ([2, 2], ((1,), (0,)), ((), ())):
        return graph.add("MatMul", first, second)
    left = list(letters[: ranks[0]])
    right = list(letters[ranks[0] : sum(ranks)])
    for pairs in (contracted, batched):
        for i, j in zip(*pairs, strict=True):
            right[j] = left[i]
    shared = [left[i] for i in batched[0]]
    own = [x for i, x in enumerate(left) if i not in (*contracted[0], *batched[0])]
    own += [x for i, x in enumerate(right) if i not in (*contracted[1], *batched[1])]
    result = "".join(shared + own)
    return graph.add(
        "Einsum", first, second, equation=f"{''.join(left)},{''.join(right)}->{result}"
    )


def _convolution(graph: Graph, equation: JaxprEqn, images: str, kernel: str) -> str:
    params = equation.params
    spec, padding = params["dimension_numbers"], params["padding"]
    x = graph.add("Transpose", images, perm=spec.lhs_spec)
    weights = graph.add("Transpose", kernel, perm=spec.rhs_spec)  # [features, channels, ...]
    sizes = [shape_of(equation.invars[1])[axis] for axis in spec.rhs_spec[2:]]
    common = {"kernel_shape": sizes, "dilations": params["rhs_dilation"]}
    if all(step == 1 for step in params["lhs_dilation"]):
        y = graph.add(
            "Conv",
            x,
            weights,
            strides=params["window_strides"],
            pads=[low for low, _ in padding] + [high for _, high in padding],
            group=params["feature_group_count"],
            **common,
        )
    else:
        y = _transposed(graph, params, x, weights, sizes)
    return graph.add("Transpose", y, perm=np.argsort(spec.out_spec).tolist())


def _transposed(
    graph: Graph, params: Mapping[str, Any], x: str, weights: str, sizes: Sequence[int]
) -> str:
    """A convolution of pixels that are spread out: the transposed one, its kernel turned round."""
    if set(params["window_strides"]) | set(params["rhs_dilation"]) != {1}:
        raise UserError("ONNX is not written of a transposed convolution with strides.")
    turned = _turned(graph, weights, (2, 3))
    swapped = graph.add("Transpose", turned, perm=(1, 0, 2, 3))
    ends = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip(sizes, params["padding"], strict=True)
    ]
    return graph.add(
        "ConvTranspose",
        x,
        swapped,
        kernel_shape=sizes,
        strides=params["lhs_dilation"],
        pads=[low for low, _ in ends] + [max(high, 0) for _, high in ends],
        output_padding=[max(-high, 0) for _, high in ends],
    )


def _turned(graph: Graph, operand: str, axes: Sequence[int]) -> str:
    """Reverses the order along axes."""
    begin, end, step = (
        graph.whole_numbers(*[number] * len(axes)) for number in (-1, -(2**31) + 1, -1)
    )
    return graph.add("Slice", operand, begin, end, graph.whole_numbers(*axes), step)


def _reverse(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return _turned(graph, operand, equation.params["dimensions"])


def _maxima(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return _pooled("MaxPool", graph, equation, operand)


def _sums(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    mean = _pooled("AveragePool", graph, equation, operand, count_include_pad=1)
    pixels = np.prod(equation.params["window_dimensions"])
    return graph.add("Mul", mean, graph.constant(pixels.astype(dtype_of(equation.invars[0]))))


def _pooled(operation: str, graph: Graph, equation: JaxprEqn, operand: str, **more: object) -> str:
    params = equation.params
    padding = params["padding"][1:3]
    pooled = graph.add(
        operation,
        graph.add("Transpose", operand, perm=_TO_IMAGES),
        kernel_shape=params["window_dimensions"][1:3],
        strides=params["window_strides"][1:3],
        pads=[low for low, _ in padding] + [high for _, high in padding],
        **more,
    )
    return graph.add("Transpose", pooled, perm=_FROM_IMAGES)


def _reduction(operation: str, graph: Graph, equation: JaxprEqn, operand: str) -> str:
    axes = graph.whole_numbers(*equation.params["axes"])
    return graph.add(operation, operand, axes, keepdims=0)


def _concatenation(graph: Graph, equation: JaxprEqn, *operands: str) -> str:
    return graph.add("Concat", *operands, axis=equation.params["dimension"])


def _split(graph: Graph, equation: JaxprEqn, operand: str) -> list[str]:
    axis, begin, parts = equation.params["axis"], 0, []
    for size in map(int, equation.params["sizes"]):
        parts.append(_part(graph, operand, {axis: (begin, begin + size, 1)}))
        begin += size
    return parts


def _slice(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    params, shape = equation.params, shape_of(equation.invars[0])
    steps = params["strides"] or (1,) * len(shape)
    wanted = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    whole = [(0, size, 1) for size in shape]
    cut = {axis: x for axis, x in enumerate(wanted) if x != whole[axis]}
    return _part(graph, operand, cut) if cut else operand


def _part(graph: Graph, operand: str, cut: Mapping[int, tuple[int, int, int]]) -> str:
    """Returns what lies between begin and end along some axes, at some step."""
    begin, end, step = (
        graph.whole_numbers(*numbers) for numbers in zip(*cut.values(), strict=True)
    )
    return graph.add("Slice", operand, begin, end, graph.whole_numbers(*cut), step)


def _transpose(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return graph.add("Transpose", operand, perm=equation.params["permutation"])


def _squeeze(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return graph.reshaped(operand, shape_of(equation.outvars[0]))


def _same(graph: Graph, equation: JaxprEqn, operand: str) -> str:
    return operand


def _kind(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


_NAMES = {  # JAX's name of what ONNX has as it is
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min"},
    **{"neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt"},
    **{"logistic": "Sigmoid", "round": "Round", "pow": "Pow", "and": "And", "not": "Not"},
    **{"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"},
}
OPERATIONS: Mapping[str, Callable[..., str | list[str]]] = {
    **{name: partial(_elementwise, theirs) for name, theirs in _NAMES.items()},
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenation,
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert,
    "dot_general": _product,
    "gather": _gather,
    "integer_pow": _power,
    "iota": _count,
    "log1p": _log_of_one_more,
    "ne": _not_equal,
    "optimization_barrier": _same,
    "pad": _padded,
    "reduce_max": partial(_reduction, "ReduceMax"),
    "reduce_sum": partial(_reduction, "ReduceSum"),
    "reduce_window_max": _maxima,
    "reduce_window_sum": _sums,
    "reshape": _reshape,
    "rev": _reverse,
    "rsqrt": _inverse_root,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "squeeze": _squeeze,
    "stop_gradient": _same,
    "transpose": _transpose,
}
