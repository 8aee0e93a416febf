"""The numpy meaning of each `llm` operation, as its docstring states it, for the interpreter of value-form modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from crossbank.dialects.llm import (
    ActivationOp,
    AppendOp,
    AttentionOp,
    CacheOp,
    EmbeddingOp,
    EvictOp,
    GatedOp,
    LayerNormOp,
    LinearOp,
    RmsNormOp,
    RotaryOp,
    RoundBlocksOp,
)
from crossbank.dialects.shape import shape_of
from crossbank.passes.rewriting import strings
from crossbank.runtime.expr import Expr
from crossbank.runtime.tensors import TensorStore
from tests.interpreter import Interpreter, meaning

Array = NDArray[Any]

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
    """x @ W + bias, W dequantised where it has scales."""
    given = dict(zip(op.operands, operands, strict=True))
    x, weight = operands[:2]
    if op.scales is not None:
        weight = weight.astype(np.float32)
        for parts, combine in ((op.zeros, np.subtract), (op.scales, np.multiply)):
            if parts is not None:
                blocks = given[parts].astype(np.float32)
                for axis in (0, 1):
                    blocks = np.repeat(blocks, weight.shape[axis] // blocks.shape[axis], axis=axis)
                weight = combine(weight, blocks)
        weight = weight.astype(x.dtype)
    y = x @ (weight.T if op.transposed.value.data else weight)
    return y if op.bias is None else y + given[op.bias]


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
    """Pairs of the first R features turned by angles, one for each feature or for each pair."""
    x, cos, sin = operands
    width = op.rotated.constant
    if cos.shape[-1] < width:
        cos, sin = (
            np.repeat(angle, 2, -1) if op.interleaved.value.data else np.concatenate([angle, angle], -1)
            for angle in (cos, sin)
        )
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


def placed(op: AppendOp | AttentionOp, past: Array, new: Array, starts: Array, total: int) -> Array:
    """Past tokens with new ones from each sequence's own place on."""
    whole = np.zeros((*past.shape[:2], total, past.shape[3]), past.dtype)
    whole[:, :, : past.shape[2]] = past
    for row, (start, tokens) in enumerate(zip(starts, new, strict=True)):
        places = start + np.arange(new.shape[2])
        whole[row][:, places % total if op.circular is not None and op.circular.value.data else places] = tokens
        if op.clear is not None and op.clear.value.data:
            whole[row, :, start + new.shape[2] :] = 0
    return whole


def evicted(tokens: Array, first: Array, room: int) -> Array:
    """What stays of tokens when the first of each sequence leave."""
    kept = np.zeros((*tokens.shape[:2], room, tokens.shape[3]), tokens.dtype)
    for row, start in enumerate(first):
        rest = tokens[row][:, start : start + room]
        kept[row, :, : rest.shape[1]] = rest
    return kept


def round_blocks(op: RoundBlocksOp, operands: list[Array]) -> Array:
    """x as int8 blocks would have it."""
    x = operands[0].astype(np.float32)
    blocks = x.reshape(*x.shape[:-1], -1, op.block.value.data)
    most = np.abs(blocks).max(-1, keepdims=True)
    factor = np.divide(np.float32(127), most, where=most > 0, out=np.zeros_like(most))
    return (np.rint(blocks * factor) * (most / np.float32(127))).reshape(x.shape).astype(operands[0].dtype)


def attention(op: AttentionOp, operands: list[Array]) -> Array:
    """Attention over the given keys and values: all of them, past ones included where `op` has a cache."""
    given = dict(zip(op.operands, operands, strict=True))
    q, k, v = operands[:3]
    repeats = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
    scores = op.scale.value.data * (q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2))
    if cap := op.softcap.value.data:
        scores = cap * np.tanh(scores / cap)
    if op.mask is not None:
        mask = given[op.mask]
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else (scores + mask).astype(np.float32)
    if op.causal.value.data:
        size, total = scores.shape[-2:]
        seen = np.tri(size, total, total - size, dtype=np.bool_)
        scores = np.where(seen, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        if op.sink is not None:
            sink = np.broadcast_to(given[op.sink].astype(np.float64)[:, None, None], (*scores.shape[:-1], 1))
            scores = np.concatenate([scores, sink], axis=-1)
        weights = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
        weights = (weights / weights.sum(-1, keepdims=True))[..., : v.shape[2]]
    if op.nan_to_zero.value.data:
        weights = np.nan_to_num(weights, nan=0.0)
    return (weights @ v.astype(np.float64)).astype(q.dtype)


class RaisedInterpreter(Interpreter):
    """Runs modules whose caches are `llm.cache`s: their inputs and outputs are those of the ONNX file."""

    def __init__(self, module: ModuleOp, tensors: TensorStore) -> None:
        super().__init__(module, tensors)
        self.caches = {op.sym_name.data: op for op in module.ops if isinstance(op, CacheOp)}
        self.feeds: Mapping[str, Array] = {}
        self.presents: dict[str, Array] = {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, the caches' too."""
        self.feeds, self.presents, self.registers = feeds, {}, {}
        main = self.functions["main"]
        arguments = [np.asarray(feeds[name]) for name in strings(main.attributes["input_names"])]
        for value, array in zip(main.body.block.args, arguments, strict=True):
            self.bind(value, array)
        for cache in self.caches.values():
            batch, _, past, _ = feeds[strings(cache.keys_in)[0]].shape
            for text, size in ((cache.batch.data, batch), (cache.past.data, past)):
                if text.isidentifier():
                    self.registers.setdefault(text, size)
        for value, array in zip(main.body.block.args, arguments, strict=True):
            self.check(value, array)
        results = self.block(main.body.block, arguments)
        return dict(zip(strings(main.attributes["output_names"]), results, strict=True)) | self.presents

    def append(
        self, op: AttentionOp, k: Array, v: Array, starts: Array | None, first: Array | None
    ) -> tuple[Array, Array]:
        """Past and new keys and values of the layer that runs."""
        assert op.cache is not None
        cache = self.caches[op.cache.root_reference.data]
        found: list[Array] = []
        for new, inputs, outputs in ((k, cache.keys_in, cache.keys_out), (v, cache.values_in, cache.values_out)):
            past = self.feeds[strings(inputs)[self.call]]
            if starts is None:
                whole = np.concatenate([past, new], axis=2)
            else:
                total = past.shape[2] + int(Expr.of(cache.new.data).evaluate(self.registers))
                total += 0 if first is None else new.shape[2]
                whole = placed(op, past, new, starts, total)
            kept = whole if first is None else evicted(whole, first, past.shape[2])
            self.presents[strings(outputs)[self.call]] = kept
            found.append(whole)
        return found[0], found[1]


@meaning("llm.attention")
def _attention(run: Interpreter, op: AttentionOp, operands: list[Array]) -> Array:
    q, k, v, *rest = operands
    if op.cache is not None:
        assert isinstance(run, RaisedInterpreter)
        given = dict(zip(op.operands, operands, strict=True))
        k, v = run.append(op, k, v, op.starts and given[op.starts], op.first and given[op.first])
    return attention(op, [q, k, v, *rest])


@meaning("llm.append")
def _append(run: Interpreter, op: AppendOp, operands: list[Array]) -> Array:
    return placed(op, *operands, int(shape_of(op.y)[2].evaluate(run.registers)))


@meaning("llm.evict")
def _evict(run: Interpreter, op: EvictOp, operands: list[Array]) -> Array:
    return evicted(*operands, int(shape_of(op.y)[2].evaluate(run.registers)))


def _register(name: str, function: Callable[[Any, list[Array]], Array]) -> None:
    meaning(name)(lambda run, op, operands: function(op, operands))


for _name, _function in {
    LinearOp.name: linear,
    RmsNormOp.name: rms_norm,
    LayerNormOp.name: layer_norm,
    RotaryOp.name: rotary,
    GatedOp.name: gated,
    ActivationOp.name: activation,
    EmbeddingOp.name: embedding,
    RoundBlocksOp.name: round_blocks,
}.items():
    _register(_name, _function)
