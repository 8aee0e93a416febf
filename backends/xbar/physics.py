"""Phase-change memory as a statistical device: programming error, drift of the conductance, 1/f read noise.

Conductances are relative to the technology's `g_max_us` throughout (multiply by it for microsiemens), and `time_s`
counts from the end of programming, when the device is `t0_s` old; t = time_s + t0_s below is the device's age.
A weight is a pair of conductances, W = (G+ - G-) * scale, one of which has the target 0 but is programmed, drifts and
is read with noise like any other.

The formulas are the published fits of two measured technologies, as the IBM Analog Hardware Acceleration Kit writes
them (aihwkit 4545f11, `inference/noise/hermes.py` and `inference/noise/pcm.py`; method: Nandakumar et al., ICECS
2019): with x the target over g_max, xi a standard normal number and ln the natural logarithm,

    programmed   g_P = max(x + sigma_prog(x) xi, 0)
    exponent     nu  = |mu_nu(x) + sigma_nu(x) xi|
    drifted      g_D = g_P (t / t0)^-nu
    read         g   = max(g_D + g_D Q(g_P) sqrt(ln((t + t_read) / (2 t_read))) xi, 0)

Q is taken at the programmed conductance, not at the target, as in the code that was fitted (aihwkit issue 436 notes
the difference from its documentation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Conductance = Float32Array | float
"""Relative conductances; a plain number stands for devices that share a target."""

_X_FLOOR = np.float32(1e-7)
"""Where ln(x) is cut off (aihwkit `_ZERO_CLIP`); every curve is clipped long before."""


class Pcm(Protocol):
    """What a PCM technology must say of itself; every curve takes and returns values relative to `g_max_us`."""

    @property
    def g_max_us(self) -> float:
        """The largest conductance that is programmed, in microsiemens."""
        ...

    @property
    def t0_s(self) -> float:
        """Age of a device at the end of programming, when drift starts to count, in seconds."""
        ...

    @property
    def t_read_s(self) -> float:
        """Duration of the reads that the 1/f noise was fitted to, in seconds."""
        ...

    def programming_sigma(self, target: Conductance) -> Conductance:
        """Standard deviation of the programmed conductance around its target."""
        ...

    def drift_exponent(self, target: Conductance) -> tuple[Conductance, Conductance]:
        """Mean and standard deviation of the drift exponent nu over devices of this target."""
        ...

    def read_noise(self, programmed: Float32Array) -> Float32Array:
        """Q: the 1/f noise over the conductance, before the factor that grows with time."""
        ...


@dataclass(frozen=True, slots=True)
class HermesPcm:
    """The PCM of IBM's HERMES chips, as aihwkit's `HermesNoiseModel` fits it (Le Gallo et al., Nature Electronics 2023;
    Khaddam-Aljameh et al., JSSC 2022).

    `devices` per polarity: 1 is programmed conventionally, 2 by the more accurate method of Vasilopoulos et al., TED
    2023. With 2, drift is modelled as if both held the same conductance, which is worse than measured on the chip (note
    in the fitted code). The scales multiply the three effects and are 1 for the measured devices.
    """

    devices: int = 2
    programming_scale: float = 1.0
    drift_scale: float = 1.0
    read_scale: float = 1.0
    t_read_s: float = 512e-9
    """aihwkit hermes.py: t_read = 512 ns."""

    def __post_init__(self) -> None:
        if self.devices not in (1, 2):
            raise ValueError(f"HermesPcm has 1 or 2 devices per polarity, not {self.devices}")

    @property
    def g_max_us(self) -> float:
        """20.7 uS with two devices, 10.35 uS with one (aihwkit hermes.py)."""
        return 20.7 if self.devices == 2 else 10.35

    @property
    def t0_s(self) -> float:
        """300 s with two devices, 200 s with one (aihwkit hermes.py)."""
        return 300.0 if self.devices == 2 else 200.0

    def programming_sigma(self, target: Conductance) -> Conductance:
        """Cubic in x; coefficients in uS at the measured g_max (aihwkit hermes.py, `prog_coeff`)."""
        if self.devices == 2:
            c0, c1, c2, c3 = 0.16603222, 4.71806468, -8.48101252, 4.68961419
        else:
            c0, c1, c2, c3 = 0.15781817, 2.32443916, -2.16310839, 0.68841818
        return _polynomial(target, self.programming_scale / self.g_max_us, (c0, c1, c2, c3))

    def drift_exponent(self, target: Conductance) -> tuple[Conductance, Conductance]:
        """Logarithms in x below a knee and quadratics above it (aihwkit hermes.py, `generate_drift_coefficients`).

        mu_nu: clip(-0.0387 ln x - 0.0182, 0.0720, 0.13) for x < 0.0945, else -0.0436 x^2 - 0.0126 x + 0.0736.
        sigma_nu, 2 devices: clip(-0.0117 ln x - 0.0057, 0.0091, 0.04) for x < 0.3055, else
        -0.0118 x^2 + 0.0093 x + 0.0073; 1 device: clip(-0.0120 ln x - 0.0023, 0.0124, 0.04) for x < 0.3039, else
        -0.0165 x^2 + 0.0116 x + 0.0104.
        """
        log_x = _log(target)
        mean = _branch(target, 0.0945, _clipped_line(log_x, -0.0387, -0.0182, 0.0720, 0.13), (0.0736, -0.0126, -0.0436))
        if self.devices == 2:
            low = _clipped_line(log_x, -0.0117, -0.0057, 0.0091, 0.04)
            spread = _branch(target, 0.3055, low, (0.0073, 0.0093, -0.0118))
        else:
            low = _clipped_line(log_x, -0.0120, -0.0023, 0.0124, 0.04)
            spread = _branch(target, 0.3039, low, (0.0104, 0.0116, -0.0165))
        return mean * np.float32(self.drift_scale), spread * np.float32(self.drift_scale)

    def read_noise(self, programmed: Float32Array) -> Float32Array:
        """A logarithm below a knee and a cubic above it (aihwkit hermes.py, `apply_drift_noise_to_conductance`).

        2 devices: clip(-0.0117 ln x - 0.0069, 0.015, 0.04) for x < 0.16, else
        0.0069 x^3 - 0.0280 x^2 + 0.0211 x + 0.0123; 1 device: clip(-0.0078 ln x + 0.0038, 0.0179, 0.04) for
        x < 0.1591, else 0.0664 x^3 - 0.1352 x^2 + 0.0768 x + 0.0088.
        """
        log_x = _log(programmed)
        if self.devices == 2:
            low = _clipped_line(log_x, -0.0117, -0.0069, 0.015, 0.04)
            q = _branch(programmed, 0.16, low, (0.0123, 0.0211, -0.0280, 0.0069))
        else:
            low = _clipped_line(log_x, -0.0078, 0.0038, 0.0179, 0.04)
            q = _branch(programmed, 0.1591, low, (0.0088, 0.0768, -0.1352, 0.0664))
        return np.multiply(q, np.float32(self.read_scale), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PcmLike:
    """Doped-GST mushroom PCM of a million-device chip, as aihwkit's `PCMLikeNoiseModel` fits it (Nandakumar et al.,
    ICECS 2019; Joshi et al., Nature Communications 2020).

    The programming polynomial was measured at 25 uS and scales with g_max (aihwkit pcm.py, step 1), so relative to
    `g_max_us` it does not depend on it.
    """

    g_max_us: float = 25.0
    t0_s: float = 20.0
    t_read_s: float = 250e-9
    programming_scale: float = 1.0
    drift_scale: float = 1.0
    read_scale: float = 1.0

    def programming_sigma(self, target: Conductance) -> Conductance:
        """(0.26348 + 1.9650 x - 1.1731 x^2) / 25 uS (aihwkit pcm.py, `prog_coeff`)."""
        return _polynomial(target, self.programming_scale / 25.0, (0.26348, 1.9650, -1.1731))

    def drift_exponent(self, target: Conductance) -> tuple[Conductance, Conductance]:
        """mu = clip(-0.0155 ln x + 0.0244, 0.049, 0.1), sigma = clip(-0.0125 ln x - 0.0059, 0.008, 0.045) (pcm.py)."""
        log_x = _log(target)
        mean = _clipped_line(log_x, -0.0155, 0.0244, 0.049, 0.1)
        spread = _clipped_line(log_x, -0.0125, -0.0059, 0.008, 0.045)
        return mean * np.float32(self.drift_scale), spread * np.float32(self.drift_scale)

    def read_noise(self, programmed: Float32Array) -> Float32Array:
        """Q = min(0.0088 / max(x^0.65, 1e-3), 0.2) (aihwkit pcm.py)."""
        # x^-0.65 as exp(-0.65 ln x): NumPy vectorises exp and log in float32, but not power. x^0.65 falls below 1e-3
        # only where the result is cut to 0.2 anyway.
        q = _log(programmed)
        q *= np.float32(-0.65)
        np.exp(q, out=q)
        q *= np.float32(0.0088)
        np.minimum(q, np.float32(0.2), out=q)
        q *= np.float32(self.read_scale)
        return q


TECHNOLOGIES: Mapping[str, type[HermesPcm] | type[PcmLike]] = {"HermesPcm": HermesPcm, "PcmLike": PcmLike}
"""What a system file may name as the `model` of a technology."""


@unique
class Purpose(IntEnum):
    """What a stream of random numbers is for; part of its key, so the values never change."""

    PROGRAM = 1
    DRIFT = 2
    READ = 3
    COMPENSATE = 4
    MVM = 5


def stream(seed: int, key: int, array: tuple[int, int], purpose: Purpose, index: int = 0) -> np.random.Generator:
    """A stream of random numbers that depends on its arguments alone, not on what was drawn before.

    `seed` is the session's, `key` the matrix's, `array` the row and column tile, and `index` counts whatever happens
    more than once, such as MVMs; `time_index` makes one of a time. All are below 2^64. The words are of fixed number
    and width, so two keys share a stream only by a collision of SeedSequence's 128-bit hash.

    Raises `ValueError` for a number out of range.
    """
    numbers = (seed, key, *array, int(purpose), index)
    if not all(0 <= number < 2**64 for number in numbers):
        raise ValueError(f"seed, key, array, purpose and index {numbers} must be in 0 .. 2^64 - 1")
    words = np.array(numbers, np.uint64).view(np.uint32)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words.tolist())))


def time_index(time_s: float) -> int:
    """A time as the index of a stream: the bits of the float64."""
    return int(np.float64(time_s).view(np.uint64))


def program(
    model: Pcm, target: Conductance, rng: np.random.Generator, shape: tuple[int, ...] | None = None
) -> Float32Array:
    """Programmed relative conductances max(x + sigma_prog xi, 0), float32; a number as `target` needs a `shape`."""
    conductance = rng.standard_normal(np.shape(target) if shape is None else shape, dtype=np.float32)
    conductance *= model.programming_sigma(target)
    if not isinstance(target, float) or target:
        conductance += target
    return np.maximum(conductance, np.float32(0), out=conductance)


def drift_exponents(
    model: Pcm, target: Conductance, rng: np.random.Generator, shape: tuple[int, ...] | None = None
) -> Float32Array:
    """Drift exponents nu = |mu_nu + sigma_nu xi| of single devices, float32; a number as `target` needs a `shape`."""
    mean, spread = model.drift_exponent(target)
    exponent = rng.standard_normal(np.shape(target) if shape is None else shape, dtype=np.float32)
    exponent *= spread
    exponent += mean
    return np.abs(exponent, out=exponent)


def drift(model: Pcm, programmed: Float32Array, exponent: Float32Array, time_s: float) -> Float32Array:
    """Conductances g_P (t / t0)^-nu at `time_s` after programming, float32; before drift nothing changes.

    Raises `ValueError` for a negative time.
    """
    if time_s < 0:
        raise ValueError(f"time_s {time_s} lies before the end of programming")
    factor = np.multiply(exponent, np.float32(-math.log1p(time_s / model.t0_s)))
    np.exp(factor, out=factor)
    factor *= programmed
    return factor


def read_noise_growth(model: Pcm, time_s: float) -> float:
    """ln((t + t_read) / (2 t_read)): the variance of 1/f noise gathered since programming, over (g Q)^2."""
    return _growth(model, time_s + model.t0_s)


def read_noise_sigma(model: Pcm, programmed: Float32Array, drifted: Float32Array, time_s: float) -> Float32Array:
    """Standard deviation g_D Q(g_P) sqrt(ln((t + t_read) / (2 t_read))) of a conductance as read, float32."""
    return model.read_noise(programmed) * drifted * np.float32(math.sqrt(read_noise_growth(model, time_s)))


def split_read_noise(model: Pcm, time_s: float, interval_s: float) -> tuple[float, float]:
    """Share the growth of 1/f noise between what stays and what is fresh in each MVM; returns (frozen, fresh).

    Two reads `interval_s` apart share the components of the noise that are slower than that; the faster ones, whose
    variance is (g Q)^2 ln((interval + t_read) / (2 t_read)) by the same law, differ from one read to the next. So
    frozen + fresh is the growth that the technology states, whatever the interval; 0 freezes all of it.
    """
    total = read_noise_growth(model, time_s)
    fresh = min(_growth(model, interval_s), total)
    return total - fresh, fresh


def _growth(model: Pcm, age_s: float) -> float:
    return max(math.log((age_s + model.t_read_s) / (2 * model.t_read_s)), 0.0)


def _log(x: Conductance) -> Float32Array:
    floored = np.maximum(x, _X_FLOOR, dtype=np.float32)
    return np.log(floored, out=floored) if floored.ndim else np.log(floored)


def _clipped_line(log_x: Float32Array, slope: float, offset: float, low: float, high: float) -> Float32Array:
    line = log_x * np.float32(slope)
    line += np.float32(offset)
    return np.clip(line, np.float32(low), np.float32(high))


def _polynomial(x: Conductance, factor: float, coefficients: tuple[float, ...]) -> Conductance:
    """factor * sum c_i x^i by Horner's rule; the coefficients come in ascending order."""
    if isinstance(x, float):
        return factor * math.fsum(c * x**i for i, c in enumerate(coefficients))
    *rest, last = (np.float32(factor * c) for c in coefficients)
    total = np.full_like(x, last)
    for coefficient in reversed(rest):
        total *= x
        total += coefficient
    return total


def _branch(x: Conductance, knee: float, low: Float32Array, high: tuple[float, ...]) -> Float32Array:
    """`low` where x < knee, else the polynomial `high`."""
    return np.where(np.less(x, np.float32(knee)), low, np.asarray(_polynomial(x, 1.0, high), np.float32))
