"""The instruction set of a matrix engine, the conventional way: GEMM, batched products, attention in one piece.

Products of float16, bfloat16 and float32 operands are summed in float32 and rounded when written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossbank.backends import hiding
from crossbank.backends.matrix import operand_rules, semantics, timing
from crossbank.backends.roofline import SOURCES, Roofline, charged, counted
from crossbank.backends.simd.kinds import Flag
from crossbank.runtime.isa import InstructionSet, count, enum, number, reads, writes


def _make_unit(config: Mapping[str, Any], machine: object) -> semantics.Unit:
    return semantics.Unit()


ISA = InstructionSet(
    "matrix",
    3,
    1,
    "A matrix engine as in a GPU, a TPU or an NPU: weights come from memory for each use.",
    make_unit=_make_unit,
    make_cost_unit=Roofline.of,
    sources=SOURCES,
)
_GEMM = ("dst", "x", "w", "bias", "scales", "zeros")
_MATMUL = ("dst", "a", "b")
_ATTENTION = ("dst", "q", "k", "v", "mask")

ISA.define(
    "gemm",
    1,
    [
        writes("dst", "[.., N]"),
        reads("x", "[.., K]"),
        reads("w", "[K, N], or [N, K] if transposed"),
        reads("bias", "[N]", optional=True),
        enum("transposed", Flag),
        reads("scales", "of a quantised w, each for a block of it", optional=True),
        reads("zeros", "of a quantised w, as scales", optional=True),
    ],
    "dst = x @ w + bias; a quantised w stands for (w - zeros) * scales.",
    semantics.gemm,
    charged(_GEMM, timing.gemm),
    check=operand_rules.GEMM,
    counts=counted(_GEMM, timing.gemm),
)
ISA.define(
    "matmul",
    2,
    [writes("dst", "[.., M, N]"), reads("a", "[.., M, K]"), reads("b", "[.., K, N]"), number("scale")],
    "dst = scale * (a @ b), broadcast over the leading axes.",
    semantics.matmul,
    charged(_MATMUL, timing.matmul),
    check=operand_rules.MATMUL,
    counts=counted(_MATMUL, timing.matmul),
)
ISA.define(
    "attention",
    3,
    [
        writes("dst", "[B, H, S, Dv]"),
        reads("q", "[B, H, S, D]"),
        reads("k", "[B, G, T, D], H a multiple of G"),
        reads("v", "[B, G, T, Dv]"),
        reads("mask", "[1 or B, 1 or H, 1 or S, 1 or T]; float: added, bool: hides where false", optional=True),
        number("scale"),
        number("softcap", "0 for none"),
        enum("causal", Flag, "query i sees keys 0 … past + i only"),
        count("past", timed=False),
        enum("nan_to_zero", Flag, "a row with nothing to see gives 0, not NaN"),
    ],
    "dst = softmax(cap(scale * q kᵀ) + mask) v, head h of q with head h // (H/G) of k and v; "
    "cap(s) = softcap * tanh(s / softcap).",
    semantics.attention,
    charged(_ATTENTION, timing.attention),
    check=operand_rules.ATTENTION,
    counts=counted(_ATTENTION, timing.attention, hiding.of_attention),
)
