"""Traces replayed command by command: counts by hand, of the public simulator, and against the closed form."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.backends.pim import timing as pim
from crossbank.backends.pim.timing_rules import DramTiming
from crossbank.backends.pim.trace import parse_trace, trace_cycles
from crossbank.backends.system import load_system
from crossbank.runtime.clock import Clock, simple_clock
from crossbank.runtime.program import ProgramError

ALL = "0xffffffff"


def aim() -> DramTiming:
    engine = load_system("aim").engine("pim")
    assert engine is not None
    return DramTiming.from_table(engine.config)


TIMING = aim()


def cycles(lines: list[str], folder: Path, timing: DramTiming = TIMING) -> int:
    path = folder / "commands.trace"
    path.write_text("\n".join([*lines, "AiM EOC"]))
    return trace_cycles(path, timing, refresh=False).cycles


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Decoded and served in cycle 0, answered in 1.
        ([], 2),
        # Each line that touches no memory is a cycle.
        (["W GPR 0", "R GPR 0", "W CFR 2 1", "AiM EWADD 64 0 1"], 4 + 2),
        # An instruction of no columns sends nothing.
        ([f"AiM EWMUL 0 {ALL} 0"], 1 + 2),
        # Register mode from cycle 0 on, read in 32, back nCLREG + nBL = 2 later; EOC from 35 on.
        ([f"AiM RD_MAC 0 {ALL}"], 32 + 2 + 1 + 2),
        # A lone access leaves its queue with its activate, and nothing waits for its column.
        (["W MEM 0 0 0"], 1 + 2),
        # The second access of a row, 28 + 2 after the activate, lets EOC in at 31; the data is over 8 later and
        # seen the cycle after.
        (["W MEM 0 0 0"] * 2, 28 + 2 + 8 + 1 + 1),
        # A row hit passes a row miss: writes at 28 and 30, a precharge at 30 + 6 + 2 + 33 = 71, an activate at 103.
        (["W MEM 0 0 0", "W MEM 0 0 1", "W MEM 0 0 0"], 103 + 1 + 2),
        # Banks of one group are activated nRRDL = 6 apart, those of two groups nRRDS = 5.
        (["R MEM 0 0 0", "R MEM 0 1 0"], 6 + 1 + 2),
        (["R MEM 0 0 0", "R MEM 0 4 0"], 5 + 1 + 2),
        # Of three banks the one of another group goes before an older one: activates at 0, 5 and 10.
        (["R MEM 0 0 0", "R MEM 0 1 0", "R MEM 0 4 0"], 10 + 1 + 2),
        # A read behind a waiting write is answered from the queue: the write of cycle 1 is there until 30.
        (["W MEM 0 0 0", "W MEM 0 0 0", "R MEM 0 9 9"], 28 + 2 + 8 + 1 + 1),
    ],
)
def test_counted_by_hand(lines: list[str], expected: int, tmp_path: Path):
    assert cycles(lines, tmp_path) == expected


def test_every_instruction_of_the_fork(tmp_path: Path):
    # cornell-m3/aim_simulator d0171086 test/channels/gen.py and golden.txt, fanout_32, whose opsize is one less.
    lines = [
        "W GPR 0", "W GPR 1", f"AiM WR_GB 2 0 {ALL}", f"AiM WR_BIAS 2 {ALL}", "W CFR 0 1", f"AiM MAC_ABK 2 {ALL} 0",
        f"AiM MAC_SBK 2 {ALL} 0 0", "W CFR 1 0", f"AiM EWMUL 2 {ALL} 0", "W CFR 2 1", f"AiM AF {ALL}",
        f"AiM RD_MAC 4 {ALL}", f"AiM RD_AF 6 {ALL}", f"AiM COPY_BKGB 2 {ALL} 0 0", f"AiM COPY_GBBK 2 {ALL} 0 0",
        "AiM SYNC", "AiM WR_ABK 0 0x80000000 1", *["AiM WR_SBK 0 0x80000000 0 2"] * 4, *["W MEM 0 2 3"] * 4, "AiM SYNC",
        *["AiM RD_SBK 8 0x80000000 1 2"] * 4, *["R MEM 0 3 3"] * 4, "AiM SYNC",
    ]  # fmt: skip
    assert cycles(lines, tmp_path) == 800


def test_activates_of_single_banks_keep_tfaw(tmp_path: Path):
    lines = [f"R MEM 0 {bank} 0" for bank in (0, 4, 8, 12, 1)]
    # Four activates 5 apart, and the fifth tRRD after, or tFAW after the first.
    assert cycles(lines, tmp_path) == 4 * 5 + 1 + 2
    assert cycles(lines, tmp_path, replace(TIMING, tfaw=30)) == 30 + 1 + 2


def test_channels_go_their_own_ways(tmp_path: Path):
    """A queue of 33 lets the front end go on to another channel before the first is through."""
    left, right = "0xffff0000", "0x0000ffff"
    one = cycles([f"AiM MAC_ABK 64 {left} 0"], tmp_path)
    two = cycles([f"AiM MAC_ABK 64 {left} 0", f"AiM MAC_ABK 64 {right} 0"], tmp_path)
    # Of 64 columns from cycle 56 on, 2 apart, the 31st makes room for the last, which is sent the cycle after; then
    # the other half is decoded.
    assert two - one == 56 + 2 * (64 - 34) + 2


ROUNDS = st.lists(
    st.tuples(st.integers(1, 64), st.integers(1, 8), st.booleans(), st.sampled_from([1, 1, 2, 4, 8, 32])),
    min_size=1,
    max_size=3,
)
Round = tuple[int, int, bool, int]
Issue = Callable[[Clock], None]


def share(i: int, segments: int) -> str:
    """The mask of one of equal shares of the channels."""
    each = 32 // segments
    return hex(((1 << each) - 1) << (32 - each * (i + 1)))


def schedule(rounds: list[Round]) -> tuple[list[str], list[Issue]]:
    """Products as CENT's generator and as the compiler write them, as a trace and in closed form.

    A round has a read-out of its own, or there is one for all; its global buffers are equal, or in shares of their own.
    """
    lines: list[str] = []
    issues: list[Issue] = []

    def add(line: str, issue: Issue) -> None:
        lines.append(line)
        issues.append(issue)

    for i, (columns, waves, own, segments) in enumerate(rounds):
        lines += [f"AiM WR_GB {columns} 0 {share(segment, segments)}" for segment in range(segments)]
        issues.append(partial(pim.wr_gb_apart, timing=TIMING, columns=columns, instructions=segments))
        for _ in range(waves * own):
            add(f"AiM WR_BIAS 0 {ALL}", partial(pim.wr_bias, timing=TIMING))
        for row in range(16 * i, 16 * i + waves):
            add(f"AiM MAC_ABK {columns} {ALL} {row}", partial(pim.mac_abk, timing=TIMING, columns=columns, row=row))
        for _ in range(waves * own):
            add(f"AiM RD_MAC 0 {ALL}", partial(pim.rd_mac, timing=TIMING))
    add(f"AiM RD_MAC 0 {ALL}", partial(pim.rd_mac, timing=TIMING))
    return lines, issues


def closed_form(issues: list[Issue]) -> int:
    clock = simple_clock()
    for issue in issues:
        issue(clock)
    return int(pim.end(clock, TIMING).time_ps[0]) // TIMING.tck_ps


@settings(max_examples=60, deadline=None)
@given(ROUNDS)
def test_the_closed_form_follows_the_controllers(tmp_path_factory: pytest.TempPathFactory, rounds: list[Round]):
    lines, issues = schedule(rounds)
    expected = cycles(lines, tmp_path_factory.mktemp("trace"))
    if any(segments > 1 for *_, segments in rounds):
        assert closed_form(issues) == pytest.approx(expected, rel=0.06)
    else:
        assert closed_form(issues) == expected


@pytest.mark.parametrize("columns", [1, 33, 34, 64])
def test_a_global_buffer_of_its_own_for_each_share(columns: int, tmp_path: Path):
    """An instruction that is longer than a queue keeps the front end, while its channel changes the mode and writes."""
    lines, issues = schedule([(columns, 4, True, 1), (columns, 4, False, 8)])
    lines, issues = lines[:-1], issues[:-1]
    assert closed_form(issues) == cycles(lines, tmp_path)


@pytest.mark.parametrize(("waves", "blocks", "expected"), [(8, 4, 7995), (22, 4, 20721)])
def test_the_schedule_of_the_compiler(waves: int, blocks: int, expected: int, tmp_path: Path):
    """A product as lowered (docs/aim.md): biases, then a global buffer and a MAC per wave for each block of K."""
    lines = [f"AiM WR_BIAS 0 {ALL}"] * waves
    for block in range(blocks):
        lines.append(f"AiM WR_GB 64 0 {ALL}")
        lines += [f"AiM MAC_ABK 64 {ALL} {wave * blocks + block}" for wave in range(waves)]
    lines += [f"AiM RD_MAC 0 {ALL}"] * waves
    assert cycles(lines, tmp_path) == expected


def test_what_goes_beyond_a_row_is_counted_and_noted(tmp_path: Path):
    path = tmp_path / "rotary.trace"
    path.write_text(f"AiM EWMUL 256 {ALL} 20000\nAiM EWMUL 300 {ALL} 20000\nAiM EOC\n")
    cost = trace_cycles(path, TIMING, refresh=False)
    # The row opened, 25 later the first of 556 columns 2 apart, 1 to the end of the last, 2 to go round.
    assert cost.cycles == 25 + 2 * 555 + 1 + 2
    assert cost.notes == [
        f"{path}:1: EWMUL names columns 256, a row has 64: costed as if it had",
        f"{path}:1: EWMUL names row 20000, a bank has 16384: costed as if it had",
    ]


@pytest.mark.parametrize("line", ["AiM WR_SBK 0012 0X1 08 009", ",AiM,WR_SBK,12,1,8,9,,", "AiM ISR_WR_SBK 12 0x01 8 9"])
def test_numbers_and_separators_of_the_simulator(line: str):
    write, _ = parse_trace(["#,R/W,GPR,[GPR_id],,,,,", ",,,,", line, "AiM EOC"], TIMING)
    assert write.operands == {"gpr": 12, "mask": 1, "bank": 8, "row": 9}
    assert write.channels == 1 << 31


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AiM WR_SBK 1_2 1 8 9", "gpr '1_2' is not a number"),
        ("AiM WR_SBK 12 0b1 8 9", "mask '0b1' is not a number"),
        ("AiM MAC_ABK -1 1 0", "columns -1 is out of range"),
        ("W CFR 3 1", "register 3 is out of range"),
    ],
)
def test_numbers_that_the_simulator_does_not_read(line: str, message: str):
    with pytest.raises(ProgramError) as error:
        parse_trace([line, "AiM EOC"], TIMING, "x.trace")
    assert (error.value.message, error.value.where) == (message, "x.trace:1")
