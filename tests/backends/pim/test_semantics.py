"""What AiM's instructions do, against numpy and ml_dtypes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from crossbank.backends.pim import semantics as pim
from crossbank.backends.pim.semantics import Function, Unit
from crossbank.backends.system import load_system
from crossbank.runtime.program import ProgramError

CONFIG = load_system("aim").engines["pim"].config
BANKS, CHANNELS, LANES = 16, 32, 16
RNG = np.random.default_rng(5)


def unit(ideal: bool = False, lanes: int = 1) -> Unit:
    made = Unit(CONFIG, SimpleNamespace(ideal=ideal))
    made.enter_lanes(lanes)
    return made


def bf16(x: Any) -> np.ndarray:
    return np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def run(device: Unit, name: str, **operands: Any) -> None:
    absent = dict.fromkeys(("src", "scales", "zeros"))
    defaults = {"first_channel": 0, "channels": CHANNELS, "lanes": device.lanes, **absent}
    getattr(pim, name)(device, SimpleNamespace(**{**defaults, **operands}))


def load(device: Unit, matrix: np.ndarray, row: int = 0, channels: int = CHANNELS, transposed: bool = False) -> None:
    k, n = matrix.T.shape if transposed else matrix.shape
    waves, k_rows = -(-n // (channels * BANKS)), -(-k // 1024)
    run(
        device, "load", weights=matrix[None], row=row, waves=waves, k_rows=k_rows, channels=channels,
        transposed=transposed,
    )  # fmt: skip


def multiply(device: Unit, x: np.ndarray, row: int, outputs: int, latch: int = 0) -> np.ndarray:
    """One row times x (lanes, K), without a bias."""
    channels = -(-outputs // BANKS)
    run(device, "wr_bias", latch=latch, channels=channels)
    run(device, "wr_gb", src=x, channels=channels)
    columns = -(-x.shape[1] // LANES)
    run(device, "mac_abk", row=row, column=0, columns=columns, buffer_column=0, latch=latch, channels=channels, macs=0)
    y = np.empty((device.lanes, outputs), np.float32)
    run(device, "rd_mac", dst=y, latch=latch, channels=channels)
    return y


@pytest.mark.parametrize(("k", "n"), [(1024, 512), (100, 40), (7, 3), (16, 16)])
@pytest.mark.parametrize("transposed", [False, True])
def test_row_times_vector_is_bf16_with_float32_sums(k: int, n: int, transposed: bool) -> None:
    device, w, x = unit(), normal(k, n), normal(1, k)
    load(device, w.T.copy() if transposed else w, channels=-(-n // BANKS), transposed=transposed)
    exact = bf16(x).astype(np.float64) @ bf16(w).astype(np.float64)
    np.testing.assert_allclose(multiply(device, x, 0, n), exact, rtol=2**-8, atol=1e-4)
    assert (bf16(multiply(device, x, 0, n)) == multiply(device, x, 0, n)).all()


def test_ideal_rounds_nowhere() -> None:
    device, w, x = unit(ideal=True), normal(300, 100), normal(1, 300)
    load(device, w, channels=7)
    np.testing.assert_allclose(multiply(device, x, 0, 100), x @ w, rtol=1e-5, atol=1e-5)


def test_sums_over_rows_stay_in_float32() -> None:
    device, w, x = unit(), normal(3000, 512), normal(1, 3000)
    load(device, w, row=7)
    run(device, "wr_bias", latch=3, src=(bias := normal(1, 500)))
    for part in range(3):
        piece = x[:, part * 1024 : (part + 1) * 1024]
        run(device, "wr_gb", src=piece)
        columns = -(-piece.shape[1] // LANES)
        run(device, "mac_abk", row=7 + part, column=0, columns=columns, buffer_column=0, latch=3, macs=0)
    y = np.empty((1, 512), np.float32)
    run(device, "rd_mac", dst=y, latch=3)
    exact = bf16(x).astype(np.float64) @ bf16(w).astype(np.float64) + np.pad(bf16(bias), ((0, 0), (0, 12)))
    assert np.abs(y - exact).max() <= np.abs(exact).max() * 2**-8
    assert np.mean(y == bf16(exact)) > 0.98


def test_waves_and_parts_of_a_matrix_lie_in_rows_of_their_own() -> None:
    device, w = unit(ideal=True), normal(1500, 70)
    load(device, w, row=5, channels=2)
    cells = [device.banks.read(row) for row in range(5, 5 + 3 * 2)]
    for n in range(70):
        wave, bank = divmod(n, 32)
        np.testing.assert_array_equal(cells[2 * wave][bank], w[:1024, n])
        np.testing.assert_array_equal(cells[2 * wave + 1][bank][: 1500 - 1024], w[1024:, n])


def test_lanes_are_as_many_single_runs() -> None:
    w, x = normal(200, 60), normal(5, 200)
    together = unit(lanes=5)
    load(together, w, channels=4)
    single = unit()
    load(single, w, channels=4)
    expected = np.concatenate([multiply(single, x[i : i + 1], 0, 60) for i in range(5)])
    np.testing.assert_allclose(multiply(together, x, 0, 60), expected, rtol=2**-8, atol=1e-6)


def test_each_lane_may_have_a_row_of_its_own() -> None:
    device, x = unit(ideal=True, lanes=4), normal(4, 30)
    matrices = [normal(30, 48) for _ in range(2)]
    for i, matrix in enumerate(matrices):
        load(device, matrix, row=10 + i, channels=3)
    rows = np.array([11, 10, 11, 10])
    expected = np.stack([x[i] @ matrices[row - 10] for i, row in enumerate(rows)])
    run(device, "wr_bias", latch=0, channels=3)
    run(device, "wr_gb", src=x, channels=3)
    run(device, "mac_abk", row=rows, column=0, columns=2, buffer_column=0, latch=0, channels=3, macs=0)
    y = np.empty((4, 48), np.float32)
    run(device, "rd_mac", dst=y, latch=0, channels=3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_segments_give_channels_vectors_of_their_own() -> None:
    device, x, w = unit(ideal=True, lanes=3), normal(3, 2, 2, 32), normal(32, 128)
    load(device, w, channels=8)
    run(device, "wr_bias", latch=0, channels=8)
    run(device, "wr_gb", src=x[:, :, :, None, :], channels=8)
    run(device, "mac_abk", row=0, column=0, columns=2, buffer_column=0, latch=0, channels=8, macs=0)
    y = np.empty((3, 2, 2, 30), np.float32)
    run(device, "rd_mac", dst=y, latch=0, channels=8)
    expected = np.einsum("labk,kabn->labn", x, w.reshape(32, 2, 2, 32))[..., :30]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_pieces_start_at_columns_of_their_own() -> None:
    device, x, w = unit(ideal=True), normal(1, 3, 10), normal(48, 16)
    load(device, w, channels=1)
    run(device, "wr_gb", src=x, channels=1)
    for piece in range(3):
        run(device, "wr_bias", latch=piece, channels=1)
        run(
            device, "mac_abk", row=0, column=1, columns=1, buffer_column=piece, latch=piece, channels=1, macs=0
        )  # fmt: skip
        y = np.empty((1, 16), np.float32)
        run(device, "rd_mac", dst=y, latch=piece, channels=1)
        np.testing.assert_allclose(y[0], x[0, piece] @ w[16:26], rtol=1e-5, atol=1e-5)


def test_a_later_write_replaces_the_buffer_of_its_channels_only() -> None:
    device, w = unit(ideal=True), normal(16, 64)
    load(device, w, channels=4)
    first, second = normal(1, 16), normal(1, 16)
    run(device, "wr_gb", src=first, channels=4)
    run(device, "wr_gb", src=second, first_channel=1, channels=2)
    run(device, "wr_bias", latch=0, channels=4)
    run(device, "mac_abk", row=0, column=0, columns=1, buffer_column=0, latch=0, channels=4, macs=0)
    y = np.empty((1, 64), np.float32)
    run(device, "rd_mac", dst=y, latch=0, channels=4)
    expected = np.concatenate([first @ w[:, :16], second @ w[:, 16:48], first @ w[:, 48:]], axis=1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (Function.RELU, lambda x: np.maximum(x, 0)),
        (Function.SIGMOID, lambda x: 1 / (1 + np.exp(-x))),
        (Function.TANH, np.tanh),
        (Function.GELU, lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    ],
)
def test_activation_functions_take_and_give_bf16(function: Function, reference: Any) -> None:
    device, x = unit(), normal(1, 32)
    run(device, "wr_bias", latch=1, channels=2, src=x)
    run(device, "af", function=function, latch=1, channels=2)
    y = np.empty((1, 32), np.float32)
    run(device, "rd_af", dst=y, channels=2)
    np.testing.assert_allclose(y, reference(bf16(x).astype(np.float64)), rtol=2**-8, atol=1e-6)


def test_products_of_two_banks_land_in_the_third() -> None:
    device, w = unit(), normal(64, 32)
    load(device, w, channels=2)
    run(device, "ewmul", row=0, column=1, columns=2, channels=2)
    cells = device.banks.read(0)[:32]
    for group in range(8):
        a, b = bf16(w[16:48, 4 * group]), bf16(w[16:48, 4 * group + 1])
        np.testing.assert_array_equal(cells[4 * group + 2, 16:48], bf16(a * b))
        np.testing.assert_array_equal(cells[4 * group + 2, 48:64], bf16(w[48:, 4 * group + 2]))


def test_columns_travel_between_banks_and_buffers() -> None:
    device, w = unit(), normal(64, 32)
    load(device, w, channels=2)
    run(device, "copy_bkgb", bank=3, row=0, column=1, columns=2, channels=2)
    run(device, "copy_gbbk", bank=5, row=1, column=4, columns=2, channels=2)
    np.testing.assert_array_equal(device.banks.read(1)[5, 64:96], bf16(w[16:48, 3]))
    np.testing.assert_array_equal(device.banks.read(1)[21, 64:96], bf16(w[16:48, 19]))


def test_single_banks_are_written_and_read_in_columns() -> None:
    device, x = unit(lanes=6), normal(6, 2, 20)
    place = {
        "channel": np.array([0, 0, 1, 31, 2, 2]),
        "bank": np.array([0, 1, 0, 15, 7, 7]),
        "row": np.array([4, 4, 4, 4, 9, 5]),
        "column": np.array([0, 0, 3, 60, 1, 1]),
    }
    run(device, "wr_sbk", src=x, **place)
    y = np.empty_like(x)
    run(device, "rd_sbk", dst=y, **place)
    np.testing.assert_array_equal(y, bf16(x))
    np.testing.assert_array_equal(device.banks.read(4)[31 * 16 + 15, 960 + 32 : 960 + 52], bf16(x[3, 1]))


def test_one_element_of_every_bank() -> None:
    device, x = unit(lanes=3), normal(3, 2, 20)
    place = {"row": np.array([1, 1, 2]), "element": np.array([7, 8, 7]), "first_channel": np.array([0, 4, 8])}
    run(device, "wr_abk", src=x, channels=4, **place)
    y = np.empty_like(x)
    run(device, "rd_abk", dst=y, channels=4, **place)
    np.testing.assert_array_equal(y, bf16(x))
    np.testing.assert_array_equal(device.banks.read(1)[96:116, 8], bf16(x[1, 1]))


def test_undefined_registers_and_rows_are_refused() -> None:
    device = unit()
    with pytest.raises(ProgramError, match="accumulator 0 is undefined"):
        run(device, "rd_mac", dst=np.empty((1, 16), np.float32), latch=0, channels=1)
    run(device, "wr_bias", latch=0, channels=1)
    with pytest.raises(ProgramError, match="accumulator 0 is undefined"):
        run(device, "rd_mac", dst=np.empty((1, 32), np.float32), latch=0, channels=2)
    mac = {"row": 3, "column": 0, "columns": 1, "buffer_column": 0, "latch": 0, "channels": 1, "macs": 0}
    with pytest.raises(ProgramError, match="does not hold 16 values"):
        run(device, "mac_abk", **mac)
    run(device, "wr_gb", src=normal(1, 16), channels=1)
    with pytest.raises(ProgramError, match="row 3 holds nothing"):
        run(device, "mac_abk", **mac)
    with pytest.raises(ProgramError, match="does not hold 32 values"):
        run(device, "mac_abk", **{**mac, "columns": 2})
    with pytest.raises(ProgramError, match="columns 60 to 64"):
        run(device, "mac_abk", **{**mac, "column": 60, "columns": 5})
    with pytest.raises(ProgramError, match="undefined"):
        run(device, "rd_af", dst=np.empty((1, 16), np.float32), channels=1)


def test_what_does_not_fit_is_refused() -> None:
    device = unit()
    with pytest.raises(ProgramError, match="a row holds 1024"):
        run(device, "wr_gb", src=normal(1, 1025))
    with pytest.raises(ProgramError, match="3 segments do not divide"):
        run(device, "wr_gb", src=normal(1, 3, 1, 16))
    with pytest.raises(ProgramError, match="there are 32"):
        run(device, "wr_bias", latch=0, first_channel=31, channels=2)
    with pytest.raises(ProgramError, match="accumulator 32, there are 32"):
        run(device, "wr_bias", latch=32)
    with pytest.raises(ProgramError, match="17 biases for 16 banks"):
        run(device, "wr_bias", latch=0, channels=1, src=normal(1, 17))
    with pytest.raises(ProgramError, match="takes 1x2 rows"):
        run(device, "load", weights=normal(1, 1025, 3), row=0, waves=1, k_rows=1, channels=1, transposed=False)
    with pytest.raises(ProgramError, match="bank 512 of 512"):
        run(device, "wr_sbk", src=normal(1, 16), channel=32, bank=0, row=0, column=0)
    with pytest.raises(ProgramError, match="values up to 1040 of 1024"):
        run(device, "wr_sbk", src=normal(1, 32), channel=0, bank=0, row=0, column=63)


def test_leaving_lanes_forgets_registers() -> None:
    device = unit(lanes=4)
    run(device, "wr_bias", latch=0)
    device.leave_lanes()
    with pytest.raises(ProgramError, match="undefined"):
        run(device, "rd_mac", dst=np.empty((1, 16), np.float32), latch=0)
