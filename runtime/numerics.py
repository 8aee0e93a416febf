"""Number formats: numpy dtypes by name, with ml_dtypes for what numpy lacks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

_EXTENDED = (
    "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float4_e2m1fn", "int4", "uint4", "int2", "uint2",
)  # fmt: skip
_PLAIN = (
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
)


@lru_cache(maxsize=64)
def dtype_of(name: str) -> np.dtype[Any]:
    """The dtype of a name such as "float32" or "bfloat16"; ValueError for any other."""
    if name in _EXTENDED:
        return np.dtype(getattr(ml_dtypes, name))
    if name in _PLAIN:
        return np.dtype(name)
    raise ValueError(f"{name!r} is no number format of a program")
