"""Element-wise nodes on the vector unit against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.oracle import check

FLOATS = (np.float32, np.float64)


def _normal(shape: tuple[int, ...], dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _integers(shape: tuple[int, ...], dtype: type = np.int64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-50, 50, shape).astype(dtype)


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize(
    "op_type",
    [
        *("Neg", "Abs", "Reciprocal", "Exp", "Sin", "Cos", "Tan", "Tanh", "Sigmoid", "Erf", "Floor", "Ceil", "Round"),
        *("Sign", "Relu", "Softplus", "Softsign", "Atan", "Sinh", "Cosh", "Asinh", "IsNaN", "IsInf"),
    ],
)
def test_unary(op_type: str, layout: str) -> None:
    x = _normal((2, 3, 5)) * 3
    if op_type in ("IsNaN", "IsInf"):
        x[0, 0] = [np.nan, np.inf, -np.inf, 0, 1]
    check(op_type, [x], layout=layout)


@pytest.mark.parametrize("op_type", ["Sqrt", "Log", "Acosh"])
def test_unary_of_positive(op_type: str) -> None:
    check(op_type, [np.abs(_normal((4, 5))) + 1])


@pytest.mark.parametrize("op_type", ["Asin", "Acos", "Atanh"])
def test_unary_within_one(op_type: str) -> None:
    check(op_type, [np.tanh(_normal((4, 5)))])


@pytest.mark.parametrize("op_type", ["Neg", "Abs", "Sign"])
def test_unary_of_integers(op_type: str) -> None:
    check(op_type, [_integers((4, 5))])


def test_not() -> None:
    check("Not", [_integers((4, 5)) > 0])


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.int64])
def test_arithmetic(op_type: str, dtype: type) -> None:
    a, b = _integers((3, 1, 5), dtype, 1), _integers((4, 1), dtype, 2)
    b[b == 0] = 7
    check(op_type, [a, b], rtol=1e-3 if dtype is np.float16 else 1e-6)


@pytest.mark.parametrize("op_type", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_comparisons(op_type: str, dtype: type) -> None:
    a, b = _integers((3, 1, 5), dtype, 1) // 20, _integers((4, 1), dtype, 2) // 20
    check(op_type, [a, b])


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(op_type: str) -> None:
    check(op_type, [_integers((3, 5)) > 0, _integers((5,), seed=1) > 0])


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_mod(fmod: int, dtype: type) -> None:
    a, b = _integers((4, 5), dtype), _integers((4, 5), dtype, 3)
    b[b == 0] = 7
    check("Mod", [a, b], fmod=fmod)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.5])
def test_power(exponent: float) -> None:
    check("Pow", [np.abs(_normal((3, 4))), np.asarray(exponent, np.float32)])


def test_power_of_integers() -> None:
    check("Pow", [_integers((3, 4)) // 10, np.asarray(2, np.int64)])


@pytest.mark.parametrize("op_type", ["Min", "Max", "Sum", "Mean"])
def test_variadic(op_type: str) -> None:
    check(op_type, [_normal((3, 4), seed=1), _normal((4,), seed=2), _normal((3, 1), seed=3)])


@pytest.mark.parametrize("before", [np.float32, np.float16, np.int64, np.int32, np.bool_, np.uint8])
@pytest.mark.parametrize("after", [np.float32, np.float16, np.int64, np.int32, np.bool_])
def test_cast(before: type, after: type) -> None:
    from onnx import helper

    x = (np.abs(_normal((3, 4))) * 9).astype(before)
    mnemonics = check("Cast", [x], to=int(helper.np_dtype_to_tensor_dtype(np.dtype(after))))
    assert mnemonics == ([] if before is after else ["cast"])


def test_where() -> None:
    check("Where", [_integers((4, 1)) > 0, _normal((2, 4, 3)), np.asarray(-1.0, np.float32)])


@pytest.mark.parametrize("bounds", [(-0.5, 0.5), (None, 0.5), (-0.5, None)])
def test_clip(bounds: tuple[float | None, float | None]) -> None:
    check("Clip", [_normal((3, 4)), *(None if b is None else np.asarray(b, np.float32) for b in bounds)])


@pytest.mark.parametrize(
    "op_type", ["LeakyRelu", "Elu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Celu", "ThresholdedRelu"]
)
def test_activations(op_type: str) -> None:
    check(op_type, [_normal((3, 4)) * 3])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("shape", [(3, 4), (70, 1000)])
def test_gelu(approximate: str, shape: tuple[int, ...]) -> None:
    check("Gelu", [_normal(shape) * 3], opset=20, approximate=approximate)


def test_contrib_activations() -> None:
    x, bias = _normal((3, 4)) * 3, _normal((4,))
    check("QuickGelu", [x], domain="com.microsoft", alpha=1.702)
    check("FastGelu", [x, bias], domain="com.microsoft")
    check("BiasGelu", [x, bias], domain="com.microsoft")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantize_and_back(dtype: type) -> None:
    x = _normal((6, 4)) * 4
    scale, zero = np.asarray([0.03, 0.05, 0.1, 0.2], np.float32), np.asarray([3, 0, 1, 2], dtype)
    check("QuantizeLinear", [x, scale, zero], axis=1)
    nothing = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    check("QuantizeLinear", [nothing, scale[0].reshape(()), zero[0].reshape(())])
    check("DequantizeLinear", [_integers((6, 4), dtype), scale, zero], axis=1)
    check("DequantizeLinear", [_integers((6, 4), dtype), scale[0].reshape(()), zero[0].reshape(())])


def test_dequantize_blocks() -> None:
    scale, zero = np.abs(_normal((2, 4))), _integers((2, 4), np.int8) // 10
    check("DequantizeLinear", [_integers((64, 4), np.int8), scale, zero], opset=21, axis=0, block_size=32)


def test_dynamic_quantization() -> None:
    check("DynamicQuantizeLinear", [_normal((5, 6))], outputs=3)
    a, b = _integers((3, 8), np.uint8), _integers((8, 5), np.uint8, 1)
    check("MatMulInteger", [a, b, np.asarray(7, np.uint8), np.asarray(100, np.uint8)])


@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(0, 4),
)
@settings(max_examples=30, deadline=None)
def test_broadcast_of_any_shape(shape: list[int], ones: list[bool], drop: int) -> None:
    other = [1 if one else dim for dim, one in zip(shape, ones, strict=False)][min(drop, len(shape)) :]
    check("Add", [_normal(tuple(shape)), _normal(tuple(other), seed=1)])
