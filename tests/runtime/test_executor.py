"""The executor on small handwritten programs: views, lanes, loops, calls, tokens, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.runtime.executor import Event, Executor
from crossbank.runtime.expr import Expr
from crossbank.runtime.machine import Machine
from crossbank.runtime.program import SPACE_SHIFT, Code, ProgramError, Space, Table
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.tensors import TensorStore
from tests.runtime.toy import CONST, MEMORY, PRIVATE, TOY, Builder, at

F32 = np.dtype(np.float32)


def run(
    code: Code,
    values: Mapping[int, Any],
    dimensions: Mapping[str, int] | None = None,
    tensors: TensorStore | None = None,
    **options: Any,
) -> Machine:
    """Run main with float32 `values` placed at offsets of the memory space."""
    machine = Machine(code, tensors or TensorStore())
    for offset, value in values.items():
        poke(machine, offset, np.asarray(value, np.float32))
    with extra_sets(TOY):
        Executor(machine, **options).run("main", dimensions or {})
    return machine


def poke(machine: Machine, offset: int, value: np.ndarray[Any, Any]) -> None:
    peek(machine, offset, value.shape)[...] = value


def peek(machine: Machine, offset: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    strides = np.empty(shape, np.float32).strides
    return machine.view(MEMORY << SPACE_SHIFT | offset, F32, shape, strides)[0]


def fails(code: Code, *args: Any, **options: Any) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        run(code, {}, *args, **options)
    return caught.value


def test_straight_line_with_symbolic_shapes_and_strides() -> None:
    b = Builder({"n": (0, 8), "m": (0, 8)})
    transposed = at(MEMORY, "256 + n*0", ["m", "n"], [1, "m"])
    b.block(
        "main", {"e0": [b.op("toy.add", dst=at(MEMORY, 1024, ["m", "n"]), a=at(MEMORY, 0, ["m", 1]), b=transposed)]}
    )
    x, y = np.arange(3.0).reshape(3, 1), np.arange(12.0).reshape(4, 3)
    machine = run(b.code(), {0: x, 256: y}, {"n": 4, "m": 3})
    np.testing.assert_array_equal(peek(machine, 1024, (3, 4)), x + y.T)


def test_absent_operands_are_none_and_immediates_arrive() -> None:
    b = Builder()
    b.block(
        "main",
        {
            "e0": [
                b.op("toy.add", dst=at(MEMORY, 64, [2]), a=at(MEMORY, 0, [2]), b=None),
                b.op("toy.increase", dst=at(MEMORY, 64, [2]), amount=3, factor=-0.5),
                b.op("toy.unary", dst=at(MEMORY, 128, [2]), src=at(MEMORY, 64, [2]), way="square"),
            ]
        },
    )
    machine = run(b.code(), {0: [1, 2]})
    np.testing.assert_array_equal(peek(machine, 128, (2,)), [0.25, 0.25])


def test_empty_tensors_work() -> None:
    b = Builder({"n": (0, 8)})
    b.block(
        "main",
        {
            "e0": [
                b.op("toy.add", dst=at(MEMORY, 64, ["n", 2]), a=at(MEMORY, 0, ["n", 2]), b=None),
                b.op("toy.matmul", dst=at(MEMORY, 64, [2, 2]), a=at(MEMORY, 0, [2, "n"]), b=at(MEMORY, 0, ["n", 2])),
            ]
        },
    )
    machine = run(b.code(), {64: np.ones((2, 2))}, {"n": 0})
    np.testing.assert_array_equal(peek(machine, 64, (2, 2)), 0)


def test_constants_are_read_where_they_lie_and_never_written() -> None:
    b, tensors = Builder(), TensorStore()
    weights = np.arange(8, dtype=np.float32).reshape(2, 4)
    tensors.add("w", weights)
    b.constant("w", weights, 128)
    b.block("main", {"e0": [b.op("toy.add", dst=at(MEMORY, 0, [3]), a=at(CONST, 128 + 4, [3]), b=None)]})
    machine = run(b.code(), {}, tensors=tensors)
    np.testing.assert_array_equal(peek(machine, 0, (3,)), [1, 2, 3])
    b.block("main", {"e0": [b.op("toy.add", dst=at(CONST, 128, [3]), a=at(MEMORY, 0, [3]), b=None)]})
    with pytest.raises(ProgramError, match="read-only"):
        run(b.code(), {}, tensors=tensors)
    assert weights[0, 0] == 0


def test_calls_set_a_row_of_parameters_each() -> None:
    b = Builder()
    b.tables["t"] = Table("t", ("src", "amount"), np.array([[0, 9], [4, 1], [8, 2], [12, 3]]))
    call = b.op("core.call", block="layer", table="t", first=1, rows=3)
    source = at(MEMORY, "src", [1])
    body = [
        b.op("toy.increase", dst=source, amount=Expr.of("amount"), factor=1.0),
        b.op("toy.add", dst=at(MEMORY, 64, [1]), a=at(MEMORY, 64, [1]), b=source),
    ]
    b.block("main", {"e0": [call]})
    b.block("layer", {"e0": body}, ["src", "amount"])
    machine = run(b.code(), {0: [1, 10, 20, 30], 64: [0]})
    np.testing.assert_array_equal(peek(machine, 0, (4,)), [1, 11, 22, 33])
    np.testing.assert_array_equal(peek(machine, 64, (1,)), [66])


def _two_engines(rows: int) -> Code:
    """e0 fills x from a table, e1 adds it up, tokens between them; each runs its part of the block `rows` times."""
    b = Builder()
    b.tables["t"] = Table("t", ("v",), np.arange(1, rows + 1).reshape(-1, 1))
    call = b.op("core.call", block="layer", table="t", first=0, rows=rows)
    x, total = at(MEMORY, 0, [1]), at(MEMORY, 64, [1])
    b.block("main", {"e0": [b.op("core.signal", token=1), call, b.op("core.wait", token=1)], "e1": [call]})
    b.block(
        "layer",
        {
            "e0": [
                b.op("core.wait", token=1),
                b.op("toy.unary", dst=x, src=at(MEMORY, 128, [1]), way="copy"),
                b.op("toy.increase", dst=x, amount=Expr.of("v"), factor=1.0),
                b.op("core.signal", token=0),
            ],
            "e1": [
                b.op("core.wait", token=0),
                b.op("toy.add", dst=total, a=total, b=x),
                b.op("toy.increase", dst=total, amount=Expr.of("v"), factor=100.0),
                b.op("core.signal", token=1),
            ],
        },
        ["v"],
    )
    return b.code()


@pytest.mark.parametrize("rotate", [0, 1])
def test_streams_meet_at_tokens_in_any_order(rotate: int) -> None:
    machine = run(_two_engines(4), {128: [0.5]}, rotate=rotate)
    np.testing.assert_array_equal(peek(machine, 64, (1,)), [10 + 4 * 0.5 + 1000])


def test_a_deadlock_names_the_waiting_streams() -> None:
    b = Builder()
    b.block("main", {"e0": [b.op("core.wait", token=2)], "e1": [b.op("core.wait", token=3)]})
    error = fails(b.code())
    assert error.code == "CB0511"
    assert error.message == "streams wait for each other: e0 for token 2 at main[0]; e1 for token 3 at main[0]"


def test_a_signal_that_nobody_awaits_is_refused() -> None:
    b = Builder()
    b.block("main", {"e0": [b.op("core.signal", token=2)]})
    assert fails(b.code()).code == "CB0513"


def _attention_like() -> Code:
    """For each of `rows` trips, on two engines: scratch = a[i] @ b[i]; out[i] = sum over k of |scratch[k]| ** 2 + i."""
    b = Builder({"rows": (0, 64), "n": (1, 4)})
    loop = b.op("core.loop", counter="i", trips=Expr.of("rows"), kind="parallel")
    inner = b.op("core.loop", counter="k", trips=Expr.of("n"), kind="sequential")
    end = b.op("core.end")
    a, w = at(MEMORY, "i*n*4", [1, "n"]), at(MEMORY, "4096 + (i // 2)*n*n*4", ["n", "n"])
    out = at(MEMORY, "32768 + i*8", [1])
    scratch, total = at(PRIVATE, 0, [1, "n"]), at(PRIVATE, 256, [1])
    element = at(PRIVATE, "k*4", [1])
    b.block(
        "main",
        {
            "e0": [loop, b.op("toy.matmul", dst=scratch, a=a, b=w), b.op("core.signal", token=0), end],
            "e1": [
                loop,
                b.op("core.wait", token=0),
                b.op("toy.unary", dst=total, src=at(MEMORY, 65532, [1]), way="copy"),
                inner,
                b.op("toy.unary", dst=element, src=element, way="square"),
                b.op("toy.add", dst=total, a=total, b=element),
                end,
                b.op("toy.increase", dst=total, amount=Expr.of("i"), factor=1.0),
                b.op("toy.load", src=total),
                b.op("toy.store", dst=out),
                end,
            ],
        },
    )
    return b.code()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 33), st.integers(1, 4), st.integers(1, 40), st.integers(0, 1), st.integers(0, 1 << 16))
def test_lanes_equal_trips(rows: int, n: int, chunk: int, rotate: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, w = random.integers(-3, 4, (rows, n)), random.integers(-3, 4, (rows // 2 + 1, n, n))
    values = {0: a, 4096: w, 65532: [0]}
    dimensions = {"rows": rows, "n": n}
    expected = [((a[i] @ w[i // 2]) ** 2).sum() + i for i in range(rows)]
    for options in ({"lane_chunk": 1}, {"lane_chunk": chunk, "rotate": rotate}, {"rotate": rotate}):
        machine = run(_attention_like(), values, dimensions, **options)
        np.testing.assert_array_equal(peek(machine, 32768, (rows, 2))[:, 0], expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 24))
def test_lanes_may_write_anywhere(rows: int, chunk: int) -> None:
    b = Builder({"rows": (0, 64)})
    place = at(MEMORY, "1024 + ((i*7) % 64)*8", [2])
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=Expr.of("rows"), kind="parallel"),
                b.op("toy.add", dst=place, a=at(MEMORY, "(i % 3)*4", [1]), b=None),
                b.op("toy.increase", dst=place, amount=Expr.of("i + 1"), factor=1.0),
                b.op("core.end"),
            ]
        },
    )
    machine = run(b.code(), {0: [10, 20, 30]}, {"rows": rows}, lane_chunk=chunk)
    written = peek(machine, 1024, (64, 2))
    expected = np.zeros((64, 2))
    for i in range(rows):
        expected[i * 7 % 64] = 10 * (i % 3 + 1) + i + 1
    np.testing.assert_array_equal(written, expected)


def test_lanes_gather_constants_of_different_tensors() -> None:
    b, tensors = Builder(), TensorStore()
    experts = [np.full(2, 5.0, np.float32), np.full(2, 7.0, np.float32)]
    for i, values in enumerate(experts):
        tensors.add(f"w{i}", values)
        b.constant(f"w{i}", values, 64 * i)
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=2, kind="parallel"),
                b.op("toy.add", dst=at(MEMORY, "i*8", [2]), a=at(CONST, "i*64", [2]), b=None),
                b.op("core.end"),
            ]
        },
    )
    machine = run(b.code(), {}, tensors=tensors)
    np.testing.assert_array_equal(peek(machine, 0, (2, 2)), experts)


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_a_parallel_loop_inside_another_runs_trip_by_trip(chunk: int | None) -> None:
    b = Builder()
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=3, kind="parallel"),
                b.op("core.loop", counter="j", trips=2, kind="parallel"),
                b.op("toy.increase", dst=at(MEMORY, "i*8 + j*4", [1]), amount=Expr.of("i*10 + j"), factor=1.0),
                b.op("core.end"),
                b.op("core.end"),
            ]
        },
    )
    machine = run(b.code(), {}, lane_chunk=chunk)
    np.testing.assert_array_equal(peek(machine, 0, (3, 2)), [[0, 1], [10, 11], [20, 21]])


@pytest.mark.parametrize(
    ("dst", "text"),
    [
        (at(MEMORY, 65536 - 4, [2]), "float32[2] at 65532 in 1 lanes reaches bytes 65532 to 65540 of space mem"),
        (at(MEMORY, 0, [3], [-1]), "reaches bytes -8 to 4 of space mem"),
        (at(CONST, 60, [2]), "address 60 of the const space holds no constant"),
        (at(CONST, 0, [3]), "the constant there has 8 bytes"),
        (at(9, 0, [2]), "is in none of the program's memory spaces"),
        (at(MEMORY, 0, [2], [1, 1]), "a layout has 1 dimensions but 2 strides"),
    ],
)
def test_addresses_out_of_bounds(dst: Any, text: str) -> None:
    b, tensors = Builder(), TensorStore()
    tensors.add("w", np.zeros(2, np.float32))
    b.constant("w", np.zeros(2, np.float32), 0)
    b.block("main", {"e0": [b.op("toy.add", dst=dst, a=dst, b=None)]})
    error = fails(b.code(), None, tensors)
    assert error.code == "CB0551"
    assert text in error.message


def test_private_memory_is_bounded_per_lane() -> None:
    b = Builder()
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=4, kind="parallel"),
                b.op("toy.increase", dst=at(PRIVATE, "i*256", [65]), amount=1, factor=1.0),
                b.op("core.end"),
            ]
        },
    )
    error = fails(b.code())
    assert error.code == "CB0551"
    assert "node (toy.increase, block main, e0, record 1)" in error.where


@pytest.mark.parametrize(
    ("dst", "trips"), [(at(MEMORY, 0, [1]), 1), (at(MEMORY, "i*4", ["i + 1"]), 1), (at(MEMORY, "i*4", [1]), "i")]
)
def test_trips_that_are_not_independent_are_refused(dst: Any, trips: int | str) -> None:
    b = Builder()
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=4, kind="parallel"),
                b.op("core.loop", counter="j", trips=Expr.of(trips), kind="sequential"),
                b.op("toy.increase", dst=dst, amount=1, factor=1.0),
                b.op("core.end"),
                b.op("core.end"),
            ]
        },
    )
    assert fails(b.code()).code == "CB0553"


@pytest.mark.parametrize("names", [["core.end"], ["core.loop"], ["core.loop", "core.end", "core.end"]])
def test_loops_must_close(names: list[str]) -> None:
    b = Builder()
    fields = {"core.loop": {"counter": "i", "trips": 1, "kind": "sequential"}, "core.end": {}}
    b.block("main", {"e0": [b.op(name, **fields[name]) for name in names]})
    assert fails(b.code()).code == "CB0510"


def test_unset_registers_and_missing_rows_are_named() -> None:
    b = Builder()
    b.pools.registers.append("ghost")
    b.block("main", {"e0": [b.op("toy.increase", dst=at(MEMORY, "ghost", [1]), amount=1, factor=1.0)]})
    assert fails(b.code()).message == "register ghost is used before it is set"
    b = Builder({"n": (0, 4)})
    b.tables["t"] = Table("t", (), np.zeros((2, 0), np.int64))
    b.block("main", {"e0": [b.op("core.call", block="layer", table="t", first=1, rows=2)]})
    b.block("layer", {"e0": [b.op("core.loop", counter="i", trips=0, kind="parallel"), b.op("core.end")]})
    assert fails(b.code()).code == "CB0554"
    assert fails(b.code(), {"n": 5}).code == "CB0552"


def test_a_space_larger_than_any_computer_is_refused() -> None:
    b = Builder()
    b.block("main", {"e0": [b.op("toy.increase", dst=at(MEMORY, 0, [1]), amount=1, factor=1.0)]})
    code = b.code()
    code.spaces["mem"] = Space("mem", MEMORY, "memory", 1 << 62)
    assert fails(code).code == "CB0550"


def test_large_spaces_cost_nothing_until_touched() -> None:
    b = Builder()
    b.block("main", {"e0": [b.op("toy.increase", dst=at(MEMORY, 300 << 30, [1]), amount=2, factor=1.0)]})
    code = b.code()
    code.spaces["mem"] = Space("mem", MEMORY, "memory", (300 << 30) + 64)
    np.testing.assert_array_equal(peek(run(code, {}), 300 << 30, (1,)), [2])


def test_listeners_see_every_instruction_with_its_node() -> None:
    class Log:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str, int, float]] = []

        def before(self, event: Event) -> None:
            self.seen.append((event.decoded.name, event.node, event.index, float(event.operands.dst[0, 0])))

        def after(self, event: Event) -> None:
            self.seen.append((event.decoded.name, event.node, event.index, float(event.operands.dst[0, 0])))

    b, log = Builder(), Log()
    b.block("main", {"e0": [b.op("toy.increase", dst=at(MEMORY, 0, [1]), amount=2, factor=1.0)]})
    run(b.code(), {0: [5]}, listeners=[log])
    assert log.seen == [("toy.increase", "node", 0, 5.0), ("toy.increase", "node", 0, 7.0)]


def test_a_failed_parallel_loop_leaves_no_lanes_behind() -> None:
    b = Builder({"n": (0, 9)})
    b.block(
        "main",
        {
            "e0": [
                b.op("core.loop", counter="i", trips=Expr.of("n"), kind="parallel"),
                b.op("toy.load", src=at(MEMORY, "i*8", [2])),
                b.op("toy.store", dst=at(MEMORY, "65504 + i*8", [2])),
                b.op("core.end"),
                b.op("toy.store", dst=at(MEMORY, 0, [2])),
            ]
        },
    )
    machine = Machine(b.code(), TensorStore())
    with extra_sets(TOY):
        executor = Executor(machine)
        with pytest.raises(ProgramError, match="reaches bytes"):
            executor.run("main", {"n": 5})
        executor.run("main", {"n": 4})
    assert executor.units["e0"].accumulator.shape == (1,)
