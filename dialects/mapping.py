"""What phases and families tell each other about where work and weights go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr


@dataclass(frozen=True)
class Legality:
    """Whether an engine takes an operation: `preference` orders the engines that do (higher is better).

    A refusal says why and what would make it legal.
    """

    legal: bool
    preference: int = 0
    reason: str = ""
    remedy: str = ""


class Dimension(StrEnum):
    """What of a matrix or cache is spread over units."""

    ROWS = "rows"
    """K: each part makes partial sums."""
    COLUMNS = "columns"
    """N: parts lie side by side."""
    HEADS = "heads"
    TOKENS = "tokens"
    HEAD_DIM = "head_dim"


@dataclass(frozen=True)
class Split:
    """A dimension in `parts` over units that work at the same time: `over` arrays, banks, channels …"""

    dimension: Dimension
    over: str
    parts: int


@dataclass(frozen=True)
class CacheSplit:
    """How the keys and the values of a cache are spread."""

    keys: tuple[Split, ...]
    values: tuple[Split, ...]


def parts_of(splits: tuple[Split, ...], dimension: Dimension) -> int:
    """Into how many parts a dimension is cut, over all kinds of units."""
    return math.prod(split.parts for split in splits if split.dimension is dimension)


@dataclass(frozen=True)
class Tiling:
    """How one [K, N] weight is cut for an engine, once it is split.

    `grid` is (row tiles, column tiles), `tile` (rows, columns) of one; an instance needs `units` consecutive units (a
    unit is what the family says: an array, a DRAM row across all banks), within one group if `within_group`.
    `units_per_group` units make a group (a device, a chip); `bytes` is what the weight occupies, `padded_bytes` with
    padding.
    """

    grid: tuple[int, int]
    tile: tuple[int, int]
    units: int
    units_per_group: int
    within_group: bool
    bytes: int
    padded_bytes: int
    unit_name: str = "unit"
    group_name: str = "chip"


class Reduction(StrEnum):
    """Where the partial sums of a matrix that is cut along K are added."""

    ENGINE = "engine"
    """In accumulators of the engine that makes them."""
    VECTOR_UNIT = "vector-unit"
    """They are read out, and the vector unit adds them."""


@dataclass(frozen=True)
class Placement:
    """Where the instances of one weight lie: the first unit of each call's instance, counted over all groups."""

    tiling: Tiling
    first_unit: NDArray[np.int64]
    reduction: Reduction = Reduction.ENGINE


@dataclass(frozen=True)
class WeightInfo:
    """A static matrix, as the phases hand it to a family: [K, N], stored transposed ([N, K]) if `transposed`."""

    name: str
    tensors: tuple[str, ...]
    dtype: str
    in_features: int
    out_features: int
    transposed: bool
    load: Callable[[str], NDArray[Any]] | None = field(default=None, compare=False)
    """Reads one of `tensors` as stored; None where the model is shape-only."""


@dataclass(frozen=True)
class CacheInfo:
    """A pair of KV caches [batch, groups, tokens, head_dim] each, at capacity, once per call of the function with it.

    `batch`, `past` and `new` are the expressions of a step: tokens in use are past + new.
    """

    name: str
    calls: int
    max_batch: int
    groups: int
    context: int
    head_dim: int
    dtype: str
    batch: Expr
    past: Expr
    new: Expr
