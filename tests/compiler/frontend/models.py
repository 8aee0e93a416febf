"""Small models for the frontend's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from xdsl.dialects.builtin import ModuleOp

from crossbank.compiler.frontend.convert import import_model
from crossbank.passes.context import CompileContext

Dims = Sequence[int | str | None]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Dims]],
    outputs: Sequence[str],
    tensors: Mapping[str, NDArray[Any]] | None = None,
    opset: int = 18,
) -> onnx.ModelProto:
    """A model of these nodes; inputs give element type and dimensions."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (tensors or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """A node named after its first output."""
    return helper.make_node(op_type, inputs, outputs, name=f"n_{outputs[0]}", **attributes)


def imported(proto: onnx.ModelProto, folder: Path) -> tuple[ModuleOp, CompileContext]:
    """The model's module, and the context with its tensors and notes."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    ctx = CompileContext()
    module = import_model(path, ctx)
    module.verify()
    return module, ctx
