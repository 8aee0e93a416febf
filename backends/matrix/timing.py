"""What the instructions of the matrix engine cost: products at its peak against bytes moved; see `roofline`."""

from __future__ import annotations

from typing import Any

from crossbank.backends.roofline import Work, matmul_work


def gemm(o: Any) -> Work:
    """Rows of x times the features on both sides."""
    shape, rows = o.dst.shape, 1
    for dim in shape[:-1]:
        rows = rows * dim
    return Work(products=((1, rows, shape[-1], o.x.shape[-1]),))


matmul = matmul_work


def attention(o: Any) -> Work:
    """Scores and their sums over all tokens (what the causal mask hides is computed too), and a softmax."""
    batch, heads, rows, width = o.q.shape
    tokens = o.k.shape[2]
    scores = batch * heads * rows * tokens
    return Work(
        simple=scores * 6,
        special=scores * (2 if o.softcap else 1),
        products=((batch * heads, rows, tokens, width), (batch * heads, rows, o.v.shape[3], tokens)),
    )
