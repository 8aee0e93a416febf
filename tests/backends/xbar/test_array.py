"""Groups of arrays: exact when ideal, and as noisy as their cells say when not."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from crossbank.backends.system import load_system
from crossbank.backends.xbar.array import ArrayGroup, MvmMode, NotProgrammedError, ReadNoise
from crossbank.backends.xbar.converters import Converters, quantise_input, quantise_output
from crossbank.backends.xbar.physics import TECHNOLOGIES, HermesPcm, Pcm, PcmLike

Float32Array = NDArray[np.float32]
HOUR_S, DAY_S = 3600.0, 86400.0
BYPASS = Converters(input_bits=None, output_bits=None)
QUIET = HermesPcm(programming_scale=0.0, drift_scale=0.0, read_scale=0.0)


def _gaussian(rows: int, columns: int, lanes: int = 64, seed: int = 0) -> tuple[Float32Array, Float32Array]:
    """A weight clipped at 3 sigma and inputs."""
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.standard_normal((rows, columns)), -3, 3).astype(np.float32)
    return weights, rng.standard_normal((lanes, rows)).astype(np.float32)


def _relative(y: Float32Array, exact: Float32Array) -> float:
    return float(np.linalg.norm(y - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (256, 256), (300, 520), (768, 257)])
def test_ideal_mode_is_the_plain_product(shape: tuple[int, int]) -> None:
    weights, x = _gaussian(*shape)
    group = ArrayGroup(weights)
    np.testing.assert_array_equal(group.mvm(x, MvmMode.IDEAL), x @ weights)
    partials = group.mvm(x, MvmMode.IDEAL, partials=True)
    assert partials.shape == (64, group.row_tiles, shape[1])
    np.testing.assert_allclose(partials.sum(axis=1), x @ weights, rtol=1e-4, atol=1e-4)


def test_quantised_mode_is_the_converters_around_each_array() -> None:
    weights, x = _gaussian(300, 70)
    group = ArrayGroup(weights, rows=128)
    ranges = group.calibrate(x)
    expected = np.zeros((64, 3, 70), np.float32)
    for tile in range(3):
        rows = slice(128 * tile, 128 * (tile + 1))
        driven = quantise_input(x[:, rows], float(ranges.input_bound[tile]), 8)
        expected[:, tile] = quantise_output(driven @ weights[rows], ranges.output_bound[tile], 8)
    partials = group.mvm(x, MvmMode.QUANTISED, partials=True)
    # A sum on the edge between two codes may fall to either side.
    step = ranges.output_bound / 127
    assert (np.abs(partials - expected) <= 1.001 * step).all()
    assert float((np.abs(partials - expected) > 0.5 * step).mean()) < 1e-3
    np.testing.assert_allclose(group.mvm(x, MvmMode.QUANTISED), partials.sum(axis=1), rtol=1e-5, atol=1e-4)
    assert _relative(group.mvm(x, MvmMode.QUANTISED), x @ weights) < 0.03


def test_scaling_per_vector_takes_any_magnitude() -> None:
    weights, x = _gaussian(300, 70)
    group = ArrayGroup(weights)
    assert group.ranges.per_vector
    errors: list[float] = []
    for factor in (1e-3, 1.0, 1e4):
        scaled = np.multiply(x, factor, dtype=np.float32)
        errors.append(_relative(group.mvm(scaled, MvmMode.QUANTISED), scaled @ weights))
    assert max(errors) < 0.045
    assert max(errors) == pytest.approx(min(errors), rel=1e-2)
    assert not group.mvm(np.zeros((2, 300), np.float32), MvmMode.QUANTISED).any()


def test_noisy_mode_without_noise_is_the_quantised_mode() -> None:
    weights, x = _gaussian(300, 300)
    group = ArrayGroup(weights, technology=QUIET)
    group.calibrate(x)
    group.program(1, 2)
    group.at(DAY_S)
    np.testing.assert_allclose(group.effective_weights, weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(group.compensation, 1, rtol=1e-5)
    noisy, quantised = (group.mvm(x, mode, np.random.default_rng(0)) for mode in (MvmMode.NOISY, MvmMode.QUANTISED))
    assert _relative(noisy, quantised) < 1e-3


@pytest.mark.parametrize("read_noise", [ReadNoise.CELLS, ReadNoise.FACTORED, ReadNoise.FROZEN])
@pytest.mark.parametrize(
    ("time_s", "compensated", "plain"),
    [(1.0, 0.111, 0.110), (HOUR_S, 0.126, 0.251), (DAY_S, 0.143, 0.354), (30 * DAY_S, 0.166, 0.450)],
)
def test_whole_mvm_errors_of_pcm_like(time_s: float, compensated: float, plain: float, read_noise: ReadNoise) -> None:
    """Anchors: 512x512 Gaussian weights clipped at 3 sigma, per-column full range, Gaussian inputs, no converters."""
    weights, x = _gaussian(512, 512, lanes=256)
    group = ArrayGroup(
        weights, rows=512, columns=512, technology=PcmLike(), converters=BYPASS, read_noise=read_noise
    )  # fmt: skip
    group.program(3, 4)
    for compensation, expected in ((True, compensated), (False, plain)):
        group.at(time_s, drift_compensation=compensation)
        error = _relative(group.mvm(x, rng=np.random.default_rng(1)), x @ weights)
        assert error == pytest.approx(expected, rel=0.03)


def test_programming_alone_gives_the_error_of_pcm_like() -> None:
    weights, x = _gaussian(512, 512, lanes=256)
    group = ArrayGroup(weights, rows=512, columns=512, technology=PcmLike(), converters=BYPASS)
    group.program(3, 4)
    assert _relative(x @ group.effective_weights, x @ weights) == pytest.approx(0.086, rel=0.03)


@pytest.mark.parametrize(
    ("devices", "programmed", "after_1_s", "after_1_day", "after_30_days"),
    # Our own, for regression: no published figure for this case.
    [(2, 0.113, 0.134, 0.165, 0.204), (1, 0.179, 0.200, 0.228, 0.264)],
)
def test_whole_mvm_errors_of_hermes(
    devices: int, programmed: float, after_1_s: float, after_1_day: float, after_30_days: float
) -> None:
    weights, x = _gaussian(512, 512, lanes=256)
    group = ArrayGroup(weights, technology=HermesPcm(devices), converters=BYPASS)
    group.program(3, 4)
    assert _relative(x @ group.effective_weights, x @ weights) == pytest.approx(programmed, rel=0.03)
    for time_s, expected in ((1.0, after_1_s), (DAY_S, after_1_day), (30 * DAY_S, after_30_days)):
        group.at(time_s)
        assert _relative(group.mvm(x, rng=np.random.default_rng(1)), x @ weights) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("technology", [HermesPcm(2), HermesPcm(1), PcmLike()])
def test_compensation_helps_behind_converters(technology: Pcm) -> None:
    weights, x = _gaussian(512, 300)
    group = ArrayGroup(weights, technology=technology)
    group.calibrate(x)
    group.program(5, 6)
    errors: dict[bool, float] = {}
    for compensation in (True, False):
        group.at(DAY_S, drift_compensation=compensation)
        errors[compensation] = _relative(group.mvm(x, rng=np.random.default_rng(1)), x @ weights)
        assert group.compensation.shape == (2, 2)
    assert errors[True] < 0.8 * errors[False]


@pytest.mark.parametrize("read_noise", [ReadNoise.CELLS, ReadNoise.FACTORED])
def test_fresh_noise_has_the_variance_that_the_cells_imply(read_noise: ReadNoise) -> None:
    """Monte Carlo against cells read one by one, each with its own noise."""
    weights, x = _gaussian(96, 40, lanes=3)
    x[0, 5] = 12.0  # an outlier channel, as language models have
    interval_s = 1e-3
    group = ArrayGroup(weights, converters=BYPASS, read_noise=read_noise, read_interval_s=interval_s)
    group.program(7, 8)
    # The share of 1/f noise faster than the interval.
    growth = np.log((interval_s + 512e-9) / 1024e-9)
    rng = np.random.default_rng(9)
    draws = np.stack([group.mvm(x, rng=rng) for _ in range(4000)])
    measured = draws.var(axis=0)
    np.testing.assert_allclose(draws.mean(axis=0), x @ group.effective_weights, atol=0.12)

    model = HermesPcm()
    scale = np.abs(weights).max(axis=0)
    # The resting device adds little; its own noise is bounded by Q <= 0.04 of a conductance of a few sigma_prog(0).
    conductance = np.abs(group.effective_weights) / scale
    cell = np.square(conductance * model.read_noise(conductance.astype(np.float32)) * scale) * growth
    implied = np.square(x) @ cell
    if read_noise is ReadNoise.CELLS:
        np.testing.assert_allclose(measured, implied, rtol=0.15)
        assert float(measured.mean()) == pytest.approx(float(implied.mean()), rel=0.02)
    else:
        # Without the outlier, factors are near; with it only in the mean over columns.
        assert float(measured[1:].mean()) == pytest.approx(float(implied[1:].mean()), rel=0.05)
        assert float(np.abs(measured[1:] / implied[1:] - 1).mean()) < 0.15


def test_frozen_and_fresh_noise_together_do_not_depend_on_the_interval() -> None:
    weights, x = _gaussian(256, 256, lanes=512)
    errors: list[float] = []
    for interval_s in (0.0, 1e-3, 1.0):
        group = ArrayGroup(weights, converters=BYPASS, read_interval_s=interval_s)
        group.program(1, 1)
        group.at(HOUR_S)
        errors.append(_relative(group.mvm(x, rng=np.random.default_rng(2)), x @ weights))
    assert max(errors) == pytest.approx(min(errors), rel=0.02)


def test_cells_depend_on_seed_and_key_but_not_on_what_happened_before() -> None:
    weights, _ = _gaussian(300, 300)

    def cells(seed: int, key: int, times: tuple[float, ...]) -> Float32Array:
        group = ArrayGroup(weights)
        group.program(seed, key)
        for time_s in times:
            group.at(time_s)
        return group.effective_weights.copy()

    straight = cells(1, 2, (DAY_S,))
    np.testing.assert_array_equal(cells(1, 2, (DAY_S, HOUR_S, DAY_S)), straight)
    for other in (cells(2, 2, (DAY_S,)), cells(1, 3, (DAY_S,)), cells(1, 2, (HOUR_S,))):
        assert _relative(other, straight) > 0.05


def test_arrays_draw_independently_of_their_neighbours() -> None:
    weights, _ = _gaussian(512, 512)
    whole, corner = ArrayGroup(weights), ArrayGroup(np.ascontiguousarray(weights[:256, :256]))
    for group in (whole, corner):
        group.program(1, 2)
        group.at(HOUR_S)
    np.testing.assert_array_equal(whole.effective_weights[:256, :256], corner.effective_weights)
    errors = (whole.effective_weights - weights)[:256]
    assert abs(float(np.corrcoef(errors[:, :256].ravel(), errors[:, 256:].ravel())[0, 1])) < 0.02


def test_programming_anew_replaces_the_old_state() -> None:
    weights, _ = _gaussian(100, 100)
    group, fresh = ArrayGroup(weights), ArrayGroup(weights)
    group.program(1, 2)
    group.at(DAY_S)
    for g in (group, fresh):
        g.program(3, 2)
    np.testing.assert_array_equal(group.effective_weights, fresh.effective_weights)
    np.testing.assert_array_equal(group.compensation, 1)


def test_column_scales_cut_weights_off() -> None:
    weights, x = _gaussian(64, 32)
    scales = np.full((1, 32), 1.5, np.float32)
    group = ArrayGroup(weights, technology=QUIET, converters=BYPASS, column_scales=scales)
    group.program(1, 2)
    np.testing.assert_allclose(group.effective_weights, np.clip(weights, -1.5, 1.5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(group.mvm(x, MvmMode.QUANTISED), x @ np.clip(weights, -1.5, 1.5), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(group.mvm(x, MvmMode.IDEAL), x @ weights)


def test_columns_of_zeros_stay_zero() -> None:
    weights, x = _gaussian(300, 40)
    weights[:, 3] = 0
    group = ArrayGroup(weights)
    group.calibrate(x)
    group.program(1, 2)
    group.at(DAY_S)
    y = group.mvm(x, rng=np.random.default_rng(0))
    assert np.isfinite(y).all()
    assert not y[:, 3].any()


def test_refusals() -> None:
    weights, x = _gaussian(64, 32)
    group = ArrayGroup(weights)
    for call in (lambda: group.mvm(x), lambda: group.at(1.0), lambda: group.effective_weights):
        with pytest.raises(NotProgrammedError):
            call()
    group.program(1, 2)
    with pytest.raises(ValueError, match="needs an rng"):
        group.mvm(x)
    with pytest.raises(ValueError, match="must be \\(lanes, 64\\)"):
        group.mvm(x[:, :-1], MvmMode.IDEAL)
    with pytest.raises(ValueError, match="before the end of programming"):
        group.at(-1.0)
    with pytest.raises(ValueError, match="can't be put into arrays"):
        ArrayGroup(np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="column_scales"):
        ArrayGroup(weights, column_scales=np.ones((2, 32), np.float32))
    with pytest.raises(ValueError, match="output_bound"):
        ArrayGroup(weights, ranges=ArrayGroup(weights[:, :8].copy()).ranges)


def test_hermes_file_reproduces_the_published_peaks() -> None:
    """63.1 TOPS at 9.76 TOPS/W in one phase, 16.1 TOPS at 2.48 TOPS/W in four (Nature Electronics 2023, abstract)."""
    system = load_system("hermes")
    analog = system.engine("xbar")
    assert analog is not None
    rows, columns, arrays = (analog.integer("organisation", key) for key in ("rows", "columns", "arrays"))
    operations = 2 * rows * columns * arrays
    for phases, tops, tops_per_w in ((1, 63.1, 9.76), (4, 16.1, 2.48)):
        time_s = analog.integer("timing", f"mvm_{phases}phase_ps") * 1e-12
        assert operations / time_s == pytest.approx(tops * 1e12, rel=1e-5)
        dynamic_pj = (
            analog.number("energy", "crossbar_pj_per_mvm")
            + phases * columns * analog.number("energy", "adc_pj_per_conversion")
            + phases * rows * analog.number("energy", "dac_pj_per_conversion")
            + columns * analog.number("energy", "digital_pj_per_output")
        )
        energy_j = arrays * dynamic_pj * 1e-12 + float(system.group["static_power_w"]) * time_s
        assert operations / energy_j == pytest.approx(tops_per_w * 1e12, rel=0.02)


def test_hermes_file_names_its_technology() -> None:
    analog = load_system("hermes").engine("xbar")
    assert analog is not None
    technology = analog.config["technology"]
    assert TECHNOLOGIES[technology["model"]](**technology["parameters"]) == HermesPcm(2)


def rectified_moments(mean: float, sigma: float) -> tuple[float, float]:
    """Mean and variance of max(mean + sigma xi, 0)."""
    z = mean / sigma
    density, below = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), (1 + math.erf(z / math.sqrt(2))) / 2
    first = mean * below + sigma * density
    return first, (mean**2 + sigma**2) * below + mean * sigma * density - first**2


@pytest.mark.parametrize("target", [0.02, 0.3, 1.0])
def test_programmed_cells_have_the_moments_of_two_rectified_devices(target: float) -> None:
    # aihwkit hermes.py, two devices per polarity: the cubic in uS over g_max 20.7 uS, at the target and at 0.
    sigma = (0.16603222 + 4.71806468 * target - 8.48101252 * target**2 + 4.68961419 * target**3) / 20.7
    held, rest = rectified_moments(target, sigma), rectified_moments(0.0, 0.16603222 / 20.7)
    group = ArrayGroup(np.full((512, 512), target, np.float32), column_scales=np.ones((2, 512), np.float32))
    group.program(seed=3, key=1)
    cells = group.effective_weights.astype(np.float64)
    spread = math.sqrt(held[1] + rest[1])
    assert cells.mean() == pytest.approx(held[0] - rest[0], abs=5 * spread / 512)
    assert cells.std() == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("time_s", [0.0, 1.0, 3600.0, 86400.0])
def test_aged_cells_have_the_moments_of_the_formulas(time_s: float) -> None:
    # PCMLike (aihwkit pcm.py), all 1/f noise frozen as there; devices drawn in float64 from the formulas themselves.
    rng, count, age = np.random.default_rng(11), 512 * 512, time_s + 20.0
    growth = math.sqrt(math.log((age + 250e-9) / (2 * 250e-9)))

    def read(target: float, sigma: float, exponent: float, spread: float) -> NDArray[np.float64]:
        programmed = np.maximum(target + sigma * rng.standard_normal(count), 0.0)
        drifted = programmed * (age / 20.0) ** -np.abs(exponent + spread * rng.standard_normal(count))
        q = np.minimum(0.0088 / np.maximum(programmed**0.65, 1e-3), 0.2)
        return np.maximum(drifted * (1 + q * growth * rng.standard_normal(count)), 0.0)

    # Exponents at 0.3: -0.0155 ln x + 0.0244 = 0.0431 is below the least mean, 0.049, and -0.0125 ln x - 0.0059 =
    # 0.00915 is the spread. At 0 both are at their upper bounds.
    expected = read(0.3, (0.26348 + 0.3 * 1.9650 - 0.09 * 1.1731) / 25, 0.049, 0.00915) - read(
        0.0, 0.26348 / 25, 0.1, 0.045
    )
    group = ArrayGroup(
        np.full((512, 512), 0.3, np.float32),
        technology=PcmLike(),
        column_scales=np.ones((2, 512), np.float32),
        read_noise=ReadNoise.FROZEN,
    )
    group.program(seed=5, key=2)
    group.at(time_s, drift_compensation=False)
    cells = group.effective_weights.astype(np.float64)
    assert cells.mean() == pytest.approx(expected.mean(), abs=6 * expected.std() / 512)
    assert cells.std() == pytest.approx(expected.std(), rel=0.015)
