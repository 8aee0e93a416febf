"""Reductions, softmax, norms, products, sorting and rotary on the vector unit against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.oracle import check


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


REDUCTIONS = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
]


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_reductions(op_type: str, layout: str) -> None:
    x = _normal(2, 3, 4)
    check(op_type, [x, _ints(0, -1)], known=[1], layout=layout, keepdims=0)
    check(op_type, [x, _ints(1)], known=[1], layout=layout)
    check(op_type, [x], layout=layout, keepdims=0)


def test_reductions_of_other_forms() -> None:
    check("ReduceMean", [_normal(2, 3)], opset=17, axes=[-1])
    check("ReduceSum", [_normal(2, 3), np.zeros(0, np.int64)], known=[1], noop_with_empty_axes=1)
    check("ReduceSum", [np.arange(12).reshape(3, 4), _ints(1)], known=[1])
    check("ReduceMax", [np.arange(12, dtype=np.int32).reshape(3, 4), _ints(0)], known=[1])
    check("ReduceSum", [_normal(3, 0), _ints(1)], known=[1])
    check("ReduceLogSum", [np.abs(_normal(2, 3)), _ints(1)], known=[1])


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_arg(op_type: str, last: int) -> None:
    x = np.round(_normal(3, 9, 4))
    check(op_type, [x], axis=1, select_last_index=last)
    check(op_type, [x], axis=-1, keepdims=0, select_last_index=last)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax(op_type: str) -> None:
    x = _normal(2, 3, 5) * 5
    check(op_type, [x])
    check(op_type, [x], axis=1, layout="strided")
    check(op_type, [x], opset=11, axis=1)
    check(op_type, [_normal(2, 0)])


def test_layer_norm() -> None:
    x, weight, bias = _normal(2, 3, 16), _normal(16, seed=1), _normal(16, seed=2)
    check("LayerNormalization", [x, weight, bias], epsilon=1e-3)
    check("LayerNormalization", [x, weight], axis=-1, layout="strided")
    check("LayerNormalization", [x, _normal(3, 16), _normal(3, 16)], axis=1, outputs=3)
    check("LayerNormalization", [x.astype(np.float64), weight.astype(np.float64)])


def test_layer_norm_of_large_means_and_of_constants() -> None:
    x = _normal(4, 768) + 100
    check("LayerNormalization", [x, _normal(768, seed=1), _normal(768, seed=2)], rtol=1e-3, atol=1e-4)
    check("LayerNormalization", [np.full((2, 8), 3, np.float32), np.ones(8, np.float32)])


def test_root_mean_square_norms() -> None:
    x, weight = _normal(2, 3, 16), _normal(16, seed=1)
    check("RMSNormalization", [x, weight], opset=23, epsilon=1e-3)
    check("SimplifiedLayerNormalization", [x, weight], epsilon=1e-3)
    skip = _normal(2, 3, 16, seed=2)
    check("SkipLayerNormalization", [x, skip, weight, weight, weight], domain="com.microsoft", epsilon=1e-5)
    check("SkipSimplifiedLayerNormalization", [x, skip, weight], domain="com.microsoft", epsilon=1e-5)


SHAPES = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4,)),
    ((0, 4), (4, 5)),
]


@pytest.mark.parametrize("engine", ["simd", "matrix"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]], engine: str) -> None:
    a, b = (_normal(*shape, seed=i) for i, shape in enumerate(shapes))
    check("MatMul", [a, b], engine=engine)
    check("MatMul", [a, b], engine=engine, layout="strided")
    check("MatMul", [a.astype(np.float64), b.astype(np.float64)], engine=engine)
    check("MatMul", [np.round(a * 9).astype(np.int64), np.round(b * 9).astype(np.int64)], engine=engine)


def test_matmul_of_vectors() -> None:
    check("MatMul", [_normal(4), _normal(4)])


@pytest.mark.parametrize("engine", ["simd", "matrix"])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("flags", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_gemm(engine: str, alpha: float, flags: tuple[int, int]) -> None:
    a, b = _normal(*((4, 3) if flags[0] else (3, 4))), _normal(*((5, 4) if flags[1] else (4, 5)), seed=1)
    for c in (None, _normal(5), _normal(1, 5), _normal(3, 1), _normal(3, 5), np.asarray(2, np.float32)):
        check("Gemm", [a, b] if c is None else [a, b, c], engine=engine, transA=flags[0], transB=flags[1], alpha=alpha)
    check("Gemm", [a, b, _normal(5)], engine=engine, transA=flags[0], transB=flags[1], beta=0.25)


@pytest.mark.parametrize("engine", ["simd", "matrix"])
def test_fused_matmul(engine: str) -> None:
    a, b = _normal(2, 4, 3), _normal(2, 5, 4, seed=1)
    check("FusedMatMul", [a, b], engine=engine, domain="com.microsoft", transA=1, transB=1, alpha=0.125)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sum(exclusive: int, reverse: int) -> None:
    x = np.arange(24).reshape(2, 3, 4)
    check("CumSum", [x, np.asarray(1)], known=[1], exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("largest", [0, 1])
def test_topk(largest: int) -> None:
    x = np.round(_normal(3, 9, 4) * 2)
    check("TopK", [x, _ints(4)], known=[1], outputs=2, axis=1, largest=largest)
    check("TopK", [_normal(2, 50), _ints(7)], known=[1], outputs=2, largest=largest)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved: int) -> None:
    x, angles = _normal(2, 3, 4, 8), _normal(2, 4, 4, seed=1)
    cos, sin = np.cos(angles), np.sin(angles)
    check("RotaryEmbedding", [x, cos, sin], opset=23, interleaved=interleaved)
    flat, table = _normal(2, 4, 24), _normal(10, 4, seed=1)
    ids = np.asarray([[1, 2, 3, 9], [0, 0, 5, 6]])
    inputs = [flat, np.cos(table), np.sin(table), ids]
    check("RotaryEmbedding", inputs, opset=23, interleaved=interleaved, num_heads=3)
    inputs = [x, np.cos(table[:, :2]), np.sin(table[:, :2]), ids]
    check("RotaryEmbedding", inputs, opset=23, interleaved=interleaved, num_heads=3, rotary_embedding_dim=4)
