"""Nodes of ai.onnx whose shapes don't fit their operator: refused at import, with what disagrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from crossbank.compiler.driver import make_context
from crossbank.compiler.frontend.convert import import_model
from crossbank.compiler.frontend.errors import FrontendError

F, N, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8
CASES: dict[str, tuple[str, list[Any], dict[str, Any], int, str]] = {
    "gather from a number": ("Gather", [(F, []), (N, [2])], {}, 1, "a number has no axis"),
    "gather behind the end": ("Gather", [(F, [4]), [5]], {}, 1, "index 5 into 4 elements"),
    "gather elements of another rank": ("GatherElements", [(F, [4, 4]), (N, [4])], {}, 1, "indices of 1 dimensions"),
    "gather too deep": ("GatherND", [(F, [4]), (N, [2, 2])], {}, 1, "2 indices behind 0 shared"),
    "scattered rows": ("ScatterND", [(F, [4, 5]), (N, [3, 1]), (F, [3, 6])], {}, 1, "input 2: 6 and 5 differ"),
    "scattered elements": ("ScatterElements", [(F, [4]), (N, [3]), (F, [2])], {}, 1, "input 2: 2 and 3 differ"),
    "triangle of a vector": ("Trilu", [(F, [4])], {}, 1, "matrices are wanted"),
    "first of fewer": ("TopK", [(F, [4]), [5]], {}, 2, "the first 5 of 4"),
    "parts that come to less": ("Split", [(F, [4]), [1, 2]], {}, 2, "3 and 4 differ"),
    "one end of a padding": ("Pad", [(F, [4]), [1]], {}, 1, "1 numbers for two ends of 1 axes"),
    "softmax of a number": ("Softmax", [(F, [])], {}, 1, "a number has no axis"),
    "bound that is a vector": ("Clip", [(F, [4]), (F, [4])], {}, 1, "input 1, a bound, is no number"),
    "values of one hot": ("OneHot", [(N, [4]), [3], (F, [3])], {}, 1, "3 and 2 differ"),
    "scales of another axis": ("DequantizeLinear", [(B, [4, 5]), (F, [4])], {}, 1, "4 and 5 differ"),
    "scales of blocks": (
        "DequantizeLinear", [(B, [8, 4]), (F, [3, 4])], {"axis": 0, "block_size": 4}, 1, "3 and 2 differ"
    ),
    "norm of another width": ("LayerNormalization", [(F, [2, 8]), (F, [7])], {}, 1, "7 and 8 differ"),
    "bias of a product": ("Gemm", [(F, [2, 3]), (F, [3, 4]), (F, [5])], {}, 1, "dimensions 5 and 4 don't broadcast"),
    "wide bias of a product": ("Gemm", [(F, [1, 3]), (F, [3, 4]), (F, [2, 4])], {}, 1, "an addend of 2 x 4"),
    "unequal types": ("Add", [(F, [4]), (N, [4])], {}, 1, "input 1 holds int64 and input 0 float32"),
}  # fmt: skip


@pytest.mark.parametrize(("op_type", "inputs", "attributes", "outputs", "text"), CASES.values(), ids=CASES)
def test_misfit(
    op_type: str, inputs: list[Any], attributes: dict[str, Any], outputs: int, text: str, tmp_path: Path
) -> None:
    """Inputs are type and shape, or a list of integers that the file holds."""
    names = [f"x{i}" for i in range(len(inputs))]
    pairs = list(zip(names, inputs, strict=True))
    ports = [helper.make_tensor_value_info(name, *given) for name, given in pairs if isinstance(given, tuple)]
    kept = [numpy_helper.from_array(np.array(given), name) for name, given in pairs if isinstance(given, list)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, "node", **attributes)
    graph = helper.make_graph([node], "one", ports, [onnx.ValueInfoProto(name=name) for name in results], kept)
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    with pytest.raises(FrontendError) as caught:
        import_model(path, make_context("ideal"))
    assert caught.value.code == "CB0113"
    assert text in str(caught.value)
    assert f"node ({op_type})" in str(caught.value)
