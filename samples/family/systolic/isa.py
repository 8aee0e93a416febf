"""The instructions of the systolic array: one, a product with a static matrix."""

from __future__ import annotations

from crossbank.runtime.isa import InstructionSet, enum, reads, writes
from systolic import semantics, timing

ISA = InstructionSet(
    "systolic",
    100,
    1,
    "A systolic array: weights stream through it for each product.",
    make_unit=semantics.Unit,
    make_cost_unit=timing.Parameters.of,
    sources={"compute": ("timing.clock_hz", "organisation.rows", "organisation.columns", "energy.mac_pj")},
)

ISA.define(
    "gemm",
    1,
    [
        writes("dst", "[.., N]"),
        reads("x", "[.., K]"),
        reads("w", "[K, N], or [N, K] if transposed"),
        reads("bias", "[N]", optional=True),
        enum("transposed", semantics.Transposed),
    ],
    "dst = x @ w + bias, operands rounded to bfloat16, summed in float32.",
    semantics.gemm,
    timing.gemm,
    counts=timing.gemm_counts,
)
