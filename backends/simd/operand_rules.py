"""Which operands the instructions of the vector unit can be executed with."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossbank.backends.simd.kinds import Activation, Binary, Unary
from crossbank.backends.simd.moves import VALUES
from crossbank.runtime.isa import Check
from crossbank.runtime.operand_rules import (
    alike,
    all_of,
    broadcast,
    equal,
    expect,
    fits,
    is_one,
    kind,
    kinds,
    one_element,
    product,
    rank,
    refuse,
    same_shape,
    shape_text,
)

_ANY_UNARY = frozenset({Unary.NEG, Unary.ABS, Unary.SIGN, Unary.RELU, Unary.SQUARE})
_LOGIC = frozenset({Binary.AND, Binary.OR, Binary.XOR})
_BITWISE = frozenset({Binary.BITWISE_AND, Binary.BITWISE_OR, Binary.BITWISE_XOR, Binary.SHIFT_LEFT, Binary.SHIFT_RIGHT})
_COMPARISONS = frozenset(
    {Binary.EQUAL, Binary.NOT_EQUAL, Binary.LESS, Binary.LESS_EQUAL, Binary.GREATER, Binary.GREATER_EQUAL}
)
_WITH_ALPHA = frozenset(
    {
        Activation.SWISH, Activation.LEAKY_RELU, Activation.ELU, Activation.HARD_SIGMOID, Activation.SELU,
        Activation.CELU, Activation.THRESHOLDED_RELU,
    }
)  # fmt: skip
_WITH_BETA = frozenset({Activation.HARD_SIGMOID, Activation.SELU})


def _constants(o: Any, config: Any) -> None:
    """Constants that a function does not have are 0."""
    if (o.alpha and o.op not in _WITH_ALPHA) or (o.beta and o.op not in _WITH_BETA):
        refuse(f"{o.op.name.lower()} has no such constants as {o.alpha} and {o.beta}")


def _unary(o: Any, config: Any) -> None:
    held = kind(o.src)
    if o.op is Unary.NOT:
        good = held == "b"
    elif o.op is Unary.BITWISE_NOT:
        good = held == "i"
    elif o.op in _ANY_UNARY:
        good = held in "fi"
    else:
        good = held == "f"
    if not good:
        refuse(f"{o.op.name.lower()} of {o.src.dtype}")
    if (kind(o.dst) == "b") != (o.op in (Unary.NOT, Unary.IS_NAN, Unary.IS_INF)):
        refuse(f"{o.op.name.lower()} gives no {o.dst.dtype}")


def _binary(o: Any, config: Any) -> None:
    held = kind(o.a)
    if o.op in _LOGIC:
        good = held == "b"
    elif o.op in _BITWISE:
        good = held == "i"
    elif o.op in _COMPARISONS:
        good = held in "fib"
    else:
        good = held in "fi"
    if not good or (o.op is not Binary.POW and o.a.dtype != o.b.dtype):
        refuse(f"{o.op.name.lower()} of {o.a.dtype} and {o.b.dtype}")
    if (kind(o.dst) == "b") != (o.op in _LOGIC or o.op in _COMPARISONS):
        refuse(f"{o.op.name.lower()} gives no {o.dst.dtype}")


def _vector(o: Any, config: Any) -> None:
    if len(o.dst.shape) != 1:
        refuse(f"dst is {shape_text(o.dst.shape)}, a vector is expected")


def _value(o: Any, config: Any) -> None:
    _vector(o, config)
    numbers: list[Any] = [getattr(o, f"n{i}") for i in range(VALUES)]
    most = int(np.max(o.dst.shape[0]))
    if most > len(numbers):
        refuse(f"{len(numbers)} numbers are too few for dst {shape_text(o.dst.shape)}")
    if any(np.any(np.asarray(number)) for number in numbers[most:]):
        refuse(f"numbers after the {most} of dst are not 0")


def _axes(o: Any, least: int) -> int:
    axes = np.asarray(o.axes)
    if axes.min() != axes.max() or not least <= axes.min() <= len(o.src.shape):
        refuse(f"{axes.min()} to {axes.max()} axes of src {shape_text(o.src.shape)}")
    return int(axes.min())


def _reduce(o: Any, config: Any) -> None:
    expect("dst", o.dst.shape, o.src.shape[: len(o.src.shape) - _axes(o, 0)])


def _arg(o: Any, config: Any) -> None:
    expect("dst", o.dst.shape, o.src.shape[:-1])


def _norm(o: Any, config: Any) -> None:
    axes = _axes(o, 1)
    for name in ("mean", "inverse"):
        tensor = getattr(o, name, None)
        if tensor is not None:
            leading = o.src.shape[: len(o.src.shape) - axes]
            if not equal(tensor.shape[: len(leading)], leading) or not is_one(tensor.shape[len(leading) :]):
                refuse(f"{name} is {shape_text(tensor.shape)} for src {shape_text(o.src.shape)}")


def _rotary(o: Any, config: Any) -> None:
    width = np.asarray(o.width)
    if np.any(width % 2) or np.any(width > np.asarray(o.src.shape[-1])):
        refuse(f"{width.max()} of {shape_text(o.src.shape[-1:])} features can't be rotated in pairs")
    for name in ("cos", "sin"):
        shape = getattr(o, name).shape
        last = np.asarray(shape[-1]) if shape else np.zeros(1)
        if not (np.all(last == width) or np.all(last == width // 2)) or not fits(shape[:-1], o.src.shape[:-1]):
            refuse(f"{name} is {shape_text(shape)} for src {shape_text(o.src.shape)}")


def _gather(o: Any, config: Any) -> None:
    expect("dst", o.dst.shape, (*o.indices.shape, *o.table.shape[1:]))


def _depth(o: Any) -> int:
    depth = np.asarray(o.indices.shape[-1])
    if depth.min() != depth.max():
        refuse(f"indices {shape_text(o.indices.shape)} are of no one depth")
    return int(depth.min())


def _gather_nd(o: Any, config: Any) -> None:
    batch, depth = int(np.max(o.batch)), _depth(o)
    if batch + depth > len(o.data.shape) or batch >= len(o.indices.shape):
        refuse(f"indices {shape_text(o.indices.shape)} of data {shape_text(o.data.shape)}, {batch} axes shared")
    expect("indices", o.indices.shape[:batch], o.data.shape[:batch])
    expect("dst", o.dst.shape, (*o.indices.shape[:-1], *o.data.shape[batch + depth :]))


def _shorter(o: Any, whole: Any) -> None:
    """Indices are no longer than what they point into in any axis but the last."""
    indices = o.indices.shape
    if len(indices) != len(whole.shape) or any(
        np.any(np.asarray(a) > np.asarray(b)) for a, b in zip(indices[:-1], whole.shape[:-1], strict=True)
    ):
        refuse(f"indices {shape_text(indices)} into {shape_text(whole.shape)}")


def _gather_elements(o: Any, config: Any) -> None:
    _shorter(o, o.src)
    expect("dst", o.dst.shape, o.indices.shape)


def _scatter_elements(o: Any, config: Any) -> None:
    _shorter(o, o.dst)
    expect("values", o.values.shape, o.indices.shape)


def _scatter_nd(o: Any, config: Any) -> None:
    depth = _depth(o)
    if depth > len(o.dst.shape):
        refuse(f"indices {shape_text(o.indices.shape)} into {shape_text(o.dst.shape)}")
    expect("values", o.values.shape, (*o.indices.shape[:-1], *o.dst.shape[depth:]))


def _topk(o: Any, config: Any) -> None:
    expect("indices", o.indices.shape, o.values.shape)
    expect("values", o.values.shape[:-1], o.src.shape[:-1])
    if np.any(np.asarray(o.values.shape[-1]) > np.asarray(o.src.shape[-1])):
        refuse(f"the first {shape_text(o.values.shape[-1:])} of {shape_text(o.src.shape[-1:])}")


def _one_hot(o: Any, config: Any) -> None:
    expect("dst", o.dst.shape[:-1], o.indices.shape)
    expect("values", o.values.shape, (2,))


def _place(o: Any, config: Any) -> None:
    if len(o.dst.shape) != 4 or len(o.src.shape) != 4:
        refuse("caches and new tokens have four dimensions")
    batch, groups, _, width = o.dst.shape
    expect("src", o.src.shape, (batch, groups, o.src.shape[2], width))
    expect("starts", o.starts.shape, (batch,))


def _evict(o: Any, config: Any) -> None:
    if len(o.dst.shape) != 4 or len(o.src.shape) != 4:
        refuse("caches and their tokens have four dimensions")
    batch, groups, _, width = o.dst.shape
    expect("src", o.src.shape, (batch, groups, o.src.shape[2], width))
    expect("first", o.first.shape, (batch,))


def _round_blocks(o: Any, config: Any) -> None:
    if np.any(np.asarray(o.src.shape[-1]) % np.asarray(o.block)):
        refuse(f"{shape_text(o.src.shape[-1:])} features are no multiple of {int(np.max(o.block))}")


def _sink(o: Any, config: Any) -> None:
    sink = getattr(o, "sink", None)
    if sink is not None and not fits(sink.shape, (*o.dst.shape[:-1], 1)):
        refuse(f"sink is {shape_text(sink.shape)} for dst {shape_text(o.dst.shape)}")


def _matmul(o: Any, config: Any) -> None:
    product(o)


_SAME = same_shape("dst", "src")
_ROWS = all_of(rank(1, "src"), _SAME)
CHECKS: dict[str, Check] = {
    "copy": all_of(alike("dst", "src"), broadcast("dst", "src")),
    "cast": broadcast("dst", "src"),
    "value": all_of(kinds("i", "dst"), _value),
    "iota": all_of(kinds("fi", "dst"), _vector),
    "range": all_of(kinds("fi", "dst"), _vector, one_element("start", "step")),
    "unary": all_of(broadcast("dst", "src"), _unary),
    "binary": all_of(broadcast("dst", "a", "b"), _binary),
    "where": all_of(broadcast("dst", "cond", "a", "b"), kinds("b", "cond"), alike("dst", "a", "b")),
    "activation": all_of(_SAME, kinds("f", "dst", "src"), _constants),
    "gated": all_of(broadcast("dst", "gate", "up"), kinds("f", "dst", "gate", "up"), _constants),
    "clip": all_of(_SAME, alike("dst", "src", "low", "high"), one_element("low", "high")),
    "reduce": _reduce,
    "arg": all_of(rank(1, "src"), kinds("i", "dst"), _arg),
    "softmax": all_of(_ROWS, kinds("f", "dst", "src")),
    "layer_norm": all_of(_ROWS, kinds("f", "dst", "src", "weight", "bias"), broadcast("dst", "weight", "bias"), _norm),
    "rms_norm": all_of(_ROWS, kinds("f", "dst", "src", "weight"), broadcast("dst", "weight"), _norm),
    "rotary": all_of(_ROWS, kinds("f", "dst", "src", "cos", "sin"), same_shape("cos", "sin"), _rotary),
    "gather": all_of(rank(1, "table"), kinds("i", "indices"), alike("dst", "table"), _gather),
    "gather_nd": all_of(rank(1, "indices"), kinds("i", "indices"), alike("dst", "data"), _gather_nd),
    "gather_elements": all_of(rank(1, "src"), kinds("i", "indices"), alike("dst", "src"), _gather_elements),
    "scatter_nd": all_of(rank(1, "indices"), kinds("i", "indices"), alike("dst", "values"), _scatter_nd),
    "scatter_elements": all_of(rank(1, "dst"), kinds("i", "indices"), alike("dst", "values"), _scatter_elements),
    "trilu": all_of(rank(2, "src"), _SAME, alike("dst", "src")),
    "cumsum": all_of(_ROWS, alike("dst", "src")),
    "topk": all_of(rank(1, "src", "values"), kinds("i", "indices"), alike("values", "src"), _topk),
    "one_hot": all_of(rank(1, "dst"), alike("dst", "values"), _one_hot),
    "matmul": _matmul,
    "mask_softmax": all_of(rank(1, "dst"), kinds("f", "dst", "src", "sink"), broadcast("dst", "src", "mask"), _sink),
    "place": all_of(kinds("i", "starts"), _place),
    "evict": all_of(kinds("i", "first"), alike("dst", "src"), _evict),
    "round_blocks": all_of(_ROWS, kinds("f", "dst", "src"), _round_blocks),
    "convert": all_of(broadcast("dst", "src"), kinds("f", "dst")),
    "quantize": all_of(
        kinds("fi", "dst"), alike("dst", "zero"), kinds("f", "src"), broadcast("dst", "src", "scale", "zero")
    ),
    "dequantize": all_of(kinds("f", "dst"), kinds("fi", "src"), broadcast("dst", "src", "scale", "zero")),
    "dynamic_quantize": all_of(_SAME, kinds("f", "src"), kinds("i", "dst", "zero"), one_element("scale", "zero")),
}
"""By mnemonic; those that are not listed take anything."""
