"""Operators without a rule of their own run as the functions that ONNX defines them by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import crossbank
from tests.one_node import check, model
from tests.zoo import error


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize(
    ("op_type", "x", "attributes"),
    [
        ("MeanVarianceNormalization", normal(2, 3, 4, 5), {}),
        ("MeanVarianceNormalization", normal(2, 3, 4), {"axes": [1, 2]}),
        ("Shrink", normal(4, 5), {"lambd": 0.4, "bias": 0.1}),
    ],
)
def test_against_onnxruntime(op_type: str, x: NDArray[Any], attributes: dict[str, Any], tmp_path: Path) -> None:
    built = model(op_type, {"x": x}, ["y"], attributes, domain="")
    assert check(built, {"x": x}, tmp_path)["host"] == []


def test_swiglu(tmp_path: Path) -> None:
    """An operator that onnxruntime does not have yet: against ONNX's own reference."""
    schema = onnx.defs.get_schema("SwiGLU")
    names = [formal.name for formal in schema.inputs]
    feeds = {name: normal(3, 8) + i for i, name in enumerate(names)}
    node = helper.make_node("SwiGLU", names, ["y"], "gate")
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", schema.since_version)], ir_version=13)
    path = tmp_path / "one.onnx"
    onnx.save(built, path)
    (expected,) = ReferenceEvaluator(built).run(None, feeds)
    (found,) = crossbank.compile(path, host=False, quiet=True).session().run(None, feeds)
    assert error(found, expected) < 1e-5
