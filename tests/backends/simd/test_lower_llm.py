"""The transformer's operations on the vector unit and the matrix engine against their definitions in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import BoolAttr, Float64Type, FloatAttr, StringAttr
from xdsl.ir import SSAValue

from crossbank.dialects import llm
from crossbank.dialects.shape import tensor
from tests.backends.recorder import Recorder

Array = np.ndarray[Any, Any]


def _normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _number(value: float) -> FloatAttr[Float64Type]:
    return FloatAttr(value, Float64Type())


def _attention(
    q: Array, k: Array, v: Array, mask: Array | None, scale: float, softcap: float, causal: bool, zero: bool
) -> Array:
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    share = q.shape[1] // k.shape[1]
    k, v = k.repeat(share, axis=1), v.repeat(share, axis=1)
    scores = np.einsum("bhsd,bhtd->bhst", q, k) * scale
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    rows, tokens = scores.shape[-2:]
    if causal:
        scores = np.where(np.tri(rows, tokens, tokens - rows, dtype=bool), scores, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
    if zero:
        weights = np.nan_to_num(weights)
    return np.einsum("bhst,bhtd->bhsd", weights, v)


def _attention_op(
    values: list[SSAValue],
    y: Any,
    mask: SSAValue | None,
    scale: float,
    softcap: float,
    causal: bool,
    zero: bool,
    cache: str,
) -> llm.AttentionOp:
    q, k, v = values
    op = llm.AttentionOp.of(q, k, v, y, scale=scale, mask=mask, softcap=softcap, causal=causal, nan_to_zero=zero)
    return op.with_cache(cache, k, v) if cache else op


ENGINES = pytest.mark.parametrize("engine", ["simd", "matrix"])


@ENGINES
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("mask", [None, "float", "bool", "heads", "row"])
def test_attention(engine: str, layout: str, causal: bool, softcap: float, mask: str | None) -> None:
    q, k, v = _normal(2, 6, 3, 8), _normal(2, 2, 5, 8, seed=1), _normal(2, 2, 5, 4, seed=2)
    masks: dict[str | None, Array | None] = {
        None: None,
        "float": _normal(2, 1, 3, 5, seed=3),
        "bool": _normal(2, 1, 3, 5, seed=3) > -1,
        "heads": _normal(1, 6, 3, 5, seed=3),
        "row": _normal(2, 1, 1, 5, seed=3),
    }
    array = masks[mask]
    to = Recorder()
    place = to.argument if layout == "contiguous" else to.strided
    expected = _attention(q, k, v, array, 0.3, softcap, causal, False)
    given = None if array is None else place(array)
    op = _attention_op(
        [place(x) for x in (q, k, v)], tensor("float32", expected.shape), given, 0.3, softcap, causal, False, ""
    )
    np.testing.assert_allclose(to.lower(op, engine)[0], expected, rtol=2e-5, atol=2e-6)


@ENGINES
@pytest.mark.parametrize("zero", [False, True])
def test_rows_with_nothing_to_see(engine: str, zero: bool) -> None:
    q, k = _normal(1, 2, 3, 4), _normal(1, 2, 3, 4, seed=1)
    mask = np.asarray([[[[1, 0, 1], [0, 0, 0], [1, 1, 1]]]], bool)
    expected = _attention(q, k, k, mask, 0.5, 0.0, False, zero)
    to = Recorder()
    values = [to.argument(x) for x in (q, k, k)]
    op = _attention_op(values, tensor("float32", q.shape), to.argument(mask), 0.5, 0.0, False, zero, "")
    np.testing.assert_allclose(to.lower(op, engine)[0], expected, rtol=1e-5, atol=1e-6)


@ENGINES
@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("past", "new"), [(0, 4), (3, 1), (5, 3), (0, 1)])
def test_attention_over_a_cache(engine: str, heads: int, dtype: str, past: int, new: int) -> None:
    history = _normal(2, 2, past + new, 8, seed=1).astype(dtype), _normal(2, 2, past + new, 8, seed=2).astype(dtype)
    caches = tuple(np.full((4, 2, 16, 8), np.nan, dtype) for _ in history)
    for cache, full in zip(caches, history, strict=True):
        cache[:2, :, :past] = full[:, :, :past]
    to = Recorder({"c": (caches[0], caches[1])}, batch=2, past=past, seq=new)
    q = _normal(2, heads, new, 8).astype(dtype)
    shape = ["batch", heads, "seq", 8]
    values = [to.argument(q, shape)]
    values += [to.argument(full[:, :, past:], ["batch", 2, "seq", 8]) for full in history]
    op = _attention_op(values, tensor(dtype, shape), None, 0.35, 0.0, True, False, "c")
    expected = _attention(q, *history, None, 0.35, 0.0, True, False)
    rtol = 1e-5 if dtype == "float32" else 2e-3
    np.testing.assert_allclose(to.lower(op, engine)[0].astype(np.float64), expected, rtol=rtol, atol=rtol / 5)
    for cache, full in zip(caches, history, strict=True):
        np.testing.assert_array_equal(cache[:2, :, : past + new], full)
        assert np.isnan(cache[2:].astype(np.float32)).all()


@ENGINES
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 8), (3, 8), (1, 1, 8), (0, 8)])
def test_linear(engine: str, layout: str, transposed: bool, biased: bool, shape: tuple[int, ...]) -> None:
    x, weight, bias = _normal(*shape), _normal(*((5, 8) if transposed else (8, 5)), seed=1), _normal(5, seed=2)
    expected = x.astype(np.float64) @ (weight.T if transposed else weight) + (bias if biased else 0)
    to = Recorder()
    place = to.argument if layout == "contiguous" else to.strided
    op = llm.LinearOp.of(
        place(x), place(weight), tensor("float32", expected.shape), transposed=transposed,
        bias=place(bias) if biased else None,
    )  # fmt: skip
    np.testing.assert_allclose(to.lower(op, engine)[0], expected, rtol=1e-5, atol=1e-5)


@ENGINES
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_linear_is_summed_in_float32(engine: str, dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x, weight = _normal(3, 512).astype(kind), _normal(512, 4, seed=1).astype(kind)
    expected = x.astype(np.float64) @ weight.astype(np.float64)
    to = Recorder()
    op = llm.LinearOp.of(to.argument(x), to.argument(weight), tensor(dtype, (3, 4)))
    step = float(ml_dtypes.finfo(kind).eps)
    np.testing.assert_allclose(to.lower(op, engine)[0].astype(np.float64), expected, rtol=step, atol=1e-4)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [8, 4])
def test_rotary(interleaved: bool, width: int) -> None:
    x, angles = _normal(2, 3, 4, 8), _normal(2, 1, 4, width // 2, seed=1)
    pairs = angles.repeat(2, -1) if interleaved else np.concatenate([angles, angles], -1)
    cos, sin = np.cos(pairs), np.sin(pairs)
    part = x[..., :width]
    if interleaved:
        turned = np.stack([-part[..., 1::2], part[..., 0::2]], -1).reshape(part.shape)
    else:
        turned = np.concatenate([-part[..., width // 2 :], part[..., : width // 2]], -1)
    expected = np.concatenate([part * cos + turned * sin, x[..., width:]], -1)
    to = Recorder()
    op = llm.RotaryOp.create(
        operands=[to.argument(x), to.argument(cos), to.argument(sin)],
        result_types=[tensor("float32", x.shape)],
        properties={"interleaved": BoolAttr.from_bool(interleaved)},
    )
    np.testing.assert_allclose(to.lower(op)[0], expected, rtol=1e-5, atol=1e-6)


ACTIVATIONS = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
}


@pytest.mark.parametrize("name", llm.ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("rows", [3, 30000])
def test_activation_and_gate(name: str, dtype: str, rows: int) -> None:
    x, up = (_normal(rows, 7) * 4).astype(dtype), _normal(rows, 7, seed=1).astype(dtype)
    expected = np.vectorize(ACTIVATIONS[name])(x.astype(np.float64))
    tolerance = {"rtol": 2e-6, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-3, "atol": 1e-6}
    to = Recorder()
    result, kind = tensor(dtype, x.shape), {"activation": StringAttr(name)}
    op = llm.ActivationOp.create(operands=[to.argument(x)], result_types=[result], properties=kind)
    np.testing.assert_allclose(to.lower(op)[0], expected, **tolerance)
    gate = llm.GatedOp.create(operands=[to.argument(x), to.argument(up)], result_types=[result], properties=kind)
    np.testing.assert_allclose(to.lower(gate)[0], expected * up, **tolerance)


@pytest.mark.parametrize("biased", [False, True])
def test_norms(biased: bool) -> None:
    x, weight, bias = _normal(2, 3, 16) + 1, _normal(16, seed=1), _normal(16, seed=2)
    to = Recorder()
    result, epsilon = tensor("float32", x.shape), {"epsilon": _number(1e-3)}
    values = [to.argument(x), to.argument(weight)]
    op = llm.RmsNormOp.create(operands=values, result_types=[result], properties=epsilon)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(
        to.lower(op)[0], wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-3) * weight, rtol=1e-5, atol=1e-6
    )
    if biased:
        values.append(to.argument(bias))
    op = llm.LayerNormOp.create(operands=values, result_types=[result], properties=epsilon)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt(wide.var(-1, keepdims=True) + 1e-3) * weight + (bias if biased else 0)
    np.testing.assert_allclose(to.lower(op)[0], expected, rtol=1e-5, atol=1e-6)


def test_embedding() -> None:
    table, ids = _normal(9, 4), np.asarray([[0, 8, -1], [3, 3, -9]])
    to = Recorder()
    op = llm.EmbeddingOp.create(
        operands=[to.argument(table), to.argument(ids)], result_types=[tensor("float32", (2, 3, 4))]
    )
    np.testing.assert_array_equal(to.lower(op)[0], table[ids])
