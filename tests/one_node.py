"""Models of one node: compiled for `ideal` without the host, and run by onnxruntime, which says what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import crossbank
from tests.zoo import error

Array = NDArray[Any]
MICROSOFT = "com.microsoft"


def model(
    op_type: str,
    inputs: Mapping[str, Array | None],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    *,
    domain: str = MICROSOFT,
    opset: int = 21,
    static: Sequence[str] = (),
    dims: Mapping[str, Sequence[str | int]] | None = None,
) -> onnx.ModelProto:
    """A model of one node: `static` inputs are initializers, `dims` names dimensions of inputs, "" leaves one out."""
    node = helper.make_node(
        op_type, [name if array is not None else "" for name, array in inputs.items()], outputs, "node", domain=domain,
        **attributes,
    )  # fmt: skip
    fed = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), (dims or {}).get(name, array.shape)
        )
        for name, array in inputs.items()
        if array is not None and name not in static
    ]
    kept = [numpy_helper.from_array(inputs[name], name) for name in static]
    first = next(array for array in inputs.values() if array is not None and array.dtype.kind == "f")
    kind = helper.np_dtype_to_tensor_dtype(first.dtype)
    found = [helper.make_tensor_value_info(name, kind, None) for name in outputs if name]
    graph = helper.make_graph([node], "one", fed, found, kept)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(built: onnx.ModelProto, feeds: Mapping[str, Array], folder: Path, tolerance: float = 1e-5) -> dict[str, Any]:
    """The program's outputs are onnxruntime's and nothing runs on the host; gives the program's summary."""
    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {name: feeds[name] for name in (value.name for value in built.graph.input)}
    path = folder / "one.onnx"
    onnx.save(built, path)
    program = crossbank.compile(path, context=64, quiet=True)
    names = [value.name for value in built.graph.output]
    for name, expected, got in zip(
        names, reference.run(names, given), program.session().run(names, given), strict=True
    ):
        assert got.dtype == expected.dtype
        assert error(np.asarray(got), np.asarray(expected)) <= tolerance, name
    summary = program.summary()
    assert not summary["engines"]["host"]["nodes"]
    return summary
