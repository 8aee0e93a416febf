"""AiM command timing against the public cycle-level simulator, and as max-plus algebra."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.backends.pim import timing as pim
from crossbank.backends.pim.lane import Channels
from crossbank.backends.pim.timing_rules import DramTiming
from crossbank.backends.pim.trace import parse_trace, trace_cycles
from crossbank.backends.system import load_system
from crossbank.runtime.clock import Clock, Instant, simple_clock
from crossbank.runtime.program import ProgramError

DATA = Path(__file__).parents[2] / "data" / "aim"
ALL = "0xffffffff"


def aim() -> DramTiming:
    engine = load_system("aim").engine("pim")
    assert engine is not None
    return DramTiming.from_table(engine.config)


TIMING = aim()


def references() -> list[dict[str, str]]:
    with (DATA / "aim_cycles.csv").open() as file:
        return list(csv.DictReader(file))


def cycles(lines: list[str], tmp_path: Path) -> int:
    path = tmp_path / "commands.trace"
    path.write_text("\n".join([*lines, "AiM EOC"]))
    return trace_cycles(path, TIMING, refresh=False).cycles


@pytest.mark.parametrize("reference", references(), ids=lambda reference: Path(reference["trace"]).stem)
def test_reference_cycles(reference: dict[str, str]):
    cost = trace_cycles(DATA / reference["trace"], TIMING, refresh=False)
    assert cost.cycles == int(reference["cycles"])
    assert cost.time_ns == float(reference["time_ns"])
    assert sum(cost.by_command.values()) == int(reference["commands"])


def gemv_of_fork(channels: int, rows: int) -> list[str]:
    mask = (1 << channels) - 1
    begin = ["W GPR 0", f"AiM WR_GB 64 0 {mask}", f"AiM WR_BIAS 2 {mask}", "W CFR 0 1"]
    return [*begin, *(f"AiM MAC_ABK 64 {mask} {row}" for row in range(rows)), f"AiM RD_MAC 4 {mask}"]


@pytest.mark.parametrize(("channels", "rows", "expected"), [(1, 256, 58045), (8, 32, 7421), (32, 8, 1997)])
def test_rows_of_one_accumulator(channels: int, rows: int, expected: int, tmp_path: Path):
    # cornell-m3/aim_simulator d0171086 test/channels/golden.txt, strong_1, strong_8 and strong_32
    assert cycles(gemv_of_fork(channels, rows), tmp_path) == expected


@pytest.mark.parametrize(("channels", "expected"), [(1, 2860), (2, 5682), (4, 11362)])
def test_blocking_instructions_of_one_channel_stop_the_others(channels: int, expected: int, tmp_path: Path):
    # cornell-m3/aim_simulator 09abeb2f docs/AIM_MEMORY_SYSTEM.md, baseline 0a413a6
    lines = [
        f"AiM {command}"
        for row in range(10)
        for mask in (1 << channel for channel in range(channels))
        for command in (f"WR_BIAS 4 {mask:#x}", f"MAC_ABK 64 {mask:#x} {row}", f"RD_MAC 4 {mask:#x}")
    ]
    assert cycles(lines, tmp_path) == expected


COMMANDS = st.sampled_from(
    ["wr_gb", "wr_bias", "mac_abk", "rd_mac", "af", "rd_af", "ewmul", "ewadd", "mac_sbk", "copy_bank_to_buffer",
     "copy_buffer_to_bank", "write_all_banks", "write_single_bank", "read_single_bank", "sync"]
)  # fmt: skip
STEPS = st.lists(
    st.tuples(COMMANDS, st.integers(1, 64), st.integers(0, 3), st.integers(0, 15)), min_size=1, max_size=12
)
Step = tuple[str, int, int, int]


def run(clock: Clock, timing: DramTiming, steps: list[Step]) -> None:
    for name, columns, row, bank in steps:
        operands: dict[str, tuple[int, ...]] = {
            "wr_gb": (columns,), "mac_abk": (columns, row), "ewmul": (columns, row), "ewadd": (columns,),
            "mac_sbk": (columns, bank, row), "copy_bank_to_buffer": (columns, bank, row), "af": (row,),
            "copy_buffer_to_bank": (columns, bank, row), "write_all_banks": (row,),
            "write_single_bank": (bank, row, columns), "read_single_bank": (bank, row, columns),
        }  # fmt: skip
        transition: Callable[..., None] = getattr(pim, name)
        transition(clock, timing, *operands.get(name, ()))


CYCLE_FIELDS = [
    field.name
    for field in dataclasses.fields(DramTiming)
    if field.name.startswith("t") and field.name not in ("trefi", "trfc")
]


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(CYCLE_FIELDS), st.integers(0, 100))
def test_time_never_rises_when_a_parameter_falls(steps: list[Step], field: str, part: int):
    slow, fast = simple_clock(), simple_clock()
    start = dataclasses.replace(TIMING, tfaw=42)
    value = getattr(start, field)
    run(slow, start, steps)
    run(fast, dataclasses.replace(start, **{field: max(value * part // 100, 1 if field == "tck_ps" else 0)}), steps)
    assert pim.end(fast, start).time_ps[0] <= pim.end(slow, start).time_ps[0]


@settings(max_examples=100, deadline=None)
@given(STEPS, STEPS, st.integers(1, 10**9))
def test_all_ends_shift_with_all_starts(before: list[Step], after: list[Step], shift: int):
    known = simple_clock()
    run(known, TIMING, before + after)
    pim.end(known, TIMING)
    clocks = [simple_clock(), simple_clock()]
    for clock, by in zip(clocks, (0, shift), strict=True):
        run(clock, TIMING, before)
        for name in known.resources:
            start = clock.ready(name)
            clock.set(name, Instant(start.time_ps + by, start.blame))
        run(clock, TIMING, after)
        pim.end(clock, TIMING)
    for name in clocks[0].resources:
        assert clocks[1].ready(name).time_ps == clocks[0].ready(name).time_ps + shift


@settings(max_examples=50, deadline=None)
@given(STEPS, st.integers(1, 64), st.integers(1, 64), st.integers(0, 3))
def test_steps_side_by_side_equal_steps_alone(steps: list[Step], first: int, second: int, row: int):
    both, alone = simple_clock(2), [simple_clock(), simple_clock()]
    columns = np.array([first, second])
    pim.mac_abk(both, TIMING, columns, np.array([row, 1]))
    pim.mac_abk(alone[0], TIMING, first, row)
    pim.mac_abk(alone[1], TIMING, second, 1)
    for clock in (both, *alone):
        run(clock, TIMING, steps)
    pim.wr_gb(both, TIMING, columns)
    for i in range(2):
        pim.wr_gb(alone[i], TIMING, int(columns[i]))
    assert list(pim.end(both, TIMING).time_ps) == [pim.end(clock, TIMING).time_ps[0] for clock in alone]
    for key, energy in both.energy_j.items():
        assert energy == pytest.approx([clock.energy_j.get(key, np.zeros(1))[0] for clock in alone])
    for instant in both.resources.values():
        assert (instant.blame.sum(axis=0) == instant.time_ps).all()


def test_a_loop_of_gemvs_repeats_exactly():
    clock = simple_clock()
    moved: list[set[int]] = []
    for trip in range(5):
        before = {name: int(instant.time_ps[0]) for name, instant in clock.resources.items()}
        pim.wr_gb(clock, TIMING, 64)
        for row in range(8):
            pim.mac_abk(clock, TIMING, 64, 8 * trip + row)
        pim.rd_mac(clock, TIMING)
        moved.append({int(clock.ready(name).time_ps[0]) - time for name, time in before.items() if time})
    assert len(moved[-1]) == 1
    assert moved[-1] == moved[-2]


def test_an_open_row_is_not_opened_again():
    clock = simple_clock()
    for _ in range(2):
        pim.mac_abk(clock, TIMING, 8, 5)
    assert clock.counters["activates"][0] == 16 * 32
    pim.mac_abk(clock, TIMING, 8, 6)
    assert clock.counters["activates"][0] == 2 * 16 * 32


def test_channels_have_states_of_their_own():
    clock = simple_clock()
    left, right = Channels("pim.left", 16), Channels("pim.right", 16)
    pim.mac_abk(clock, TIMING, 64, 0, [left])
    pim.mac_abk(clock, TIMING, 64, 0, [right])
    pim.sync(clock, TIMING, [left, right])
    alone = simple_clock()
    pim.mac_abk(alone, TIMING, 64, 0)
    pim.sync(alone, TIMING)
    late = clock.ready(pim.DMA).time_ps[0] - alone.ready(pim.DMA).time_ps[0]
    # The DMA hands the second its last column when the queue of the first, 33 deep, has taken the 64th.
    assert late // TIMING.tck_ps == 56 + (64 - 34) * 2 + 2
    assert clock.energy_j.keys() == alone.energy_j.keys()
    for key, energy in clock.energy_j.items():
        assert energy == pytest.approx(alone.energy_j[key])


def test_activates_of_single_banks_keep_tfaw():
    limited = dataclasses.replace(TIMING, tfaw=42)
    ends: list[int] = []
    for timing in (TIMING, limited):
        clock = simple_clock()
        for bank in range(8):
            pim.read_single_bank(clock, timing, bank, 0, 2)
        ends.append(int(pim.end(clock, timing).time_ps[0]) // timing.tck_ps)
    assert ends[1] - ends[0] == 42 - 4 * TIMING.trrd


def test_refresh_takes_its_share(tmp_path: Path):
    path = DATA / "gemv_4096x4096_ch32_reuse-gb.trace"
    without, refreshed = trace_cycles(path, TIMING, refresh=False), trace_cycles(path, TIMING, refresh=True)
    assert refreshed.cycles == pytest.approx(without.cycles * 3333 / 3123, abs=1)
    assert refreshed.energy_by_component_pj["refresh"] > 0
    assert "refresh" not in without.energy_by_component_pj


def test_energy_is_the_sum_of_commands():
    cost = trace_cycles(DATA / "gemv_16x1024_ch1_no-reuse.trace", TIMING, refresh=False)
    parts = cost.energy_by_component_pj
    assert cost.energy_pj == pytest.approx(sum(parts.values()))
    assert parts["mac"] == pytest.approx(64 * 32 * TIMING.mac_all_bank_pj)
    assert parts["dram activate"] == pytest.approx(16 * 32 * TIMING.activate_bank_pj)
    assert parts["io"] == pytest.approx((64 + 1 + 1) * 32 * TIMING.io_pj)
    commands = 64 + 1 + 1 + 64 + 1 + 3
    assert parts["controller"] == pytest.approx(
        32 * (commands * TIMING.command_pj + (commands - 4) * TIMING.request_pj)
    )
    assert set(parts) - {"background"} <= set(pim.SOURCES)


def test_sources_name_numbers_of_the_system_file():
    paths = load_system("aim").quantities
    assert all(f"pim.{path}" in paths for sources in pim.SOURCES.values() for path in sources)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AiM MAC_AKB 64 0x1 0", "unknown instruction 'AiM MAC_AKB'"),
        ("MAC_ABK 64 0x1 0", "unknown instruction 'MAC_ABK 64'"),
        ("AiM MAC_ABK 64 0x1", "MAC_ABK takes 3 operands, not 2"),
        ("AiM MAC_ABK many 0x1 0", "columns 'many' is not a number"),
        ("AiM MAC_ABK 65536 0x1 0", "columns 65536 is out of range"),
        ("AiM MAC_ABK 64 0x100000000 0", "mask 4294967296 is out of range"),
        ("AiM COPY_BKGB 64 0x1 16 0", "bank 16 is out of range"),
        ("R MEM 32 0 0", "channel 32 is out of range"),
        ("AiM WR_ABK 0 0x3 0", "WR_ABK writes one channel"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str):
    with pytest.raises(ProgramError) as error:
        parse_trace(["# a comment", "AiM SYNC", line, "AiM EOC"], TIMING, "x.trace")
    assert error.value.message == message
    assert error.value.where == "x.trace:3"


def test_a_trace_must_end():
    with pytest.raises(ProgramError, match="without EOC"):
        parse_trace(["AiM SYNC"], TIMING)
    assert len(parse_trace(["AiM ISR_EOC", "anything"], TIMING)) == 1


def test_the_table_is_checked():
    engine = load_system("aim").engine("pim")
    assert engine is not None
    sections = {name: dict(engine.config[name]) for name in ("organisation", "timing", "energy")}
    sections["timing"]["trp_cycle"] = sections["timing"].pop("trp_cycles")
    with pytest.raises(ProgramError, match="unknown key 'trp_cycle'") as error:
        DramTiming.from_table(sections)
    assert error.value.help == "did you mean 'trp_cycles'?"
    sections["timing"].pop("trp_cycle")
    with pytest.raises(ProgramError, match="lacks trp_cycles"):
        DramTiming.from_table(sections)
    sections["timing"]["trp_cycles"] = 1.5
    with pytest.raises(ProgramError, match=r"trp_cycles is 1\.5"):
        DramTiming.from_table(sections)
