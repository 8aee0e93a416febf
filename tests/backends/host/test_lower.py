"""Nodes on the host: onnxruntime inside the program against onnxruntime outside."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from crossbank.backends.host.isa import ISA
from crossbank.backends.host.lower import BACKEND
from crossbank.backends.system import EngineSpec
from crossbank.runtime.program import ProgramError
from tests.backends.oracle import check, constant, node
from tests.backends.recorder import Recorder


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_nodes(layout: str) -> None:
    assert check("Add", [_normal(2, 3), _normal(3)], engine="host", layout=layout) == ["run1"]
    check("Conv", [_normal(1, 2, 8), _normal(3, 2, 3)], engine="host", layout=layout, pads=[1, 1])
    check("Resize", [_normal(1, 2), None, np.asarray([1, 2], np.float32)], known=[2], engine="host", layout=layout)
    check("Einsum", [_normal(2, 3), _normal(3, 4)], engine="host", layout=layout, equation="ij,jk->ki")


def test_known_operands_travel_in_the_model() -> None:
    check("Reshape", [_normal(2, 3), np.asarray([3, 2])], known=[1], engine="host")
    check("TopK", [_normal(2, 9), np.asarray([3])], known=[1], outputs=2, engine="host")
    check("ConstantOfShape", [np.asarray([2])], known=[0], engine="host")


def test_many_operands_are_fed_before() -> None:
    inputs = [_normal(2, i + 1) for i in range(16)]
    assert check("Concat", inputs, engine="host", axis=1) == ["feed", "feed", "run1"]


def test_results_and_optional_operands() -> None:
    x, weight = _normal(2, 3, 16), _normal(16)
    check("LayerNormalization", [x, weight], engine="host", outputs=3)
    query, keys = _normal(2, 4, 3, 8), _normal(2, 2, 5, 8)
    check("Attention", [query, keys, keys], opset=23, engine="host")


def test_symbolic_dimensions() -> None:
    to = Recorder(batch=2, seq=3)
    x = _normal(2, 3)
    op = node("Neg", [to.argument(x, ["batch", "seq"])], [x], shapes=[["batch", "seq"]])
    np.testing.assert_array_equal(to.lower(op, "host")[0], -x)


def test_what_it_refuses() -> None:
    to = Recorder()
    engine = EngineSpec("host", "host", {})
    counted = node("NonZero", [to.argument(_normal(3))], [np.zeros((1, 3), np.int64)])
    assert "depends on data" in BACKEND.accepts(counted, engine).reason
    split = node("Split", [to.argument(_normal(10)), constant([2] * 5)], [_normal(2)] * 5)
    assert "5 results" in BACKEND.accepts(split, engine).reason


def test_a_shape_that_depends_on_data_is_an_error() -> None:
    to = Recorder()
    op = node("Expand", [to.argument(_normal(1, 3)), to.argument(np.asarray([4, 3]))], [_normal(2, 3)])
    with pytest.raises(ProgramError) as error:
        to.lower(op, "host")
    assert error.value.code == "CB0576"


def test_a_damaged_model_is_an_error() -> None:
    unit = ISA.make_unit({}, None)
    operands = SimpleNamespace(
        model=np.zeros((1, 9), np.uint8), out0=np.zeros((1, 2)), **dict.fromkeys(f"in{i}" for i in range(6))
    )
    with pytest.raises(ProgramError, match="can't run") as error:
        ISA.instructions["run1"].execute(unit, operands)
    assert error.value.code == "CB0571"
