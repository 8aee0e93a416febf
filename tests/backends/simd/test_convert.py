"""Casts to 8-bit floats: the tables of ONNX's Cast, and what ml_dtypes rounds."""

from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from crossbank.backends.simd.elementwise import convert
from crossbank.backends.simd.kinds import Flag, Rounding

SMALL = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]


def converted(values: list[float], dtype: type, saturate: bool, rounding: Rounding = Rounding.NEAREST) -> np.ndarray:
    dst = np.empty((1, len(values)), dtype)
    src = np.array([values], np.float32)
    convert(None, SimpleNamespace(dst=dst, src=src, saturate=Flag(saturate), rounding=rounding))
    return dst[0].astype(np.float32)


@pytest.mark.parametrize("dtype", SMALL)
def test_what_fits_is_rounded_to_nearest(dtype: type) -> None:
    values = [0.0, 0.3, -1.7, 13.9, -200.0]
    expected = np.array(values, np.float32).astype(dtype).astype(np.float32)
    for saturate in (False, True):
        np.testing.assert_array_equal(converted(values, dtype, saturate), expected)


@pytest.mark.parametrize("dtype", SMALL)
def test_what_does_not_fit(dtype: type) -> None:
    most = float(ml_dtypes.finfo(dtype).max)
    values = [1e6, -1e6, np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(converted(values, dtype, True), [most, -most, most, -most, np.nan])
    lost = [np.inf, -np.inf, np.inf, -np.inf] if dtype is ml_dtypes.float8_e5m2 else [np.nan] * 4
    np.testing.assert_array_equal(converted(values, dtype, False), [*lost, np.nan])


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [(Rounding.UP, [1, 2, 2, 4, 0.5]), (Rounding.DOWN, [1, 1, 1, 2, 0.25]), (Rounding.NEAREST, [1, 1, 2, 4, 0.25])],
)
def test_powers_of_two(rounding: Rounding, expected: list[float]) -> None:
    found = converted([1.0, 1.2, 1.5, 3.5, 0.3], ml_dtypes.float8_e8m0fnu, True, rounding)
    np.testing.assert_array_equal(found, expected)


def test_ends_of_powers_of_two() -> None:
    values = [0.0, np.inf, np.nan, 3.4e38]
    saturated = converted(values, ml_dtypes.float8_e8m0fnu, True, Rounding.UP)
    np.testing.assert_array_equal(saturated, [2.0**-127, 2.0**127, np.nan, 2.0**127])
    lost = converted(values, ml_dtypes.float8_e8m0fnu, False, Rounding.NEAREST)
    np.testing.assert_array_equal(lost, [np.nan] * 4)
