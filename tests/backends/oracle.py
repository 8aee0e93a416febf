"""Single ONNX nodes, built in the onnx dialect and run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.shape import tensor
from crossbank.runtime.expr import Expr
from tests.backends.recorder import Recorder

Array = NDArray[Any]


def run_node(
    op_type: str, inputs: Sequence[Array | None], opset: int = 18, outputs: int = 1, domain: str = "", **attributes: Any
) -> list[Array]:
    """The results of a node in onnxruntime without optimisations."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = helper.make_node(op_type, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs, strict=True)
        if x is not None
    ]
    results = [helper.make_tensor_value_info(f"y{i}", TensorProto.UNDEFINED, None) for i in range(outputs)]
    for info in results:
        info.ClearField("type")
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(helper.make_graph([node], "g", infos, results), opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(x) for name, x in zip(names, inputs, strict=True) if x is not None})


def constant(values: Any, dtype: Any = np.int64) -> SSAValue:
    """The value of an onnx.Constant."""
    return onnx.constant(np.asarray(values, dtype), 18).results[0]


def node(
    op_type: str,
    inputs: Sequence[SSAValue | None],
    results: Sequence[Array],
    opset: int = 18,
    domain: str = "",
    shapes: Sequence[Sequence[int | str | Expr]] | None = None,
    **attributes: Any,
) -> Operation:
    """A node whose results have the types of arrays."""
    shapes = shapes or [y.shape for y in results]
    types = [tensor(y.dtype.name, shape) for y, shape in zip(results, shapes, strict=True)]
    return onnx.build(op_type, inputs, types, attributes, opset, domain)


def check(
    op_type: str,
    inputs: Sequence[Array | None],
    known: Sequence[int] = (),
    opset: int = 18,
    outputs: int = 1,
    domain: str = "",
    engine: str = "simd",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    layout: str = "contiguous",
    **attributes: Any,
) -> list[str]:
    """Compare a node with onnxruntime; inputs at positions `known` are constants. Gives the mnemonics emitted."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    expected = run_node(op_type, inputs, opset, outputs, domain, **attributes)
    to = Recorder()
    place = to.argument if layout == "contiguous" else to.strided
    values = [
        None if x is None else onnx.constant(x, opset).results[0] if i in known else place(x)
        for i, x in enumerate(inputs)
    ]
    op = node(op_type, values, expected, opset, domain, **attributes)
    for found, y in zip(to.lower(op, engine), expected, strict=True):
        assert found.dtype == y.dtype and found.shape == y.shape
        if y.dtype.kind == "f":
            np.testing.assert_allclose(found, y, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(found, y)
    return to.mnemonics
