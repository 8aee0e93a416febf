"""Small values that a file says without being run: tensors, dimensions that it states, and what follows from these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from crossbank.compiler.frontend.reference import reference_values

MAX_COMPUTED = 64
"""Nodes that one value may take to compute."""
MAX_ELEMENTS = 64
"""Elements of each tensor on the way."""
MAX_VALUES = 2000
"""Values that are computed for one model."""
FOLLOWED = frozenset(
    {
        "Constant", "Identity", "Cast", "CastLike", "Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Ceil", "Floor",
        "Min", "Max", "Relu", "Not", "And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
        "Where", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Gather", "Slice", "Concat", "ReduceProd", "ReduceSum",
        "ReduceMax", "ReduceMin",
    }
)  # fmt: skip
SHAPES = ("Shape", "Size")


class KnownValues:
    """Looks values up in a model whose nodes and tensors the caller keeps in `producer` and `constants`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.producer: dict[str, onnx.NodeProto] = {}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.refresh()
        self._shapes: Mapping[str, Sequence[int | None]] | None = None
        self._left = MAX_VALUES

    def refresh(self) -> None:
        """Take nodes and tensors from the graph again."""
        self.producer = {name: node for node in self.model.graph.node for name in node.output if name}
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def value(self, name: str) -> NDArray[Any] | None:
        """What a name holds, where that follows from the file; None for what only running it would say."""
        nodes: list[onnx.NodeProto] = []
        tensors: dict[str, onnx.TensorProto] = {}
        done: set[str] = set()
        pending = [(name, False)]
        while pending:
            found, ready = pending.pop()
            node = self.producer.get(found)
            if ready and node is not None:
                if not any(node is other for other in nodes):
                    nodes.append(node)
                continue
            if not found or found in done:
                continue
            done.add(found)
            leaf = self.leaf(found, node)
            if leaf is not None:
                tensors[found] = leaf
                continue
            if node is None or node.op_type not in FOLLOWED or node.domain not in ("", "ai.onnx"):
                return None
            if len(done) > MAX_COMPUTED or any(_size(a) > MAX_ELEMENTS for a in node.attribute):
                return None
            pending.append((found, True))
            pending += [(source, False) for source in node.input]
        if name in tensors:
            return np.asarray(numpy_helper.to_array(tensors[name]))
        return self.computed(name, nodes, tensors)

    def leaf(self, name: str, node: onnx.NodeProto | None) -> onnx.TensorProto | None:
        """A small tensor of the file, or dimensions that it states."""
        tensor = self.constants.get(name)
        if tensor is not None:
            outside = tensor.data_location == onnx.TensorProto.EXTERNAL
            return None if outside or math.prod(tensor.dims) > MAX_ELEMENTS else tensor
        if node is None or node.op_type not in SHAPES or not node.input:
            return None
        dims = self.shape(node.input[0])
        if dims is None or len(dims) > MAX_ELEMENTS:
            return None
        if node.op_type == "Size":
            known = [dim for dim in dims if dim is not None]
            return numpy_helper.from_array(np.array(math.prod(known)), name) if len(known) == len(dims) else None
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        wanted = [dim for dim in dims[slice(bounds.get("start"), bounds.get("end"))] if dim is not None]
        whole = len(wanted) == len(dims[slice(bounds.get("start"), bounds.get("end"))])
        return numpy_helper.from_array(np.array(wanted, np.int64), name) if whole else None

    def computed(
        self, name: str, nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, onnx.TensorProto]
    ) -> NDArray[Any] | None:
        """By ONNX's reference implementation."""
        self._left -= 1
        if self._left < 0:
            return None
        graph = helper.make_graph(nodes, "value", [], [onnx.ValueInfoProto(name=name)], list(tensors.values()))
        outs = reference_values(graph, self.model.opset_import, {})
        return None if outs is None else np.asarray(outs[0])

    def shape(self, name: str) -> Sequence[int | None] | None:
        """The dimensions of a value, None for those that aren't stated; None where not even their number is."""
        if self._shapes is None:
            self._shapes = dict(self._stated())
        return self._shapes.get(name)

    def length(self, name: str, axis: int) -> int | None:
        """The size of a dimension that the file states, or that follows from what it states."""
        shape = self.shape(name)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def _stated(self) -> Iterator[tuple[str, Sequence[int | None]]]:
        from onnx import shape_inference

        graph = self.model.graph
        with suppress(shape_inference.InferenceError, RuntimeError, ValueError):
            graph = shape_inference.infer_shapes(self.model).graph
        for port in (*graph.value_info, *graph.input):
            if port.type.tensor_type.HasField("shape"):
                dims = port.type.tensor_type.shape.dim
                yield port.name, [d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in dims]
        for tensor in graph.initializer:
            yield tensor.name, list(tensor.dims)


def _size(attribute: onnx.AttributeProto) -> int:
    return max(math.prod(attribute.t.dims), len(attribute.ints), len(attribute.floats))
