"""The device fits against the numbers of their sources, and the random streams.

Anchors are those of docs of the fits: evaluated from the cited formulas (aihwkit 4545f11) to the digits given.
"""

import math

import numpy as np
import pytest

from crossbank.backends.xbar.physics import (
    TECHNOLOGIES,
    HermesPcm,
    Pcm,
    PcmLike,
    Purpose,
    drift,
    drift_exponents,
    program,
    read_noise_growth,
    read_noise_sigma,
    split_read_noise,
    stream,
    time_index,
)

HOUR_S, DAY_S = 3600.0, 86400.0
TARGETS = np.array([0, 0.1, 0.25, 0.5, 0.75, 1], np.float32)


@pytest.mark.parametrize(
    ("model", "percent"),
    [
        (PcmLike(), [1.05, 1.79, 2.73, 3.81, 4.31, 4.22]),
        (HermesPcm(2), [0.80, 2.69, 4.29, 4.79, 4.41, 5.28]),
        (HermesPcm(1), [1.52, 3.57, 5.94, 8.36, 9.42, 9.73]),
    ],
)
def test_programming_sigma_over_g_max(model: Pcm, percent: list[float]) -> None:
    sigma = np.asarray(model.programming_sigma(TARGETS))
    np.testing.assert_allclose(100 * sigma, percent, atol=0.0051)
    for target, expected in zip(TARGETS, sigma, strict=True):
        assert model.programming_sigma(float(target)) == pytest.approx(float(expected), rel=1e-6)


def test_programming_error_is_relative_to_any_g_max() -> None:
    np.testing.assert_array_equal(
        np.asarray(PcmLike(g_max_us=30.0).programming_sigma(TARGETS)), np.asarray(PcmLike().programming_sigma(TARGETS))
    )


@pytest.mark.parametrize(
    ("time_s", "high", "low"),
    [
        (1.0, 0.998, 0.997),
        (HOUR_S, 0.775, 0.732),
        (DAY_S, 0.663, 0.605),
        (30 * DAY_S, 0.562, 0.493),
        (365 * DAY_S, 0.497, 0.424),
    ],
)
def test_pcm_like_drift_of_the_mean_exponent(time_s: float, high: float, low: float) -> None:
    model = PcmLike()
    targets = np.array([0.1, 0.25, 0.5, 1], np.float32)
    mean, _ = model.drift_exponent(targets)
    factor = drift(model, np.ones_like(targets), np.asarray(mean), time_s)
    # The year's anchor for x = 0.1 is rounded up from 0.4238.
    np.testing.assert_allclose(factor, [low, high, high, high], atol=0.001)


@pytest.mark.parametrize("model", [PcmLike(), HermesPcm(2), HermesPcm(1)])
def test_drift_exponents_follow_their_statistics(model: Pcm) -> None:
    for target in (0.0, 0.05, 0.2, 0.5, 1.0):
        mean, spread = (float(np.asarray(v)) for v in model.drift_exponent(target))
        nu = drift_exponents(model, target, np.random.default_rng(1), (200_000,))
        assert nu.dtype == np.float32
        assert (nu >= 0).all()
        # |mean + spread xi| hardly folds: mean is at least 2 spreads in both fits.
        assert float(nu.mean()) == pytest.approx(mean, rel=0.01)
        assert float(nu.std()) == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize(
    ("target", "mean_nu", "sigma_2", "sigma_1"),
    [
        # On both sides of every knee, worked out by hand from the formulas in the docstring.
        (0.01, 0.13, 0.04, 0.04),
        (0.05, -0.0387 * math.log(0.05) - 0.0182, -0.0117 * math.log(0.05) - 0.0057, -0.0120 * math.log(0.05) - 0.0023),
        (0.2, 0.0736 - 0.0126 * 0.2 - 0.0436 * 0.04, -0.0117 * math.log(0.2) - 0.0057, 0.01701325),
        (0.4, 0.0736 - 0.0126 * 0.4 - 0.0436 * 0.16, 0.0073 + 0.00372 - 0.001888, 0.0104 + 0.00464 - 0.00264),
        (1.0, 0.0174, 0.0048, 0.0055),
    ],
)
def test_hermes_exponent_curves(target: float, mean_nu: float, sigma_2: float, sigma_1: float) -> None:
    for devices, sigma in ((2, sigma_2), (1, sigma_1)):
        mean, spread = HermesPcm(devices).drift_exponent(target)
        assert float(np.asarray(mean)) == pytest.approx(mean_nu, rel=1e-5)
        assert float(np.asarray(spread)) == pytest.approx(sigma, rel=1e-5)


@pytest.mark.parametrize(
    ("time_s", "percent"), [(1.0, [3.7, 9.1, 26]), (HOUR_S, [4.2, 10.3, 29]), (DAY_S, [4.5, 11.0, 31])]
)
def test_pcm_like_read_noise(time_s: float, percent: list[float]) -> None:
    conductance = np.array([1, 0.25, 0.05], np.float32)
    sigma = read_noise_sigma(PcmLike(), conductance, conductance, time_s)
    np.testing.assert_allclose(100 * sigma / conductance, percent, rtol=0.015)


def test_hermes_read_noise_curves() -> None:
    x = np.array([1e-3, 0.1, 0.5, 1.0], np.float32)
    two = [0.04, -0.0117 * math.log(0.1) - 0.0069, 0.0069 / 8 - 0.0280 / 4 + 0.0211 / 2 + 0.0123, 0.0123]
    one = [0.04, -0.0078 * math.log(0.1) + 0.0038, 0.0664 / 8 - 0.1352 / 4 + 0.0768 / 2 + 0.0088, 0.0168]
    np.testing.assert_allclose(HermesPcm(2).read_noise(x), two, rtol=1e-5)
    np.testing.assert_allclose(HermesPcm(1).read_noise(x), one, rtol=1e-5)
    assert (HermesPcm().read_noise(np.zeros(3, np.float32)) == np.float32(0.04)).all()


def test_read_noise_grows_by_the_logarithm_of_the_age() -> None:
    model = HermesPcm(2)
    assert read_noise_growth(model, 1.0) == pytest.approx(math.log((301 + 512e-9) / 1024e-9))


@pytest.mark.parametrize("interval_s", [0.0, 1e-7, 1e-3, 1.0, 1e9])
def test_splitting_read_noise_keeps_its_power(interval_s: float) -> None:
    model = HermesPcm(2)
    frozen, fresh = split_read_noise(model, HOUR_S, interval_s)
    assert frozen >= 0
    assert fresh >= 0
    assert frozen + fresh == pytest.approx(read_noise_growth(model, HOUR_S))


def test_programming_adds_noise_and_never_goes_below_zero() -> None:
    model = HermesPcm(2)
    target = np.full(400_000, 0.5, np.float32)
    programmed = program(model, target, np.random.default_rng(3))
    assert programmed.dtype == np.float32
    assert float(programmed.mean()) == pytest.approx(0.5, abs=5e-4)
    assert float(programmed.std()) == pytest.approx(float(np.asarray(model.programming_sigma(0.5))), rel=0.01)
    # Target 0 keeps its own noise, cut at zero: half of the devices are at 0 exactly.
    resting = program(model, 0.0, np.random.default_rng(3), (400_000,))
    assert (resting >= 0).all()
    assert float((resting == 0).mean()) == pytest.approx(0.5, abs=0.005)
    sigma = float(np.asarray(model.programming_sigma(0.0)))
    assert float(resting.mean()) == pytest.approx(sigma / math.sqrt(2 * math.pi), rel=0.01)


def test_scales_switch_effects_off() -> None:
    model = HermesPcm(2, programming_scale=0.0, drift_scale=0.0, read_scale=0.0)
    rng = np.random.default_rng(4)
    programmed = program(model, TARGETS, rng)
    np.testing.assert_array_equal(programmed, TARGETS)
    drifted = drift(model, programmed, drift_exponents(model, TARGETS, rng), DAY_S)
    np.testing.assert_array_equal(drifted, TARGETS)
    assert not read_noise_sigma(model, programmed, drifted, DAY_S).any()


def test_drift_refuses_times_before_programming_ended() -> None:
    with pytest.raises(ValueError, match="before the end of programming"):
        drift(HermesPcm(), TARGETS, TARGETS, -1.0)


def test_devices_and_technologies() -> None:
    with pytest.raises(ValueError, match="1 or 2 devices"):
        HermesPcm(3)
    assert (HermesPcm(2).g_max_us, HermesPcm(2).t0_s) == (20.7, 300.0)
    assert (HermesPcm(1).g_max_us, HermesPcm(1).t0_s) == (10.35, 200.0)
    assert TECHNOLOGIES["HermesPcm"]() == HermesPcm(2)


def test_streams_depend_on_each_part_of_their_key_only() -> None:
    def draw(*key: object) -> float:
        return float(stream(*key).standard_normal())  # pyright: ignore[reportArgumentType]

    base = (7, 11, (1, 2), Purpose.DRIFT, 5)
    others = [
        (8, 11, (1, 2), Purpose.DRIFT, 5),
        (7, 12, (1, 2), Purpose.DRIFT, 5),
        (7, 11, (2, 1), Purpose.DRIFT, 5),
        (7, 11, (1, 2), Purpose.READ, 5),
        (7, 11, (1, 2), Purpose.DRIFT, 6),
        (7 + 2**32, 11, (1, 2), Purpose.DRIFT, 5),
    ]
    first = draw(*base)
    values = {draw(*key) for key in others}
    assert len(values) == len(others)
    assert first not in values
    assert draw(*base) == first
    with pytest.raises(ValueError, match="must be in"):
        stream(-1, 0, (0, 0), Purpose.READ)


def test_times_make_distinct_indices() -> None:
    times = [0.0, 1.0, 1.5, DAY_S, -1.0]
    assert len({time_index(t) for t in times}) == len(times)
