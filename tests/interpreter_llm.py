"""The numpy meaning of each `llm` operation, as its docstring states it: what tests of raising compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation

from crossbank.dialects.llm import (
    ActivationOp,
    AttentionOp,
    EmbeddingOp,
    GatedOp,
    LayerNormOp,
    LinearOp,
    RmsNormOp,
    RotaryOp,
)

Array = NDArray[Any]
Meaning = Callable[[Any, list[Array]], Array]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def activate(name: str, x: Array) -> Array:
    """An activation of `llm.activation`, in float64."""
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        match name:
            case "silu":
                y = wide / (1 + np.exp(-wide))
            case "gelu":
                y = 0.5 * wide * (1 + _erf(wide / math.sqrt(2)))
            case "gelu_tanh":
                y = 0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
            case "relu":
                y = np.maximum(wide, 0)
            case "sigmoid":
                y = 1 / (1 + np.exp(-wide))
            case "tanh":
                y = np.tanh(wide)
            case "quick_gelu":
                y = wide / (1 + np.exp(-1.702 * wide))
            case _:
                raise ValueError(name)
    return y.astype(x.dtype)


def linear(op: LinearOp, operands: list[Array]) -> Array:
    """x @ W + bias."""
    x, weight, *bias = operands
    y = x @ (weight.T if op.transposed.value.data else weight)
    return y + bias[0] if bias else y


def rms_norm(op: RmsNormOp, operands: list[Array]) -> Array:
    """x / sqrt(mean(x²) + epsilon) * weight."""
    x, weight = (value.astype(np.float64) for value in operands)
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + op.epsilon.value.data) * weight
    return y.astype(operands[0].dtype)


def layer_norm(op: LayerNormOp, operands: list[Array]) -> Array:
    """(x - mean) / sqrt(var + epsilon) * weight + bias."""
    x, weight, *bias = (value.astype(np.float64) for value in operands)
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + op.epsilon.value.data) * weight
    return (y + bias[0] if bias else y).astype(operands[0].dtype)


def rotary(op: RotaryOp, operands: list[Array]) -> Array:
    """Pairs of the first R features turned by angles, R the last dimension of cos."""
    x, cos, sin = operands
    width = cos.shape[-1]
    part, rest = x[..., :width], x[..., width:]
    if op.interleaved.value.data:
        turned = np.stack([-part[..., 1::2], part[..., 0::2]], axis=-1).reshape(part.shape)
    else:
        turned = np.concatenate([-part[..., width // 2 :], part[..., : width // 2]], axis=-1)
    return np.concatenate([part * cos + turned * sin, rest], axis=-1).astype(x.dtype)


def gated(op: GatedOp, operands: list[Array]) -> Array:
    """activation(gate) * up."""
    return activate(op.activation.data, operands[0]) * operands[1]


def activation(op: ActivationOp, operands: list[Array]) -> Array:
    """activation(x)."""
    return activate(op.activation.data, operands[0])


def embedding(op: EmbeddingOp, operands: list[Array]) -> Array:
    """Rows of the table."""
    return operands[0][operands[1]]


def attention(op: AttentionOp, operands: list[Array]) -> Array:
    """Attention over the given keys and values: all of them, past ones included where `op` has a cache."""
    q, k, v, *masks = operands
    repeats = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
    scores = op.scale.value.data * (q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2))
    if cap := op.softcap.value.data:
        scores = cap * np.tanh(scores / cap)
    if masks:
        mask = masks[0]
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else (scores + mask).astype(np.float32)
    if op.causal.value.data:
        size, total = scores.shape[-2:]
        seen = np.arange(total)[None, :] <= np.arange(size)[:, None] + total - size
        scores = np.where(seen, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
    if op.nan_to_zero.value.data:
        weights = np.nan_to_num(weights, nan=0.0)
    return (weights @ v.astype(np.float64)).astype(q.dtype)


MEANINGS: Mapping[type[Operation], Meaning] = {
    LinearOp: linear,
    RmsNormOp: rms_norm,
    LayerNormOp: layer_norm,
    RotaryOp: rotary,
    GatedOp: gated,
    ActivationOp: activation,
    EmbeddingOp: embedding,
    AttentionOp: attention,
}
