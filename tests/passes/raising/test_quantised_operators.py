"""onnxruntime's operators on quantised numbers, against onnxruntime: equal up to one step of the result's scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import crossbank
from tests.one_node import model

Array = NDArray[Any]
ONE_SCALE = {"a_scale": np.float32(0.02), "a_zero": np.uint8(120), "b_scale": np.float32(0.03), "b_zero": np.uint8(130)}
RESULT = {"y_scale": np.float32(0.05), "y_zero": np.uint8(128)}


def codes(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng([seed, *shape]).integers(0, 100, shape).astype(dtype)


def check(
    op_type: str, inputs: dict[str, Array | None], static: tuple[str, ...], folder: Path, domain: str = "com.microsoft",
    steps: int = 1, **attributes: Any,
) -> dict[str, Any]:  # fmt: skip
    arrays = {name: None if array is None else np.asarray(array) for name, array in inputs.items()}
    kept = [name for name, array in arrays.items() if array is not None and (name in static or array.ndim == 0)]
    built = model(op_type, arrays, ["y"], attributes, domain=domain, static=kept)
    if "y_scale" in inputs:
        built.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    reference = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {value.name: arrays[value.name] for value in reference.get_inputs()}
    (expected,) = reference.run(None, feeds)
    path = folder / "one.onnx"
    path.write_bytes(built.SerializeToString())
    program = crossbank.compile(path, quiet=True, host=False)
    (found,) = program.session().run(None, feeds)
    assert found.dtype == expected.dtype
    if expected.dtype.kind == "f":
        off = np.abs(found - expected) > 2e-5 * np.abs(expected).max()
        assert off.mean() <= 0.05, "but for inputs that lie halfway between two codes"
    else:
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= steps
        assert np.mean(found == expected) > 0.9
    return program.summary()


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_binary(op_type: str, tmp_path: Path) -> None:
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
    values = {"a": codes(3, 4, 5), "b": codes(4, 1, seed=1), **ONE_SCALE, **RESULT}
    check(op_type, {name: values[name] for name in names}, (), tmp_path)


@pytest.mark.parametrize(
    ("op_type", "attributes"), [("QLinearSigmoid", {}), ("QLinearSoftmax", {"axis": -1, "opset": 13})]
)
def test_unary(op_type: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    inputs = {
        "a": codes(3, 8), "a_scale": np.float32(0.05), "a_zero": np.uint8(50), "y_scale": np.float32(1 / 256),
        "y_zero": np.uint8(0),
    }  # fmt: skip
    check(op_type, inputs, (), tmp_path, **attributes)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_softmax_of_scores_without_a_scale(kind: Any, tmp_path: Path) -> None:
    """What onnxruntime's quantiser makes of masks of the least float32."""
    inputs = {
        "a": codes(3, 8, dtype=kind), "a_scale": np.float32(np.inf), "a_zero": kind(0), "y_scale": np.float32(1 / 256),
        "y_zero": kind(np.iinfo(kind).min),
    }  # fmt: skip
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    kept = [name for name in arrays if name != "a"]
    built = model("QLinearSoftmax", arrays, ["y"], {"axis": -1, "opset": 13}, static=kept)
    built.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    (tmp_path / "one.onnx").write_bytes(built.SerializeToString())
    reference = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    session = crossbank.compile(tmp_path / "one.onnx", quiet=True, host=False).session()
    with np.errstate(invalid="ignore"):
        (found,) = session.run(None, {"a": arrays["a"]})
    assert np.array_equal(found, reference.run(None, {"a": arrays["a"]})[0])


def test_concat(tmp_path: Path) -> None:
    inputs = {
        **RESULT, "a": codes(2, 3), "a_scale": np.float32(0.02), "a_zero": np.uint8(120), "b": codes(2, 5),
        "b_scale": np.float32(0.03), "b_zero": np.uint8(130),
    }  # fmt: skip
    check("QLinearConcat", inputs, (), tmp_path, axis=1)


@pytest.mark.parametrize("static", [True, False])
def test_matmul(static: bool, tmp_path: Path) -> None:
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
    shapes = ((2, 3, 16), (16, 8)) if static else ((2, 3, 16), (2, 16, 8))
    values = {"a": codes(*shapes[0]), "b": codes(*shapes[1], seed=1), **ONE_SCALE, **RESULT, "y_scale": np.float32(0.3)}
    summary = check(
        "QLinearMatMul", {name: values[name] for name in names}, ("b",) if static else (), tmp_path, domain=""
    )
    assert summary["recognised"]["linear"] == static


@pytest.mark.parametrize("result", [True, False])
@pytest.mark.parametrize("turned", [0, 1])
def test_gemm(result: bool, turned: int, tmp_path: Path) -> None:
    inputs: dict[str, Any] = {
        "a": codes(5, 16), "a_scale": np.float32(0.02), "a_zero": np.uint8(120),
        "b": codes(*((8, 16) if turned else (16, 8)), seed=1), "b_scale": np.float32(0.03), "b_zero": np.uint8(130),
        "c": codes(8, seed=2, dtype=np.int32) * 40, **(RESULT | {"y_scale": np.float32(0.3)} if result else {}),
    }  # fmt: skip
    summary = check("QGemm", inputs, ("b", "c"), tmp_path, transB=turned, alpha=1.0)
    assert summary["recognised"]["linear"] == 1


def test_gemm_of_signed_weights(tmp_path: Path) -> None:
    inputs: dict[str, Any] = {
        "a": codes(5, 16), "a_scale": np.float32(0.02), "a_zero": np.uint8(120),
        "b": codes(16, 8, seed=1, dtype=np.int8) // 2, "b_scale": np.float32(0.03), "b_zero": np.int8(-3),
        "c": codes(8, seed=2, dtype=np.int32) * 40, **RESULT, "y_scale": np.float32(0.3),
    }  # fmt: skip
    check("QGemm", inputs, ("b", "c"), tmp_path)


@pytest.mark.parametrize("bias", [True, False])
def test_dynamic(bias: bool, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 16)).astype(np.float32)
    inputs: dict[str, Any] = {
        "a": x, "b": codes(16, 8, dtype=np.int8), "b_scale": np.float32(0.03), "b_zero": np.int8(3),
        **({"bias": np.linspace(-1, 1, 8, dtype=np.float32)} if bias else {}),
    }  # fmt: skip
    summary = check("DynamicQuantizeMatMul", inputs, ("b", "bias"), tmp_path)
    assert summary["recognised"]["linear"] == 1
