"""Matrix-vector products that the compiler schedules for `aim` itself: cycles of the emitted commands, refresh off."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import crossbank
from crossbank.runtime.compiled import Program
from crossbank.runtime.coster import Coster

REFERENCE_CYCLES: Mapping[tuple[int, int], int] = {(4096, 4096): 8124, (11008, 4096): 21060}
"""(out_features, in_features) in the public simulator, CENT's schedule reuse-GB on 32 channels."""


def gemv_model(out_features: int, in_features: int) -> onnx.ModelProto:
    """y [batch, sequence, N] = x [batch, sequence, K] @ W, a weight whose data is not there."""
    weight = TensorProto(name="w", dims=[in_features, out_features], data_type=TensorProto.FLOAT)
    weight.data_location = TensorProto.EXTERNAL
    size = math.prod(weight.dims) * 4
    for key, value in (("location", "weights.data"), ("offset", 0), ("length", size)):
        weight.external_data.add(key=key, value=str(value))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", width])
        for name, width in (("x", in_features), ("y", out_features))
    )
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="gemv")], "gemv", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def system_without_refresh() -> str:
    """The system file of `aim` with tRFC 0."""
    text = (resources.files("crossbank.backends") / "targets" / "aim.toml").read_text(encoding="utf-8")
    return re.sub(r"(trfc_cycles = \{ value = )\d+", r"\g<1>0", text)


def gemv_program(out_features: int, in_features: int) -> Program:
    """The product compiled for `aim` without refresh."""
    with tempfile.TemporaryDirectory() as folder:
        model, system = Path(folder) / "gemv.onnx", Path(folder) / "aim.toml"
        onnx.save(gemv_model(out_features, in_features), model)
        system.write_text(system_without_refresh(), encoding="utf-8")
        return crossbank.compile(model, system, context=16, max_batch=1, weights="shape-only", quiet=True)


def gemv_cycles(out_features: int, in_features: int) -> int:
    """Cycles from the first command for one vector to the last result."""
    code = gemv_program(out_features, in_features).code
    one = {name: np.ones(1, np.int64) for name in code.dimensions}
    cycle_ps = int(code.engines["pim"].config["timing"]["tck_ps"])
    return -(-int(Coster(code).cost("main", one).time_ps[0]) // cycle_ps)
