"""The instruction set of a digital vector unit beside the memory: element-wise, reductions, norms, gathers, products.

Tensors are strided views of any rank; a stride may be 0, so operands broadcast. Float16 and bfloat16 operands are
computed in float32 and rounded to nearest even when written, float32 and float64 in themselves; integers are exact.
"Last axes" are the last of the view: a view may permute its tensor's axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crossbank.backends import hiding
from crossbank.backends.roofline import SOURCES, Roofline, charged, counted
from crossbank.backends.simd import elementwise, moves, rows, timing
from crossbank.backends.simd.kinds import Activation, Binary, Extreme, Flag, Reduction, Rounding, Scatter, Unary
from crossbank.backends.simd.operand_rules import CHECKS
from crossbank.runtime.isa import Field, InstructionSet, count, enum, number, reads, updates, writes

_SIGNED = -(1 << 62)


def _make_unit(config: Mapping[str, Any], machine: object) -> None:
    return None


ISA = InstructionSet(
    "simd",
    2,
    1,
    "A digital vector unit beside the memory: every operation of a language model that is no large static product.",
    make_unit=_make_unit,
    make_cost_unit=Roofline.of,
    sources=SOURCES,
)


def _define(
    mnemonic: str,
    code: int,
    fields: list[Field],
    doc: str,
    execute: Any,
    work: Any,
    traffic: tuple[str, ...] = (),
    scores: Callable[[Any], hiding.Scores] | None = None,
) -> None:
    """Declare an instruction; its traffic is all its tensors where no other is given."""
    tensors = traffic or tuple(field.name for field in fields if field.access is not None)
    time, counts = charged(tensors, work), counted(tensors, work, scores)
    ISA.define(mnemonic, code, fields, doc, execute, time, check=CHECKS.get(mnemonic), counts=counts)


def _untimed(name: str, doc: str) -> Field:
    return count(name, doc, low=_SIGNED, bits=63, timed=False)


_DST, _SRC = writes("dst"), reads("src")

_define("copy", 1, [_DST, _SRC], "dst = src, of one dtype.", moves.copy, timing.move)
_define(
    "cast", 2, [_DST, _SRC],
    "dst = src in the type of dst: floats lose their fraction on the way to integers; bool is what is not zero.",
    moves.cast, timing.simple,
)  # fmt: skip
_define("fill", 3, [_DST, number("value")], "Every element of dst = value.", moves.fill, timing.move)
_define(
    "value", 4, [_DST, *(_untimed(f"n{i}", f"dst[{i}]") for i in range(moves.VALUES))],
    f"dst[i] = n<i> for a vector of at most {moves.VALUES} integers.", moves.value, timing.move,
)  # fmt: skip
_define(
    "iota", 5, [_DST, _untimed("start", "dst[0]"), _untimed("step", "dst[i + 1] - dst[i]")],
    "dst[i] = start + i * step.", moves.iota, timing.simple,
)  # fmt: skip
_define(
    "range", 6, [_DST, reads("start", "one element"), reads("step", "one element")],
    "dst[i] = start + i * step, both read from memory.", moves.arange, timing.simple,
)  # fmt: skip
_define("unary", 7, [_DST, _SRC, enum("op", Unary)], "dst = op(src).", elementwise.unary, timing.unary)
_define(
    "binary", 8, [_DST, reads("a"), reads("b"), enum("op", Binary)],
    "dst = op(a, b), broadcast; div truncates integers towards zero, mod takes the sign of b and fmod that of a.",
    elementwise.binary, timing.binary,
)  # fmt: skip
_define(
    "where", 9, [_DST, reads("cond", "bool"), reads("a"), reads("b")],
    "dst = a where cond, else b.", elementwise.where, timing.simple,
)  # fmt: skip
_define(
    "activation", 10, [_DST, _SRC, enum("op", Activation), number("alpha"), number("beta")],
    "dst = op(src), with the constants alpha and beta for those that have them.",
    elementwise.activation, timing.activation,
)  # fmt: skip
_define(
    "gated", 11, [_DST, reads("gate"), reads("up"), enum("op", Activation), number("alpha"), number("beta")],
    "dst = op(gate) * up.", elementwise.gated, timing.activation,
)  # fmt: skip
_define(
    "clip", 12, [_DST, _SRC, reads("low", "one element", optional=True), reads("high", "one element", optional=True)],
    "dst = min(max(src, low), high).", elementwise.clip, timing.simple,
)  # fmt: skip
_define(
    "reduce", 13, [_DST, _SRC, enum("op", Reduction), count("axes")],
    "dst = op over the last `axes` axes of src, which dst lacks.", rows.reduce, timing.reduce,
)  # fmt: skip
_define(
    "arg", 14, [_DST, _SRC, enum("op", Extreme), enum("last", Flag, "the last of equals")],
    "dst = where the greatest or least of the last axis stands; dst lacks the axis.", rows.arg, timing.over_source,
)  # fmt: skip
_define(
    "softmax", 15, [_DST, _SRC, enum("log", Flag)],
    "dst = softmax(src) over the last axis, or its logarithm.", rows.softmax, timing.softmax,
)  # fmt: skip
_define(
    "layer_norm", 16,
    [
        _DST, writes("mean", optional=True), writes("inverse", "1 / sqrt(var + epsilon)", optional=True), _SRC,
        reads("weight", optional=True), reads("bias", optional=True), number("epsilon"), count("axes", low=1),
    ],
    "dst = (src - mean) / sqrt(var + epsilon) * weight + bias over the last `axes` axes.",
    rows.layer_norm, timing.layer_norm,
)  # fmt: skip
_define(
    "rms_norm", 17, [_DST, _SRC, reads("weight", optional=True), number("epsilon"), count("axes", low=1)],
    "dst = src / sqrt(mean(src * src) + epsilon) * weight over the last `axes` axes.", rows.rms_norm, timing.rms_norm,
)  # fmt: skip
_define(
    "rotary", 18,
    [_DST, _SRC, reads("cos"), reads("sin"), count("width", "R, even", low=2), enum("interleaved", Flag)],
    "Rotate the first R features of src: pairs (i, i + R/2), or (2i, 2i + 1) if interleaved, by the angles whose cos "
    "and sin are given for each feature [.., R] or each pair [.., R/2]; the others pass through.",
    rows.rotary, timing.rotary,
)  # fmt: skip
_define(
    "gather", 19, [_DST, reads("table"), reads("indices")],
    "dst[i…, :] = table[indices[i…], :] along the first axis; negative indices count from the end.",
    moves.gather, timing.move, ("dst", "dst", "indices"),
)  # fmt: skip
_define(
    "gather_nd", 20, [_DST, reads("data"), reads("indices"), count("batch", "leading axes shared by data and indices")],
    "dst[b…, i…, :] = data[b…, *indices[b…, i…], :].", moves.gather_nd, timing.move, ("dst", "dst", "indices"),
)  # fmt: skip
_define(
    "gather_elements", 21, [_DST, _SRC, reads("indices")],
    "dst[…, j] = src[…, indices[…, j]] along the last axis; indices may be shorter than src in the other axes.",
    moves.gather_elements, timing.move, ("dst", "dst", "indices"),
)  # fmt: skip
_define(
    "scatter_nd", 22, [updates("dst"), reads("indices"), reads("values"), enum("op", Scatter)],
    "dst[*indices[i…], :] = op(dst[…], values[i…, :]).",
    moves.scatter_nd, timing.scatter, ("values", "values", "indices"),
)  # fmt: skip
_define(
    "scatter_elements", 23, [updates("dst"), reads("indices"), reads("values"), enum("op", Scatter)],
    "dst[…, indices[…, j]] = op(dst[…], values[…, j]) along the last axis.",
    moves.scatter_elements, timing.scatter, ("values", "values", "indices"),
)  # fmt: skip
_define(
    "trilu", 24, [_DST, _SRC, enum("upper", Flag), _untimed("diagonal", "j - i of the first diagonal kept")],
    "dst = the upper or lower triangle of the last two axes of src, 0 elsewhere.", moves.trilu, timing.simple,
)  # fmt: skip
_define(
    "cumsum", 25, [_DST, _SRC, enum("exclusive", Flag), enum("reverse", Flag)],
    "dst = the running sum of src along the last axis.", rows.cumsum, timing.over_source,
)  # fmt: skip
_define(
    "topk", 26, [writes("values"), writes("indices"), _SRC, enum("op", Extreme)],
    "The k greatest or least of the last axis, in order, the lower index of equals first, and where they stand.",
    rows.topk, timing.sort,
)  # fmt: skip
_define(
    "one_hot", 27, [_DST, reads("indices"), reads("values", "off and on")],
    "dst[…, j] = values[1] where j == indices[…], else values[0].", moves.one_hot, timing.simple,
)  # fmt: skip
_define(
    "matmul", 28, [_DST, reads("a"), reads("b"), number("scale")],
    "dst [.., M, N] = scale * (a [.., M, K] @ b [.., K, N]), broadcast over the leading axes; sums in float32.",
    rows.matmul, timing.matmul,
)  # fmt: skip
_define(
    "mask_softmax", 29,
    [
        _DST, _SRC, reads("mask", "float: added; bool: hides where false", optional=True), number("scale"),
        number("softcap", "0 for none"), count("limit", "columns from here on are hidden", bits=63, timed=False),
        enum("nan_to_zero", Flag), reads("sink", "one more score of each row, for nothing: [.., 1]", optional=True),
    ],
    "dst = softmax(cap(scale * src) + mask) over the last axis, with cap(s) = softcap * tanh(s / softcap); a row with "
    "nothing to see gives NaN, or 0.",
    rows.mask_softmax, timing.mask_softmax, scores=hiding.of_rows,
)  # fmt: skip
_define(
    "quantize", 30, [_DST, _SRC, reads("scale"), reads("zero", optional=True)],
    "dst = saturate(round_half_even(src / scale) + zero).", elementwise.quantize, timing.quantize,
)  # fmt: skip
_define(
    "dequantize", 31, [_DST, _SRC, reads("scale"), reads("zero", optional=True)],
    "dst = (src - zero) * scale.", elementwise.dequantize, timing.simple,
)  # fmt: skip
_define(
    "dynamic_quantize", 32, [_DST, writes("scale", "one element"), writes("zero", "one element"), _SRC],
    "Quantise src to uint8 over its own range including 0, as DynamicQuantizeLinear of ONNX.",
    elementwise.dynamic_quantize, timing.dynamic_quantize,
)  # fmt: skip
_define(
    "convert", 33, [_DST, _SRC, enum("saturate", Flag), enum("rounding", Rounding, "of powers of two")],
    "dst = src in an 8-bit float type: what is too large becomes the largest number, or NaN or infinity if it does not "
    "saturate; other types than float8_e8m0fnu, whose powers of two stand for magnitudes, round to nearest even.",
    elementwise.convert, timing.simple,
)  # fmt: skip
_define(
    "place", 40,
    [
        updates("dst", "[B, G, T, D]"), reads("src", "[B, G, S, D]"), reads("starts", "[B]"),
        enum("clear", Flag, "what follows becomes 0"), enum("circular", Flag, "places count modulo T"),
    ],
    "dst[b, :, starts[b] + i] = src[b, :, i].", moves.place, timing.move, ("src", "src", "starts"),
)  # fmt: skip
_define(
    "evict", 42, [writes("dst", "[B, G, P, D]"), reads("src", "[B, G, T, D]"), reads("first", "[B]")],
    "dst[b, :, i] = src[b, :, first[b] + i], 0 where there is none.", moves.evict, timing.move, ("dst", "dst", "first"),
)  # fmt: skip
_define(
    "round_blocks", 41, [_DST, _SRC, count("block", "features that share a scale", low=1)],
    "dst = src as int8 with a scale of max|src| / 127 for each block of the last axis would have it.",
    rows.round_blocks, timing.dynamic_quantize,
)  # fmt: skip
