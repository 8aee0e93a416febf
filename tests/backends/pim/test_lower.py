"""Where matrices and caches lie in banks, what is refused, and the cycles of the products that are scheduled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import Block

from benchmarks.aim_gemv import REFERENCE_CYCLES, gemv_cycles, gemv_program
from crossbank.backends.pim.layout import CacheLayout, Device, GemvLayout
from crossbank.backends.pim.lower import BACKEND
from crossbank.backends.system import load_system
from crossbank.dialects import llm
from crossbank.dialects.mapping import CacheInfo, Dimension, Split, WeightInfo
from crossbank.dialects.shape import tensor
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError

ENGINE = load_system("aim").engines["pim"]
DEVICE = Device.of(ENGINE.config)
SMALL = Device(channels=4, banks=4, rows=64, row_elements=32, lanes=4, latches=8, working_rows=8)


def test_a_device_keeps_rows_for_working_memory() -> None:
    memory = load_system("aim").memory_for("working")
    assert memory is not None
    assert DEVICE.working_rows * DEVICE.width * DEVICE.row_elements * 2 == memory["capacity_bytes"]
    assert DEVICE.units + DEVICE.working_rows == DEVICE.rows == 16384


@given(inputs=st.integers(1, 100), outputs=st.integers(1, 100))
def test_every_weight_has_a_cell_of_its_own(inputs: int, outputs: int) -> None:
    layout = GemvLayout.widest(SMALL, inputs, outputs)
    cells = {
        (n // layout.per_wave * layout.k_rows + k // SMALL.row_elements, n % layout.per_wave, k % SMALL.row_elements)
        for n, k in itertools.product(range(outputs), range(inputs))
    }
    assert len(cells) == inputs * outputs
    assert max(row for row, _, _ in cells) < layout.rows
    assert max(bank for _, bank, _ in cells) < SMALL.width
    assert layout.waves == -(-outputs // SMALL.width)


@settings(max_examples=25, deadline=None)
@given(groups=st.integers(1, 7), head_dim=st.integers(1, 30), batch=st.integers(1, 2), context=st.integers(1, 40))
def test_every_key_and_value_has_a_cell_of_its_own(groups: int, head_dim: int, batch: int, context: int) -> None:
    layout = CacheLayout(SMALL, groups, head_dim, batch, context)
    cells: set[tuple[int, int, int]] = set()
    for b, t, g, d in itertools.product(range(batch), range(context), range(groups), range(head_dim)):
        part, head = divmod(g, layout.part_heads)
        row = layout.key_row(b, t // SMALL.width, part).constant
        cells.add((row, t % SMALL.width, head * layout.head_columns * SMALL.lanes + d))
        turn, head = divmod(g, layout.heads)
        wave, inside = divmod(d, layout.value_channels * SMALL.banks)
        chosen, column = t // SMALL.lanes % layout.sets, t % layout.block_tokens // (SMALL.lanes * layout.sets)
        channel = (chosen * layout.heads + head) * layout.value_channels + inside // SMALL.banks
        row = layout.value_row(b, turn, wave, t // layout.block_tokens).constant
        cells.add((row, channel * SMALL.banks + inside % SMALL.banks, column * SMALL.lanes + t % SMALL.lanes))
    assert len(cells) == 2 * batch * context * groups * head_dim
    assert max(row for row, _, _ in cells) < layout.rows
    assert max(bank for _, bank, _ in cells) < SMALL.width
    assert max(place for _, _, place in cells) < SMALL.row_elements


@pytest.mark.parametrize(
    ("groups", "head_dim", "sets", "value_waves"), [(32, 128, 1, 8), (8, 128, 1, 2), (2, 40, 5, 1), (40, 128, 1, 8)]
)
def test_values_use_the_channels(groups: int, head_dim: int, sets: int, value_waves: int) -> None:
    layout = CacheLayout(DEVICE, groups, head_dim, 8, 4096)
    assert (layout.sets, layout.value_waves) == (sets, value_waves)
    assert layout.sets * layout.set_channels > DEVICE.channels // 2


def test_a_cache_takes_rows_of_one_device() -> None:
    one = Expr.of(1)
    info = CacheInfo("cache0", 80, 8, 8, 4096, 128, "float32", one, one, one)
    tiling = BACKEND.cache_units(info, ENGINE)
    assert tiling.within_group
    assert tiling.units == 8 * (8 + 2 * 4)
    assert tiling.padded_bytes == tiling.bytes


def test_a_matrix_takes_whole_rows_of_one_device() -> None:
    info = WeightInfo("w", ("w",), "float32", 4096, 11008, False)
    tiling = BACKEND.tile(info, BACKEND.split_weight(info, ENGINE), ENGINE)
    assert tiling.within_group
    assert (tiling.units, tiling.units_per_group) == (22 * 4, 16384 - 2048)
    assert tiling.bytes == 4096 * 11008 * 2 <= tiling.padded_bytes


@pytest.mark.parametrize(("channels", "banks", "units"), [(32, 16, 2 * 4), (8, 16, 8 * 4), (1, 16, 64 * 4)])
def test_a_matrix_may_have_fewer_channels(channels: int, banks: int, units: int) -> None:
    split = Split(Dimension.COLUMNS, "channel", channels), Split(Dimension.COLUMNS, "bank", banks)
    assert BACKEND.tile(WeightInfo("w", ("w",), "float32", 4096, 1024, False), split, ENGINE).units == units


@pytest.mark.parametrize(
    "splits",
    [
        (Split(Dimension.COLUMNS, "channel", 33), Split(Dimension.COLUMNS, "bank", 16)),
        (Split(Dimension.COLUMNS, "channel", 2), Split(Dimension.COLUMNS, "bank", 7)),
        (Split(Dimension.ROWS, "channel", 2), Split(Dimension.COLUMNS, "bank", 16)),
        (Split(Dimension.COLUMNS, "bank", 0),),
    ],
)
def test_a_split_that_no_device_has_is_refused(splits: tuple[Split, ...]) -> None:
    with pytest.raises(ProgramError, match=r"CB0314.*w: columns over .* a device has 32 channels of 16 banks"):
        BACKEND.tile(WeightInfo("w", ("w",), "float32", 4096, 1024, False), splits, ENGINE)


@pytest.mark.parametrize("shape", REFERENCE_CYCLES)
def test_scheduled_products_take_no_more_cycles_than_the_reference(shape: tuple[int, int]) -> None:
    assert gemv_cycles(*shape) <= REFERENCE_CYCLES[shape]


def test_sums_stay_in_the_accumulators() -> None:
    names = [command.name for command in gemv_program(4096, 4096).commands() if command.name.startswith("pim.")]
    assert names == ["pim.wr_bias", "pim.wr_gb", "pim.mac_abk", "pim.rd_mac"]


def attention(dtype: str, head_dim: int, value_dim: int, cached: bool) -> llm.AttentionOp:
    shapes = [(2, 4, 3, head_dim), (2, 2, 3, head_dim), (2, 2, 3, value_dim)]
    q, k, v = (Block(arg_types=[tensor(dtype, shape)]).args[0] for shape in shapes)
    op = llm.AttentionOp.of(q, k, v, tensor(dtype, (2, 4, 3, value_dim)), scale=1.0)
    return op.with_cache("cache0", k, v) if cached else op


@pytest.mark.parametrize(
    ("dtype", "head_dim", "value_dim", "cached", "reason"),
    [
        ("float32", 64, 64, False, "without a cache"),
        ("float32", 64, 32, True, "differ in size"),
        ("float16", 64, 64, True, "float16"),
        ("float32", 2048, 2048, True, "exceeds a row"),
    ],
)
def test_attention_is_refused_with_a_reason(
    dtype: str, head_dim: int, value_dim: int, cached: bool, reason: str
) -> None:
    legality = BACKEND.accepts(attention(dtype, head_dim, value_dim, cached), ENGINE)
    assert not legality.legal and reason in legality.reason and legality.remedy


def test_attention_over_a_cache_is_taken() -> None:
    assert BACKEND.accepts(attention("float32", 64, 64, True), ENGINE).legal


def test_numbers_of_heads_decide_rows_not_results() -> None:
    assert np.array_equal(
        [CacheLayout(DEVICE, g, 64, 1, 1024).key_parts for g in (1, 12, 16, 17, 32, 33)], [1, 1, 1, 2, 2, 3]
    )
