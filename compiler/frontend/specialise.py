"""A model made for given values of some inputs: those that decide what the shapes of other tensors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

DECIDING: Mapping[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "TopK": (1,),
    "Slice": (1, 2, 3, 4), "Pad": (1, 3), "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "OneHot": (1,),
    "CumSum": (1,), "CumProd": (1,), "Trilu": (1,), "Dropout": (1, 2), "Resize": (1, 2, 3), "Upsample": (1,),
    "CenterCropPad": (1,), "DFT": (1, 2), "MaxUnpool": (2,), "If": (0,), "Loop": (0, 1),
    **{f"Reduce{name}": (1,) for name in (
        "Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare",
    )},
}  # fmt: skip
"""By operator, the inputs whose values, not only their shapes, decide what is computed where."""
_SHAPE_ONLY = frozenset({"Shape", "Size"})


def deciding_inputs(model: onnx.ModelProto) -> list[str]:
    """The graph inputs that reach a shape, a count or an axis: with their values known, every shape is."""
    producer = {name: node for node in model.graph.node for name in node.output if name}
    pending = [
        node.input[i]
        for node in model.graph.node
        if node.domain in ("", "ai.onnx")
        for i in DECIDING.get(node.op_type, ())
        if i < len(node.input)
    ]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name in reached:
            continue
        reached.add(name)
        node = producer.get(name)
        if node is not None and node.op_type not in _SHAPE_ONLY:
            pending += node.input
    constant = {tensor.name for tensor in model.graph.initializer}
    return [port.name for port in model.graph.input if port.name in reached - constant]


def shapeless_inputs(model: onnx.ModelProto) -> list[str]:
    """The graph inputs whose rank or element type the file leaves open."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [
        port.name
        for port in model.graph.input
        if port.name not in constant
        and port.type.HasField("tensor_type")
        and not (port.type.tensor_type.HasField("shape") and port.type.tensor_type.elem_type)
    ]


def specialised(
    model: onnx.ModelProto, values: Mapping[str, NDArray[Any]], shaped: Mapping[str, NDArray[Any]]
) -> onnx.ModelProto:
    """A copy whose inputs in `values` are initializers, and those in `shaped` have these arrays' types and shapes."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = [port for port in made.graph.input if port.name not in values]
    for port in kept:
        if port.name in shaped:
            _declare(port, shaped[port.name])
    _replace(made.graph.input, kept)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(v, order="C"), n) for n, v in values.items())
    return made


def _declare(port: onnx.ValueInfoProto, array: NDArray[Any]) -> None:
    port.type.CopyFrom(helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))


def _replace(field: Any, items: Iterable[Any]) -> None:
    kept = list(items)
    del field[:]
    field.extend(kept)
