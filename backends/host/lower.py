"""The host as a family: it takes any ONNX node that onnxruntime runs, as a model of one node inside the program."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.ir import Operation, SSAValue

from crossbank.backends.host.isa import ISA, MOST_RESULTS, TENSORS
from crossbank.backends.interface import Lowering
from crossbank.backends.simd.writer import known_array
from crossbank.backends.system import EngineSpec
from crossbank.dialects import onnx as dialect
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.location import node_name
from crossbank.dialects.mapping import Legality
from crossbank.dialects.shape import dtype_of, is_tensor, shape_of
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.numerics import dtype_of as numpy_dtype

TYPES = frozenset(
    ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)
"""Elements that onnxruntime takes as numpy arrays."""
DATA_DEPENDENT = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
PREFERENCE = 0


def _inputs(op: Operation) -> list[tuple[int, SSAValue]]:
    """The operands that are fed: those that are there and no constants, by ONNX position."""
    values = dialect.inputs(op)
    return [(i, v) for i, v in enumerate(values) if v is not None and known_array(v) is None]


def _results(op: Operation) -> list[tuple[int, SSAValue]]:
    return [(i, v) for i, v in enumerate(dialect.outputs(op)) if v is not None]


def model_of(op: Operation) -> bytes:
    """A model of one node: its operands and results are i0 … and o0 … in order, its constants initializers."""
    from onnx import helper, numpy_helper

    from_array: Any = numpy_helper.from_array
    inputs, results = _inputs(op), _results(op)
    names: dict[int, str] = {position: f"i{i}" for i, (position, _) in enumerate(inputs)}
    initializers: list[Any] = []
    for i, value in enumerate(dialect.inputs(op)):
        array: Any = known_array(value)
        if array is not None:
            names[i] = f"c{i}"
            initializers.append(from_array(array, f"c{i}"))
    outputs = {position: f"o{i}" for i, (position, _) in enumerate(results)}
    domain, _, name = dialect.op_type(op).rpartition(":")
    node = helper.make_node(
        name,
        [names.get(i, "") for i in range(max(names, default=-1) + 1)],
        [outputs.get(i, "") for i in range(max(outputs) + 1)],
        domain=domain,
    )
    for key, value in dialect.attributes(op).items():
        if isinstance(value, np.ndarray):
            node.attribute.append(helper.make_attribute(key, from_array(value)))
        elif not isinstance(value, list) or value:
            node.attribute.append(helper.make_attribute(key, value))
    opsets = [helper.make_opsetid(domain, dialect.version_of(op))]
    graph = helper.make_graph(
        [node],
        name,
        [_info(f"i{i}", value) for i, (_, value) in enumerate(inputs)],
        [_info(f"o{i}", value) for i, (_, value) in enumerate(results)],
        initializers,
    )
    version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
    return helper.make_model(graph, opset_imports=opsets, ir_version=max(version, 8)).SerializeToString()


def _info(name: str, value: SSAValue) -> Any:
    from onnx import helper

    dims = [dim.constant if dim.is_constant else None for dim in shape_of(value)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype_of(value))), dims)


def _refusal(op: Operation) -> str | None:
    if not dialect.is_onnx(op):
        return f"onnxruntime does not know {op.name}"
    if dialect.op_type(op) in DATA_DEPENDENT:
        return "the shape of its result depends on data"
    for value in (*op.operands, *op.results):
        if not is_tensor(value) or dtype_of(value) not in TYPES:
            return f"onnxruntime does not exchange {value.type}"
    results = len(_results(op))
    if not 1 <= results <= MOST_RESULTS:
        return f"it has {results} results, an instruction {MOST_RESULTS} at most"
    return None


class HostBackend:
    """The family `host`."""

    kind = "host"
    isa: InstructionSet = ISA

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Any ONNX node with few enough results, after every other engine."""
        reason = _refusal(op)
        if reason is not None:
            known = op.name.startswith("onnx.")
            remedy = "replace the node in the model" if known else "add a simd engine to the system"
            return Legality(False, reason=reason, remedy=remedy)
        return Legality(True, PREFERENCE, f"no other engine has instructions for {dialect.op_type(op)}")

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Write the one instruction of an ONNX node."""
        model = np.frombuffer(model_of(op), np.uint8)
        results = _results(op)
        operands: dict[str, ViewAttr] = {"model": to.constant(f"{node_name(op) or op.name}.onnx", [model])}
        inputs = [to.view(value) for _, value in _inputs(op)]
        while len(inputs) > TENSORS - len(results):
            to.emit(engine.name, "feed", **{f"in{i}": view for i, view in enumerate(inputs[:TENSORS])})
            inputs = inputs[TENSORS:]
        operands |= {f"in{i}": view for i, view in enumerate(inputs)}
        operands |= {f"out{i}": to.result(value) for i, (_, value) in enumerate(results)}
        to.emit(engine.name, f"run{len(results)}", **operands)


BACKEND = HostBackend()
