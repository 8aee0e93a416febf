"""DAC and ADC as functions, and how their ranges are chosen."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from crossbank.backends.xbar.converters import (
    Converters,
    Ranges,
    gaussian_k,
    least_error_bound,
    quantise_input,
    quantise_output,
    ranges_from_samples,
    ranges_from_weights,
    steps_per_side,
)

BITS = st.integers(2, 12)
BOUND = st.floats(2.0**-10, 2.0**10, width=32)
VALUES = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**11), 2.0**11, width=32))


@pytest.mark.parametrize("quantise", [quantise_input, quantise_output])
@given(x=VALUES, bound=BOUND, bits=BITS)
def test_converter_properties(
    quantise: Callable[[NDArray[np.float32], float, int], NDArray[np.float32]],
    x: NDArray[np.float32],
    bound: float,
    bits: int,
) -> None:
    y = quantise(x, bound, bits)
    step = bound / steps_per_side(bits)
    slack = 1e-5 * bound
    inside = np.abs(x) <= bound
    assert (np.abs(y - x)[inside] <= step / 2 + slack).all()
    np.testing.assert_allclose(y[~inside], np.sign(x[~inside]) * bound, rtol=1e-6)
    np.testing.assert_array_equal(quantise(y, bound, bits), y)
    np.testing.assert_array_equal(quantise(-x, bound, bits), -y)
    assert y.dtype == np.float32


def test_eight_bits_have_254_steps() -> None:
    codes = np.unique(quantise_input(np.linspace(-1.2, 1.2, 100_001, dtype=np.float32), 1.0, 8))
    assert len(codes) == 255
    np.testing.assert_allclose(np.diff(codes), 2 / 254, rtol=1e-4)


def test_ideal_converter_passes_values_in_a_fresh_array() -> None:
    x = np.array([1e9, -3.3], np.float32)
    y = quantise_output(x, 1.0, None)
    np.testing.assert_array_equal(y, x)
    assert y is not x


def test_bounds_broadcast_and_zero_gives_zero() -> None:
    x = np.ones((2, 3), np.float32)
    y = quantise_output(x, np.array([0.0, 0.5, 2.0], np.float32), 8)
    np.testing.assert_allclose(y, [[0, 0.5, 1]] * 2, atol=2 / 127)


def _error(x: NDArray[np.float32], bound: float, bits: int) -> float:
    return float(np.mean(np.square(quantise_input(x, bound, bits) - x)))


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("kind", ["gaussian", "heavy", "outlier channel", "sparse"])
def test_least_error_bound_is_close_to_the_best(kind: str, bits: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((512, 256)).astype(np.float32)
    if kind == "heavy":
        x = rng.standard_t(3, x.shape).astype(np.float32)
    elif kind == "outlier channel":
        x[:, 7] *= 40
    elif kind == "sparse":
        x = np.where(x > 1.5, x, 0).astype(np.float32)
    chosen = _error(x, least_error_bound(x, bits), bits)
    best = min(_error(x, float(b), bits) for b in np.abs(x).max() * np.geomspace(0.02, 1, 80))
    assert chosen <= 1.25 * best


def test_gaussian_samples_want_the_known_multiple_of_sigma() -> None:
    x = np.random.default_rng(6).standard_normal(1_000_000)
    for bits in (3, 4, 6, 8):
        assert least_error_bound(x, bits) == pytest.approx(gaussian_k(bits), rel=0.1)
    assert gaussian_k(9) > gaussian_k(8) == gaussian_k(None)


def test_least_error_bound_at_the_edges() -> None:
    assert least_error_bound(np.zeros(5), 8) == 0.0
    assert least_error_bound(np.array([-3.0, 1.0]), None) == 3.0
    assert least_error_bound(np.array([2.0]), 8) == 2.0


def _matrix_and_inputs(outlier: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    tiles = rng.standard_normal((2, 128, 96)).astype(np.float32)
    x = rng.standard_normal((400, 2, 128)).astype(np.float32)
    x[:, 0, 3] *= outlier
    return tiles, x


def _error_behind_converters(ranges: Ranges, tiles: NDArray[np.float32], x: NDArray[np.float32]) -> float:
    error, power = 0.0, 0.0
    for tile in range(len(tiles)):
        size = np.ones((len(x), 1), np.float32)
        if ranges.per_vector:
            size = np.abs(x[:, tile]).max(axis=1, keepdims=True)
        driven = quantise_input(x[:, tile] / size, float(ranges.input_bound[tile]), 8)
        y = quantise_output(driven @ tiles[tile], ranges.output_bound[tile], 8) * size
        exact = x[:, tile] @ tiles[tile]
        error += float(np.square(y - exact).sum())
        power += float(np.square(exact).sum())
    return float(np.sqrt(error / power))


@pytest.mark.parametrize("per_vector", [False, True])
def test_calibrated_ranges_keep_the_error_small(per_vector: bool) -> None:
    tiles, x = _matrix_and_inputs(outlier=30.0)
    calibrated = ranges_from_samples(tiles, x[:200], Converters(), per_vector)
    assert calibrated.per_vector is per_vector
    assert calibrated.input_bound.shape == (2,)
    assert calibrated.output_bound.shape == (2, 96)
    # The outlier channel alone takes half of the DAC's steps from the others where the range is static.
    assert _error_behind_converters(calibrated, tiles, x[200:]) < (0.06 if per_vector else 0.09)


def test_columns_aligned_with_their_inputs_do_not_saturate() -> None:
    """As in trained models, where sums are several times those of random weights."""
    tiles, x = _matrix_and_inputs(outlier=1.0)
    x += 2 * tiles[:, :, 5]
    for ranges in (
        ranges_from_weights(tiles),
        ranges_from_samples(tiles, x[:4], Converters()),
        ranges_from_samples(tiles, x[:4], Converters(), per_vector=True),
    ):
        assert _error_behind_converters(ranges, tiles, x[200:]) < 0.04


def test_ranges_follow_each_column() -> None:
    tiles, x = _matrix_and_inputs(outlier=1.0)
    tiles[:, :, 5] *= 10
    bounds = ranges_from_samples(tiles, x, Converters()).output_bound
    np.testing.assert_allclose(bounds[:, 5] / np.delete(bounds, 5, axis=1).mean(axis=1), 10, rtol=0.15)


def test_few_samples_leave_more_room() -> None:
    tiles, x = _matrix_and_inputs(outlier=1.0)
    few = ranges_from_samples(tiles, x[:1], Converters()).output_bound
    many = ranges_from_samples(tiles, x, Converters()).output_bound
    assert (few > many).all()
    assert (few < 4 * many).all()


def test_ranges_from_weights_are_per_vector_and_follow_the_norms() -> None:
    tiles, _ = _matrix_and_inputs(outlier=1.0)
    ranges = ranges_from_weights(tiles)
    assert ranges.per_vector
    np.testing.assert_allclose(ranges.output_bound, np.sqrt(128) / 3 * np.linalg.norm(tiles, axis=1), rtol=1e-6)


def test_zero_tiles_have_zero_ranges() -> None:
    tiles = np.zeros((1, 8, 4), np.float32)
    ranges = ranges_from_samples(tiles, np.zeros((3, 1, 8), np.float32), Converters())
    assert not ranges.output_bound.any()
    assert not ranges.input_bound.any()


def test_refused_converters_and_ranges() -> None:
    with pytest.raises(ValueError, match="1 or 4 phases"):
        Converters(phases=2)
    with pytest.raises(ValueError, match="2 to 24 bits"):
        Converters(output_bits=1)
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="finite and not negative"):
        Ranges(-one, np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="row_tiles"):
        Ranges(one, one)
    with pytest.raises(ValueError, match="rows of output bounds"):
        Ranges(one, np.ones((2, 4), np.float32))
