"""A model as ONNX: JAX's program, operation by operation; needs the package onnx."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
import onnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from onnx import helper

from common.export.model import Model
from common.export.onnx_graph import Graph, dtype_of
from common.export.onnx_operations import OPERATIONS
from common.program.errors import UserError

_OPSET, _IR = 18, 10  # of 2022 and 2024: what onnxruntime 1.18 and newer run


def to_onnx(model: Model, facts: Mapping[str, str]) -> onnx.ModelProto:
    """Returns a model as ONNX.

    Args:
      model: the model.
      facts: texts that travel with it, by their names.

    Raises:
      UserError: it has an operation that is not translated.
    """
    traced = jax.make_jaxpr(model.plain)(*model.shapes())
    names = list(model.inputs)
    graph = Graph(names[0])
    (output,) = _translate(traced, names, graph)
    graph.nodes.append(helper.make_node("Identity", [output], ["output"]))
    inputs = [_described(name, one.dtype, one.shape) for name, one in model.inputs.items()]
    outputs = [_described("output", model.output.dtype, model.output.shape)]
    made = helper.make_graph(graph.nodes, "triptych", inputs, outputs, graph.weights)
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    helper.set_model_props(whole, dict(facts))
    return whole


def _described(name: str, dtype: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


def _translate(program: ClosedJaxpr, inputs: Sequence[str], graph: Graph) -> list[str]:
    """Adds the nodes of a program, and returns the names of its outputs."""
    jaxpr: Jaxpr = program.jaxpr
    names: dict[Var, str] = dict(zip(jaxpr.invars, inputs, strict=True))
    names |= {
        var: graph.constant(x) for var, x in zip(jaxpr.constvars, program.consts, strict=True)
    }

    def name_of(atom: Var | Literal) -> str:
        if isinstance(atom, Literal):
            return graph.constant(np.asarray(atom.val, dtype_of(atom)))
        return names[atom]

    for equation in jaxpr.eqns:
        operation, given = equation.primitive.name, [name_of(atom) for atom in equation.invars]
        inner = [x for x in equation.params.values() if isinstance(x, ClosedJaxpr)]
        if operation in OPERATIONS:
            found = OPERATIONS[operation](graph, equation, *given)
        elif len(inner) == 1:  # a function that is called
            found = _translate(inner[0], given, graph)
        else:
            raise UserError(f"ONNX is not written of JAX's operation {operation}.")
        results = [found] if isinstance(found, str) else found
        names |= dict(zip(equation.outvars, results, strict=True))
    return [name_of(atom) for atom in jaxpr.outvars]
