"""What of attention's scores is computed and then hidden: by the causal limit, and by a mask whose values are known.

A float mask hides where it adds half of its type's lowest number or less, as exporters write what is meant as minus
infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossbank.backends.arithmetic import Array, positions, wide

CAUSAL, MASK = "causal", "mask"


@dataclass(frozen=True)
class Scores:
    """How many scores an instruction takes and, by reason, how many of them nobody sees: see `counts.Counts`."""

    count: Any
    hidden: Mapping[str, Any]


NONE = Scores(0, {})


def of_rows(o: Any) -> Scores:
    """Those of a masked softmax over src [.., T], columns from `limit` on hidden."""
    *outer, tokens = o.src.shape
    rows = math.prod(outer)
    hidden = {CAUSAL: rows * np.maximum(tokens - o.limit, 0)}
    if o.mask is not None and o.mask.values is not None:
        limits = np.asarray(o.limit).reshape(-1, *(1,) * len(o.src.shape))
        hidden[MASK] = _masked(o.mask.values, o.src.shape, limits)
    return Scores(rows * tokens, hidden)


def of_attention(o: Any) -> Scores:
    """Those of q [B, H, S, D] with k [B, G, T, D]; if causal, query i sees keys 0 … past + i only."""
    batch, heads, rows, _ = o.q.shape
    tokens = o.k.shape[2]
    first = np.maximum(tokens - o.past - 1, 0) if o.causal else 0
    some = np.minimum(rows, first)
    hidden = {CAUSAL: batch * heads * (some * first - some * (some - 1) // 2)}
    if o.mask is not None and o.mask.values is not None:
        limits = np.asarray(tokens).reshape(1, 1, 1, 1, 1)
        if o.causal:
            limits = np.asarray(o.past).reshape(-1, 1, 1, 1, 1) + positions(rows)[:, None] + 1
        hidden[MASK] = _masked(o.mask.values, (batch, heads, rows, tokens), limits)
    return Scores(batch * heads * rows * tokens, hidden)


def _masked(mask: Array, shape: tuple[int, ...], limits: Array) -> Array:
    """How many entries below their row's limit a mask (lanes or 1, …) of scores (lanes, *shape) hides, per lane."""
    if mask.dtype == np.bool_:
        hides = ~mask
    else:
        values = wide(mask)
        hides = values <= np.finfo(mask.dtype if mask.dtype.kind == "f" else values.dtype).min / 2
    lanes = max(len(mask), len(limits))
    hides = hides.reshape(len(hides), *(1,) * (len(shape) + 1 - hides.ndim), *hides.shape[1:])
    return (np.broadcast_to(hides, (lanes, *shape)) & (positions(shape[-1]) < limits)).reshape(lanes, -1).sum(axis=1)
