"""Which operands the instructions of the matrix engine can be executed with."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossbank.runtime.isa import Check
from crossbank.runtime.operand_rules import all_of, blocks, expect, fits, kinds, product, rank, refuse, shape_text


def _gemm(o: Any, config: Any) -> None:
    features, width = o.dst.shape[-1], o.x.shape[-1]
    expect("w", o.w.shape, (features, width) if o.transposed else (width, features))
    expect("dst", o.dst.shape[:-1], o.x.shape[:-1])
    if o.bias is not None:
        expect("bias", o.bias.shape, (features,))
    blocks("w", "scales", "zeros")(o, config)


def _matmul(o: Any, config: Any) -> None:
    product(o)


def _attention(o: Any, config: Any) -> None:
    if not len(o.q.shape) == len(o.k.shape) == len(o.v.shape) == 4:
        refuse("queries, keys and values have four dimensions")
    batch, heads, rows, width = o.q.shape
    groups, tokens = o.k.shape[1:3]
    expect("k", o.k.shape, (batch, groups, tokens, width))
    expect("v", o.v.shape[:-1], (batch, groups, tokens))
    expect("dst", o.dst.shape, (batch, heads, rows, o.v.shape[-1]))
    if np.any(np.asarray(groups) < 1) or np.any(np.asarray(heads) % np.maximum(groups, 1)):
        refuse(f"q {shape_text(o.q.shape)} has heads that are no multiple of those of k {shape_text(o.k.shape)}")
    if o.mask is not None and (len(o.mask.shape) != 4 or not fits(o.mask.shape, (batch, heads, rows, tokens))):
        refuse(f"mask is {shape_text(o.mask.shape)} for {shape_text((batch, heads, rows, tokens))}")


GEMM: Check = all_of(rank(1, "dst", "x"), kinds("fi", "dst", "x", "w", "bias"), _gemm)
MATMUL: Check = all_of(kinds("fi", "dst", "a", "b"), _matmul)
ATTENTION: Check = all_of(kinds("f", "dst", "q", "k", "v"), kinds("fb", "mask"), _attention)
