"""The arrays that hold one weight matrix: what is programmed into them, how it ages, and their noisy MVM.

A matrix (in_features, out_features) is cut into row tiles and column tiles, one array each. The partial sums of a
column's row tiles are converted one by one and added digitally, in float32.

Slow noise (programming error, drift, 1/f noise slower than the interval between two MVMs of an array) belongs to the
cells and is drawn when they are programmed or aged, each array from its own stream: the order of programming changes
nothing, and a matrix at a given time is the same however it got there. The faster part of the 1/f noise differs from
one MVM to the next. It is added to the outputs with the variance that the cells imply,

    sigma_i^2 = sum_j sigma_ij^2 x_j^2,   sigma_ij^2 = scale_i^2 (g_D+^2 Q+^2 + g_D-^2 Q-^2) * fresh growth,

as a second matrix product with the squares of what the DAC drives (`ReadNoise.CELLS`), or with the variances replaced
by the product of their row and column sums (`ReadNoise.FACTORED`), which needs neither the memory nor the time of a
second matrix and keeps the noise power of each row and of each column.

Not modelled: IR drop, nonlinearity of the ADC, faulty cells, endurance, temperature, the effect of the phases.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, unique
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.xbar.converters import (
    Converters,
    Ranges,
    codes_per_unit,
    ranges_from_samples,
    ranges_from_weights,
    steps_per_side,
    to_codes,
)
from crossbank.backends.xbar.physics import (
    HermesPcm,
    Pcm,
    Purpose,
    drift,
    drift_exponents,
    program,
    split_read_noise,
    stream,
    time_index,
)

Float32Array = NDArray[np.float32]

READ_INTERVAL_S = 1e-3
"""Assumed: the time between two MVMs of the same array while tokens are generated one by one."""
READ_OUT_VECTORS = 16
"""MVMs per read-out for drift compensation. Assumed: with 256 columns their mean is good to about 0.2 %."""
_BLOCK_ROWS = 64
"""Rows of an array whose cells are worked out together: their temporaries stay in the cache."""
_COMPENSATION_FLOOR = 1e-4
"""Smallest mean response that is divided by, relative to the response at programming (aihwkit `drift.py`: 1e-4)."""


@unique
class MvmMode(Enum):
    """How much of the device an MVM shows."""

    IDEAL = "ideal"
    """The original weights in float32, without converters."""
    QUANTISED = "quantised"
    """The original weights behind the converters, without noise."""
    NOISY = "noisy"
    """The cells as they are, read with noise, behind the converters."""


@unique
class ReadNoise(Enum):
    """How the fresh read noise of an MVM's outputs is worked out."""

    CELLS = "cells"
    """From every cell's own variance; as much memory again as the weights, and twice the time of an MVM."""
    FACTORED = "factored"
    """From the product of row and column sums of the variances."""
    FROZEN = "frozen"
    """Not at all: all of the noise freezes when the cells age, as in aihwkit."""


class NotProgrammedError(RuntimeError):
    """A noisy MVM, or ageing, of arrays that nothing has been programmed into."""


class _Programming(NamedTuple):
    seed: int
    key: int
    response: Float32Array
    """Mean absolute read-out (row_tiles, column_tiles) right after programming."""


class _Age(NamedTuple):
    """A time since programming (None: no drift yet), and how 1/f noise of that age splits."""

    time_s: float | None
    frozen: float
    fresh: float


class _Streams(NamedTuple):
    """One array's random numbers."""

    program: np.random.Generator
    drift: np.random.Generator
    read: np.random.Generator


class ArrayGroup:
    """All arrays of one weight matrix (in_features, out_features).

    `column_scales` (row_tiles, out_features) is the weight at which a column's conductance is g_max, larger weights
    being cut off; by default the abs-max of the column in each array, so that each uses the full range. `ranges` are
    the converters' full scales; by default `ranges_from_weights`, and see `calibrate`. `weights` is kept, not copied,
    where it is float32, C-contiguous and needs neither padding nor cutting off.
    """

    def __init__(
        self,
        weights: Float32Array,
        *,
        rows: int = 256,
        columns: int = 256,
        technology: Pcm | None = None,
        converters: Converters | None = None,
        ranges: Ranges | None = None,
        column_scales: Float32Array | None = None,
        read_noise: ReadNoise = ReadNoise.CELLS,
        read_interval_s: float = READ_INTERVAL_S,
    ) -> None:
        if weights.ndim != 2 or 0 in weights.shape or rows < 1 or columns < 1:
            raise ValueError(f"a weight {weights.shape} can't be put into arrays of {rows}x{columns}")
        self.technology: Pcm = HermesPcm() if technology is None else technology
        self.converters = Converters() if converters is None else converters
        self.read_noise = read_noise
        self.read_interval_s = read_interval_s
        self.weights = np.ascontiguousarray(weights, np.float32)
        self.in_features, self.out_features = weights.shape
        self._height = min(rows, self.in_features)
        self._width = min(columns, self.out_features)
        self.row_tiles = -(-self.in_features // self._height)
        self.column_tiles = -(-self.out_features // self._width)

        self._tiles = self._tiled(self.weights)
        if column_scales is None:
            self.column_scales = np.abs(self._tiles).max(axis=1)
        else:
            self.column_scales = np.ascontiguousarray(column_scales, np.float32)
            if self.column_scales.shape != (self.row_tiles, self.out_features):
                raise ValueError(
                    f"column_scales {self.column_scales.shape} must be {(self.row_tiles, self.out_features)}"
                )
            limit = self.column_scales[:, None, :]
            self._tiles = np.clip(self._tiles, -limit, limit)
        self._cells: Float32Array | None = None
        self._variances: Float32Array | None = None
        self._variance_rows: Float32Array | None = None
        self._programming: _Programming | None = None
        self._time_s: float | None = None
        self._gain = np.ones((self.row_tiles, 1, self.out_features), np.float32)
        self.compensation = np.ones((self.row_tiles, self.column_tiles), np.float32)
        self.ranges = ranges_from_weights(self._tiles) if ranges is None else ranges

    @property
    def ranges(self) -> Ranges:
        """The full scales of the converters; may be replaced at any time."""
        return self._ranges

    @ranges.setter
    def ranges(self, ranges: Ranges) -> None:
        if ranges.output_bound.shape != (self.row_tiles, self.out_features):
            raise ValueError(f"output_bound {ranges.output_bound.shape} must be {(self.row_tiles, self.out_features)}")
        self._ranges = ranges
        self._input_bound = ranges.input_bound[:, None, None].astype(np.float32)
        self._output_bound = ranges.output_bound[:, None, :].astype(np.float32)
        if self.converters.input_bits is not None:
            self._dac_scale = codes_per_unit(self._input_bound, self.converters.input_bits)
        if self.converters.output_bits is not None:
            self._adc_scale = codes_per_unit(self._output_bound, self.converters.output_bits)

    @property
    def effective_weights(self) -> Float32Array:
        """The weights (in_features, out_features) that the cells amount to now, without compensation or fresh noise."""
        return self._programmed_cells().reshape(-1, self.out_features)[: self.in_features]

    def calibrate(self, x: Float32Array, per_vector: bool = False) -> Ranges:
        """Set and return the ranges with the least error on inputs `x` (lanes, in_features) of the original weights."""
        samples = self._split(x).transpose(1, 0, 2)
        self.ranges = ranges_from_samples(self._tiles, samples, self.converters, per_vector)
        return self.ranges

    def program(self, seed: int, key: int) -> None:
        """Program the weights, with the technology's error, and read the arrays out for later compensation.

        `seed` is the session's, `key` the matrix's (both below 2^64). Drift and frozen read noise come with `at`.
        """
        self._draw_cells(seed, key, None)
        self._set_compensation(np.ones((self.row_tiles, self.column_tiles), np.float32))
        self._programming = _Programming(seed, key, self._read_out(seed, key, None))

    def at(self, time_s: float, drift_compensation: bool = True) -> None:
        """Let the arrays be `time_s` seconds after the end of programming, forwards or backwards.

        Compensation is global: one digital factor per array, the mean absolute response to known vectors after
        programming over that at `time_s` (aihwkit `compensation/drift.py`), both read through DAC, noisy array and ADC.
        The vectors are random signs at an amplitude that suits the ADC, where aihwkit reads one row at a time: the
        response then is far above a step of the ADC.

        Raises `NotProgrammedError` before `program`, `ValueError` for a negative time.
        """
        if self._programming is None:
            raise NotProgrammedError("at: the arrays have not been programmed")
        if not time_s >= 0:
            raise ValueError(f"time_s {time_s} lies before the end of programming")
        seed, key, response = self._programming
        self._draw_cells(seed, key, time_s)
        self._time_s = time_s
        self._set_compensation(np.ones_like(response))
        if drift_compensation:
            self.compensate()

    def compensate(self) -> None:
        """Read the arrays out as they are now and set the compensation factors; `NotProgrammedError` before `at`."""
        if self._programming is None or self._time_s is None:
            raise NotProgrammedError("compensate: the arrays have not been programmed and aged")
        seed, key, response = self._programming
        factors = np.ones_like(response)
        now = np.maximum(self._read_out(seed, key, self._time_s), np.float32(_COMPENSATION_FLOOR) * response)
        np.divide(response, now, out=factors, where=response > 0)
        self._set_compensation(factors)

    def mvm(
        self,
        x: Float32Array,
        mode: MvmMode = MvmMode.NOISY,
        rng: np.random.Generator | None = None,
        *,
        partials: bool = False,
    ) -> Float32Array:
        """The product of `x` (lanes, in_features) float32 with the matrix: (lanes, out_features) float32.

        With `partials`, the partial sums (lanes, row_tiles, out_features) before they are added. `rng` draws the fresh
        read noise, and may be left out where there is none.

        Raises `NotProgrammedError` in noisy mode before `program`, `ValueError` for a wrong shape or a missing `rng`.
        """
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x {x.shape} must be (lanes, {self.in_features})")
        if mode is MvmMode.IDEAL:
            if not partials:
                return np.asarray(x, np.float32) @ self.weights
            sums = self._split(x) @ self._tiled(self.weights)
        elif mode is MvmMode.QUANTISED:
            sums = self._through_converters(self._split(x), self._tiles, None)
        else:
            cells = self._programmed_cells()
            if rng is None and self._variances is not None:
                raise ValueError("mvm: a noisy MVM needs an rng")
            sums = self._through_converters(self._split(x), cells, rng)
            sums *= self._gain
        return sums.transpose(1, 0, 2) if partials else np.add.reduce(sums, axis=0)

    # Values in and out

    def _tiled(self, weights: Float32Array) -> Float32Array:
        """(row_tiles, height, out_features), padded with zero rows; a view where nothing is to pad."""
        missing = self.row_tiles * self._height - self.in_features
        padded = np.pad(weights, ((0, missing), (0, 0))) if missing else weights
        return padded.reshape(self.row_tiles, self._height, self.out_features)

    def _split(self, x: Float32Array) -> Float32Array:
        """(row_tiles, lanes, height), padded with zeros."""
        missing = self.row_tiles * self._height - self.in_features
        padded = np.pad(x, ((0, 0), (0, missing))) if missing else x
        return np.asarray(padded, np.float32).reshape(len(x), self.row_tiles, self._height).transpose(1, 0, 2)

    def _through_converters(
        self,
        x: Float32Array,
        weights: Float32Array,
        rng: np.random.Generator | None,
        per_vector: bool | None = None,
    ) -> Float32Array:
        """Partial sums (row_tiles, lanes, out_features) of `x` (row_tiles, lanes, height); fresh noise if `rng`."""
        size = None
        if self.ranges.per_vector if per_vector is None else per_vector:
            size = np.divide(np.abs(x).max(axis=2, keepdims=True), self._input_bound, dtype=np.float32)
            x = np.divide(x, np.where(size > 0, size, np.float32(1)), dtype=np.float32)
        bits = self.converters.input_bits
        if bits is not None:
            x = to_codes(x, self._dac_scale, bits)
            x *= self._input_bound / np.float32(steps_per_side(bits))
        y = np.matmul(x, weights)
        if rng is not None and self._variances is not None:
            y += self._fresh_noise(x, self._variances, rng)
        bits = self.converters.output_bits
        if bits is not None:
            y = to_codes(y, self._adc_scale, bits)
            y *= self._output_bound / np.float32(steps_per_side(bits))
        if size is not None:
            y *= size
        return y

    def _fresh_noise(self, x: Float32Array, variances: Float32Array, rng: np.random.Generator) -> Float32Array:
        power = np.square(x)
        sigma: Float32Array
        if self._variance_rows is None:
            sigma = np.matmul(power, variances)
        else:
            sigma = np.matmul(power, self._variance_rows) * variances
        np.sqrt(sigma, out=sigma)
        tiles, lanes, outputs = sigma.shape
        # One vector after another, so that it makes no difference how many come at once.
        sigma *= rng.standard_normal((lanes, tiles, outputs), dtype=np.float32).transpose(1, 0, 2)
        return sigma

    # Cells

    def _programmed_cells(self) -> Float32Array:
        if self._cells is None:
            raise NotProgrammedError("the arrays have not been programmed")
        return self._cells

    def _draw_cells(self, seed: int, key: int, time_s: float | None) -> None:
        """Work out every array's cells at `time_s`; None is right after programming, before any read noise froze."""
        cells = self._cells if self._cells is not None else np.zeros_like(self._tiles)
        variances = np.zeros_like(self._tiles) if self.read_noise is not ReadNoise.FROZEN else None
        interval_s = 0.0 if variances is None else self.read_interval_s
        frozen, fresh = split_read_noise(self.technology, time_s or 0.0, interval_s)
        age = _Age(time_s, 0.0 if time_s is None else frozen, fresh)

        def draw(array: tuple[int, int]) -> None:
            row_tile, column_tile = array
            streams = _Streams(
                stream(seed, key, array, Purpose.PROGRAM),
                stream(seed, key, array, Purpose.DRIFT),
                stream(seed, key, array, Purpose.READ, time_index(time_s or 0.0)),
            )
            used = min(self._height, self.in_features - row_tile * self._height)
            columns = slice(column_tile * self._width, min((column_tile + 1) * self._width, self.out_features))
            scales = self.column_scales[row_tile, columns]
            for start in range(0, used, _BLOCK_ROWS):
                block = row_tile, slice(start, min(start + _BLOCK_ROWS, used)), columns
                cells[block], variance = _draw_block(self.technology, self._tiles[block], scales, age, streams)
                if variances is not None:
                    variances[block] = variance

        arrays = [(row, column) for row in range(self.row_tiles) for column in range(self.column_tiles)]
        with ThreadPoolExecutor(min(len(arrays), os.cpu_count() or 1)) as pool:
            for _ in pool.map(draw, arrays):
                pass
        self._cells, self._variances, self._variance_rows = cells, variances, None
        if variances is not None and self.read_noise is ReadNoise.FACTORED:
            by_row = variances.sum(axis=2, keepdims=True)
            total = by_row.sum(axis=1, keepdims=True)
            self._variance_rows = by_row
            shares = variances.sum(axis=1, keepdims=True) / np.where(total > 0, total, np.float32(1))
            self._variances = shares.astype(np.float32, copy=False)

    # Compensation

    def _set_compensation(self, factors: Float32Array) -> None:
        self.compensation = factors.astype(np.float32)
        spread = np.repeat(self.compensation, self._width, axis=1)[:, : self.out_features]
        self._gain = np.ascontiguousarray(spread[:, None, :])

    def _read_out(self, seed: int, key: int, time_s: float | None) -> Float32Array:
        """Mean absolute response (row_tiles, column_tiles) of the arrays to vectors of random signs, per unit."""
        x = np.zeros((self.row_tiles, READ_OUT_VECTORS, self._height), np.float32)
        amplitudes = self._read_out_amplitudes()
        for row_tile, amplitude in enumerate(amplitudes):
            signs = stream(seed, key, (row_tile, 0), Purpose.COMPENSATE).integers(0, 2, x.shape[1:])
            x[row_tile] = amplitude * (2 * signs - 1)
        # -1 is no time that `at` takes, so the read-out at programming has noise of its own.
        rng = stream(seed, key, (0, 1), Purpose.COMPENSATE, time_index(-1.0 if time_s is None else time_s))
        response = np.abs(self._through_converters(x, self._programmed_cells(), rng, per_vector=False)).mean(axis=1)
        response /= np.maximum(amplitudes, np.finfo(np.float32).tiny)[:, None]
        means = [
            response[:, column : column + self._width].mean(axis=1)
            for column in range(0, self.out_features, self._width)
        ]
        return np.stack(means, axis=1).astype(np.float32, copy=False)

    def _read_out_amplitudes(self) -> Float32Array:
        """Per row tile, the input at which 4 standard deviations of a median column fill the ADC, at most the DAC's."""
        amplitudes = self.ranges.input_bound.copy()
        norms = np.linalg.norm(self._tiles, axis=1)
        for row_tile, (norm, bound) in enumerate(zip(norms, self.ranges.output_bound, strict=True)):
            used = norm > 0
            if used.any():
                amplitudes[row_tile] = min(amplitudes[row_tile], float(np.median(bound[used] / norm[used])) / 4)
        return amplitudes


def _draw_block(
    model: Pcm, weights: Float32Array, scales: Float32Array, age: _Age, streams: _Streams
) -> tuple[Float32Array, Float32Array]:
    """The weights that some cells of an array amount to, and the variances of their fresh noise per squared input."""
    target = np.abs(weights)
    target *= np.divide(1, scales, out=np.zeros_like(scales), where=scales > np.finfo(np.float32).tiny)

    # One device of each pair holds the weight, the other the target 0; which is which only decides the sign.
    programmed = program(model, target, streams.program), program(model, 0.0, streams.program, target.shape)
    read = programmed
    if age.time_s is not None:
        exponents = (
            drift_exponents(model, target, streams.drift),
            drift_exponents(model, 0.0, streams.drift, target.shape),
        )
        held, rest = (drift(model, g, nu, age.time_s) for g, nu in zip(programmed, exponents, strict=True))
        read = held, rest

    variance = np.zeros_like(target)
    if age.frozen or age.fresh:
        for g_programmed, g in zip(programmed, read, strict=True):
            sigma = model.read_noise(g_programmed)
            sigma *= g
            variance += np.square(sigma)
            if age.frozen:
                sigma *= np.float32(math.sqrt(age.frozen))
                sigma *= streams.read.standard_normal(sigma.shape, dtype=np.float32)
                g += sigma
                np.maximum(g, np.float32(0), out=g)
        variance *= np.square(scales) * np.float32(age.fresh)
    cells = read[0] - read[1]
    cells *= np.copysign(scales, weights)
    return cells, variance
