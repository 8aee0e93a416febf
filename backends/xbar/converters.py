"""The way into an array and out of it: DAC, ADC, their ranges, and how to choose the ranges.

Both converters are uniform, symmetric and saturating, with 2^bits - 2 steps over [-bound, bound], so that zero is a
code and 8 bits have 254 steps (aihwkit `analog_mvm.py`, resolution 1 / (2^8 - 2)). Round first, then saturate.

Ranges decide what converters cost a language model. In bits per byte on the first windows of `samples/tiny_llama`'s
held-out text, 8 bits in and out with calibrated ranges add 0.001 to 0.002, and 6 bits 0.04. What was learnt there:

- Activations have a few channels far above the rest, and cutting those off does far more harm than coarse steps.
  `least_error_bound` weighs saturation against step size by squared error, which on such data ends at or near the
  largest magnitude, and on Gaussian data near 4 standard deviations. A quantile cuts a fixed share off, whatever it is
  worth: the 99 % quantile adds 4 bits per byte, the 99.9 % quantile 0.03.
- A saturated ADC is worse still, and the sums of trained weights are larger than those of random ones: columns are
  aligned with the inputs they look for (cosines up to 0.9), so a bound of 4 ||w||_2 x_rms adds 2 bits per byte. Without
  samples the bound is therefore the largest sum there can be, ||w||_2 ||x||_2 by Cauchy and Schwarz, which costs steps:
  nothing that shows at 8 bits, 0.07 instead of 0.04 at 6 bits.
- With samples it is k times the root mean square of each column's sums, with one k per row tile from the pooled
  normalised sums, drawn towards the largest possible sum while samples are few: 8 vectors add 0.001 then, but 1.6
  without it. The abs-max of each column's sums over 1024 vectors, which leaves no margin, adds 0.04. The chip scales
  each column in its local digital unit.
- Scaling each vector to the DAC's range by its abs-max (aihwkit's noise management ABS_MAX, aihwkit-lightning's dynamic
  range) follows outliers from token to token: on a par at 8 bits, 0.03 instead of 0.04 at 6 bits. It costs the digital
  unit a reduction per row tile. It is what `ranges_from_weights` does, since nothing is known of the inputs then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

BINS_PER_OCTAVE = 16
OCTAVES = 24
"""Magnitudes further than this below the largest count as zero: 2^-24 is float32's own resolution."""
PRIOR_SAMPLES = 32
"""How many samples of a column the largest sum that it can have is worth; least loss on `samples/tiny_llama`."""
_GAUSSIAN_K = {2: 1.71, 3: 2.15, 4: 2.55, 5: 2.93, 6: 3.28, 7: 3.61, 8: 3.92}
"""Bound over standard deviation with the least squared error on Gaussian data (Banner et al., NeurIPS 2019)."""
FLAT_CREST = 3.0
"""Abs-max over root mean square of a vector of 256 Gaussian values is 2.9 on average (derived); activations are hardly
ever flatter, and a more peaked vector leaves the ADC more room."""


@dataclass(frozen=True, slots=True)
class Converters:
    """The converters of an array; None for bits means an ideal one, which neither rounds nor saturates.

    `phases` is 1, all signs at once, or 4, one conversion per pair of signs of input and weight. It sets time and
    energy: every phase takes its own PWM period and ADC conversion. Its effect on accuracy is not modelled: the PCM
    fits were measured with 4 phases (t_read = 512 ns), so values in 1-phase mode, which the chip's authors call
    low-precision without a figure in the abstract (Le Gallo et al., Nature Electronics 2023), are optimistic.
    """

    input_bits: int | None = 8
    output_bits: int | None = 8
    phases: int = 4

    def __post_init__(self) -> None:
        if self.phases not in (1, 4):
            raise ValueError(f"an array is read in 1 or 4 phases, not {self.phases}")
        for bits in (self.input_bits, self.output_bits):
            if bits is not None and not 2 <= bits <= 24:
                raise ValueError(f"a converter has 2 to 24 bits, not {bits}")


@dataclass(frozen=True, slots=True)
class Ranges:
    """The full scales of a matrix's converters, in the units of its inputs and partial sums.

    `input_bound` is (row_tiles,), `output_bound` (row_tiles, columns). With `per_vector` the digital unit scales each
    vector's part in a row tile so that its abs-max fills the DAC, and both bounds hold relative to that: the ADC's full
    scale for a vector of abs-max m is output_bound * m / input_bound.
    """

    input_bound: Float32Array
    output_bound: Float32Array
    per_vector: bool = False

    def __post_init__(self) -> None:
        if self.input_bound.ndim != 1 or self.output_bound.ndim != 2:
            raise ValueError("input_bound must be (row_tiles,) and output_bound (row_tiles, columns)")
        if len(self.input_bound) != len(self.output_bound):
            raise ValueError(f"{len(self.input_bound)} input bounds for {len(self.output_bound)} rows of output bounds")
        for bound in (self.input_bound, self.output_bound):
            if not (np.isfinite(bound).all() and (bound >= 0).all()):
                raise ValueError("bounds must be finite and not negative")


def steps_per_side(bits: int) -> int:
    """The largest code of a converter: 2^(bits-1) - 1, half of the 2^bits - 2 steps."""
    return 2 ** (bits - 1) - 1


def gaussian_k(bits: int | None) -> float:
    """Bound over standard deviation with the least squared error on Gaussian data.

    Beyond the published 8 bits it goes on by 0.28 a bit, and an ideal converter takes what 8 bits take.
    """
    return 3.92 if bits is None else _GAUSSIAN_K.get(bits, 3.92 + 0.28 * (bits - 8))


def quantise_input(x: Float32Array, bound: Float32Array | float, bits: int | None) -> Float32Array:
    """What a PWM DAC drives for float32 `x`: rounded to 2^bits - 2 steps over [-bound, bound], saturated; fresh array.

    `bound` broadcasts against `x`; where it is 0, so is the result. `bits` None bypasses the converter.
    """
    return _quantise(x, bound, bits)


def quantise_output(y: Float32Array, bound: Float32Array | float, bits: int | None) -> Float32Array:
    """What an ADC reads of float32 `y`: rounded to 2^bits - 2 steps over [-bound, bound], saturated; fresh array.

    `bound` broadcasts against `y`; where it is 0, so is the result. `bits` None bypasses the converter.
    """
    return _quantise(y, bound, bits)


def codes_per_unit(bound: Float32Array | float, bits: int) -> Float32Array:
    """The factor from values to codes, 0 where the bound is 0."""
    bound = np.asarray(bound, np.float32)
    safe = np.where(bound > 0, bound, np.float32(np.inf))
    return np.divide(np.float32(steps_per_side(bits)), safe, dtype=np.float32)


def to_codes(values: Float32Array, scale: Float32Array, bits: int) -> Float32Array:
    """The codes of `values`, as whole float32 numbers; `scale` from `codes_per_unit`."""
    codes = values * scale
    np.rint(codes, out=codes)
    limit = np.float32(steps_per_side(bits))
    return np.clip(codes, -limit, limit, out=codes)


def _quantise(values: Float32Array, bound: Float32Array | float, bits: int | None) -> Float32Array:
    if bits is None:
        return np.array(values, np.float32)
    codes = to_codes(values, codes_per_unit(bound, bits), bits)
    codes *= np.asarray(bound, np.float32) / np.float32(steps_per_side(bits))
    return codes


def least_error_bound(samples: NDArray[np.floating], bits: int | None) -> float:
    """The bound of a `bits` converter with the least squared error on `samples` (any shape); 0 if they are all zero.

    Candidates are the abs-max over 2^(i/8). Inside the bound a sample errs by step^2 / 12 on average, or by itself if
    it rounds to zero; outside by what is cut off (Banner et al., NeurIPS 2019, for these terms). An ideal converter,
    `bits` None, takes the abs-max.
    """
    magnitude = np.abs(samples).ravel()
    largest = float(magnitude.max(initial=0.0))
    if largest == 0.0 or bits is None:
        return largest
    octaves_below = -np.log2(np.maximum(magnitude / largest, 2.0**-OCTAVES))
    bins = (octaves_below * BINS_PER_OCTAVE).astype(np.int64)
    counts = np.bincount(bins, minlength=BINS_PER_OCTAVE * OCTAVES + 1).astype(np.float64)
    centres = largest * 2.0 ** (-(np.arange(len(counts)) + 0.5) / BINS_PER_OCTAVE)
    centres[0] = largest  # the tail counts in full
    candidates = largest * 2.0 ** (-np.arange(8 * 6) / 8)
    step = (candidates / steps_per_side(bits))[:, None]
    error = np.where(centres > step / 2, step**2 / 12, centres**2)
    error = np.where(centres > candidates[:, None], (centres - candidates[:, None]) ** 2, error)
    return float(candidates[np.argmin(error @ counts)])


def ranges_from_samples(
    tiles: Float32Array, samples: Float32Array, converters: Converters, per_vector: bool = False
) -> Ranges:
    """Ranges from calibration inputs.

    `tiles` is (row_tiles, rows, columns) and `samples` (lanes, row_tiles, rows), both zero where they pad. A few
    hundred lanes that stand for the use of the matrix are enough.
    """
    inputs, outputs = zip(*_tile_ranges(tiles, samples, converters, per_vector), strict=True)
    return Ranges(np.array(inputs, np.float32), np.stack(outputs), per_vector)


def _tile_ranges(
    tiles: Float32Array, samples: Float32Array, converters: Converters, per_vector: bool
) -> Iterator[tuple[float, Float32Array]]:
    for row_tile, weights in enumerate(tiles):
        x = samples[:, row_tile]
        if per_vector:
            scaled = x / np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            x = scaled.astype(np.float32, copy=False)
        bound = 1.0 if per_vector else least_error_bound(x, converters.input_bits)
        sums = quantise_input(x, bound, converters.input_bits) @ weights
        rms = np.sqrt(np.square(sums).mean(axis=0, dtype=np.float64))
        normalised = sums / np.where(rms > 0, rms, 1.0)
        k = max(least_error_bound(normalised, converters.output_bits), gaussian_k(converters.output_bits))
        largest = _norms(weights, axis=0) * _norms(x, axis=1).max(initial=0.0)
        square = (len(x) * np.square(k * rms) + PRIOR_SAMPLES * np.square(largest)) / (len(x) + PRIOR_SAMPLES)
        yield bound, np.sqrt(square).astype(np.float32)


def _norms(matrix: Float32Array, axis: int) -> Float32Array:
    return np.asarray(np.linalg.norm(matrix, axis=axis), np.float32)


def ranges_from_weights(tiles: Float32Array) -> Ranges:
    """Ranges per vector without calibration; `tiles` is (row_tiles, rows, columns).

    The ADC's bound is the largest sum that a vector of abs-max 1 and root mean square 1 / `FLAT_CREST` can have.
    """
    output_bound = np.linalg.norm(tiles, axis=1) * (np.sqrt(tiles.shape[1]) / FLAT_CREST)
    return Ranges(np.ones(len(tiles), np.float32), output_bound.astype(np.float32), per_vector=True)
