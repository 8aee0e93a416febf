"""ONNX's own answers for operators without a rule here: shape inference and the reference implementation, per node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

from crossbank.compiler.frontend.graph import ABSENT, Info, Node
from crossbank.compiler.frontend.reference import reference_values
from crossbank.compiler.frontend.step import Step
from crossbank.dialects.onnx import schema_of
from crossbank.runtime.expr import Expr
from crossbank.runtime.numerics import dtype_of


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX writes it."""
    proto = helper.make_node(node.op_type, node.inputs, node.outputs, node.name, domain=node.domain)
    for name, value in node.attributes.items():
        held: Any = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(held, list) and not held:
            continue
        proto.attribute.append(helper.make_attribute(name, held))
    return proto


def elem_type(dtype: str) -> int:
    """The ONNX element type number of a numpy dtype name."""
    return helper.np_dtype_to_tensor_dtype(dtype_of(dtype))


def infer_with_onnx(step: Step) -> list[Info]:
    """Types of the outputs by ONNX's shape inference; unknown dimensions become new ones."""
    node = step.node
    schema = schema_of(node.op_type, node.version)
    if schema is None:
        step.refuse(f"no schema for {node.key} at opset {node.version}")
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, TensorProto] = {}
    for name, info in zip(node.inputs, step.inputs, strict=True):
        if info is None:
            continue
        dims = [dim.constant if dim.is_constant else str(dim) for dim in info.shape]
        types[name] = helper.make_tensor_type_proto(elem_type(info.dtype), dims)
        if info.known and info.data is not None:
            data[name] = numpy_helper.from_array(np.asarray(info.data, order="C"), name)
    try:
        found = shape_inference.infer_node_outputs(schema, node_proto(node), types, data)
    except (shape_inference.InferenceError, checker.ValidationError, RuntimeError, ValueError) as error:
        step.refuse(str(error).strip().splitlines()[-1][:300])
    outs: list[Info] = []
    for name in node.outputs:
        tensor = found[name].tensor_type if name in found else None
        if name == ABSENT:
            outs.append(Info("float32", ()))
            continue
        if tensor is None or not tensor.elem_type or not tensor.HasField("shape"):
            step.refuse(f"the rank of result {name} can't be inferred")
        outs.append(Info(helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, _dims(step, tensor)))
    return outs


def _dims(step: Step, tensor: Any) -> tuple[Expr, ...]:
    dims: list[Expr] = []
    for dim in tensor.shape.dim:
        match dim.WhichOneof("value"):
            case "dim_value":
                dims.append(Expr.of(dim.dim_value))
            case "dim_param":
                dims.append(Expr.of(dim.dim_param))
            case _:
                dims.append(step.world.fresh(step.node))
    return tuple(dims)


def run_with_onnx(step: Step, arrays: list[NDArray[Any]]) -> list[NDArray[Any]] | None:
    """The outputs by ONNX's reference implementation; None for an operator that it lacks."""
    node = step.node
    if node.domain or schema_of(node.op_type, node.version) is None:
        return None
    inputs = {name: array for name, array in zip(node.inputs, arrays, strict=True) if name != ABSENT}
    graph = helper.make_graph(
        [node_proto(node)],
        "node",
        [helper.make_tensor_value_info(name, elem_type(a.dtype.name), a.shape) for name, a in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in node.outputs if name != ABSENT],
    )
    outs = reference_values(graph, [helper.make_opsetid("", node.version)], inputs)
    if outs is None:
        return None
    by_name = dict(zip((name for name in node.outputs if name != ABSENT), outs, strict=True))
    return [np.asarray(by_name[name]) if name in by_name else np.zeros(()) for name in node.outputs]
