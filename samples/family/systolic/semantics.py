"""What the systolic array computes: operands are rounded to bfloat16, products are summed in float32."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray


class Transposed(IntEnum):
    """Whether a matrix lies as [N, K]."""

    NO = 0
    YES = 1


class Unit:
    """The state of one array: whether it rounds at all."""

    def __init__(self, config: Mapping[str, Any], machine: Any) -> None:
        self.rounds = not machine.ideal

    def operand(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """An operand as the array takes it."""
        return x.astype(ml_dtypes.bfloat16).astype(np.float32) if self.rounds else x.astype(np.float32)


def gemm(unit: Unit, o: Any) -> None:
    """dst = x @ w + bias; operands have a leading axis of lanes, the trips of a parallel loop."""
    w = unit.operand(o.w)
    w = w.swapaxes(-1, -2) if o.transposed else w
    w = w.reshape(w.shape[0], *(1,) * (o.x.ndim - w.ndim), *w.shape[1:])
    value = unit.operand(o.x) @ w
    o.dst[...] = value if o.bias is None else value + o.bias[:, *(None,) * (o.x.ndim - 2)]
