"""The verifier takes valid programs and refuses, with a code of its own, each way of breaking them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.runtime import verifier
from crossbank.runtime.executor import Executor
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Kind
from crossbank.runtime.machine import Machine
from crossbank.runtime.program import SPACE_SHIFT, Code, Constant, Layout, ProgramError, Space, Table
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.tensors import TensorStore
from crossbank.runtime.verifier import corners, verify
from tests.runtime.toy import CONST, IO, MEMORY, PRIVATE, TOY, Builder, Way, at, port

ROWS, WIDTH = 8, 4
ROW_BYTES = 4 * WIDTH
Streams = Mapping[str, Sequence[Any]]


def rows(space: int, offset: int | str, dims: Sequence[int | str] = ("n", WIDTH)) -> Any:
    return at(space, offset, dims)


class Toy(Builder):
    """A builder with the toy's records by name."""

    def __init__(self) -> None:
        super().__init__({"n": (1, ROWS)})

    def copy(self, dst: Any, src: Any) -> Any:
        return self.op("toy.unary", dst=dst, src=src, way=Way.COPY)

    def signal(self, token: int) -> Any:
        return self.op("core.signal", token=token)

    def wait(self, token: int) -> Any:
        return self.op("core.wait", token=token)

    def loop(self, body: Sequence[Any], trips: int | str = "n", counter: str = "i", kind: str = "sequential") -> Any:
        return [self.op("core.loop", counter=counter, trips=trips, kind=kind), *body, self.op("core.end")]

    def call(self, block: str = "layer", first: int | str = 0, count: int | str = 3, table: str = "layer") -> Any:
        self.pools.named(Kind.TABLE, table)
        return self.op("core.call", block=block, table=table, first=first, rows=count)

    def layer(self, streams: Streams, parameters: Sequence[str] = ("place",), values: Any = None) -> None:
        self.pools.named(Kind.BLOCK, "layer")
        self.block("layer", streams, parameters)
        self.tables["layer"] = Table("layer", ("place",), np.array([[0], [1], [2]]) if values is None else values)

    def program(self, streams: Streams, **changes: Any) -> Code:
        """The code of a main block with `x` [n, 4] as input at 0 and `y` [n, 4] as output at 1024 of io."""
        self.block("main", streams)
        tensors = [port("x", ["n", WIDTH], 0)], [port("y", ["n", WIDTH], 1024)]
        self.function("main", "main", *tensors)
        tables = {name: self.tables[name] for name in self.pools.tables}
        return self.code(**({"tables": tables} | changes))


def checked(make: Callable[[Toy], Streams], **changes: Any) -> Code:
    with extra_sets(TOY):
        toy = Toy()
        code = toy.program(make(toy), **changes)
        verify(code)
        return code


def refused(code: str, message: str, make: Callable[[Toy], Streams], **changes: Any) -> None:
    with pytest.raises(ProgramError) as caught:
        checked(make, **changes)
    assert caught.value.code == code, str(caught.value)
    assert message in str(caught.value)


X, Y = rows(IO, 0), rows(IO, 1024)
A, B = rows(MEMORY, 0), rows(MEMORY, ROWS * ROW_BYTES)


def valid(toy: Toy) -> Streams:
    """Two engines, a loop, a parallel loop with private memory, a call of three rows: y = x + 3 * (x + x)."""
    scratch = rows(MEMORY, f"place*{ROWS * ROW_BYTES} + {4 * ROWS * ROW_BYTES}")
    double, add = toy.op("toy.add", dst=scratch, a=A, b=A), toy.op("toy.add", dst=B, a=B, b=scratch)
    toy.layer({"e0": [double, toy.signal(2), toy.wait(3)], "e1": [toy.wait(2), add, toy.signal(3)]})
    here, there = at(MEMORY, f"i*{ROW_BYTES}", [WIDTH]), at(MEMORY, f"j*{ROW_BYTES} + 2048", [WIDTH])
    private = at(PRIVATE, 0, [WIDTH])
    fill = toy.loop([toy.copy(here, at(IO, f"i*{ROW_BYTES}", [WIDTH]))])
    lanes = [toy.copy(private, at(MEMORY, f"j*{ROW_BYTES}", [WIDTH])), toy.copy(there, private)]
    return {
        "e0": [*fill, *toy.loop(lanes, counter="j", kind="parallel"), toy.signal(0), toy.call()],
        "e1": [toy.wait(0), toy.copy(B, rows(MEMORY, 2048)), toy.call(), toy.copy(Y, B)],
    }


def run(code: Code, n: int, rotate: int = 0) -> np.ndarray[Any, Any]:
    """y of a program for x = 0, 1, 2, …"""
    machine = Machine(code, TensorStore())
    with extra_sets(TOY):
        executor = Executor(machine, rotate=rotate)
        x = machine.view(IO << SPACE_SHIFT, np.dtype(np.float32), (n, WIDTH), (ROW_BYTES, 4))
        x[...] = np.arange(n * WIDTH).reshape(n, WIDTH)
        executor.run("main", {"n": n})
        y = machine.view(IO << SPACE_SHIFT | 1024, np.dtype(np.float32), (n, WIDTH), (ROW_BYTES, 4))
        return y[0].copy()


@pytest.mark.parametrize("n", [1, 5, ROWS])
@pytest.mark.parametrize("rotate", [0, 1])
def test_a_valid_program_is_taken_and_runs(n: int, rotate: int) -> None:
    assert run(checked(valid), n, rotate).tolist() == (7.0 * np.arange(n * WIDTH).reshape(n, WIDTH)).tolist()


# ------------------------------------------------------------ synchronisation


def without(index: int, engine: str) -> Callable[[Toy], Streams]:
    """The valid main block less one record."""

    def make(toy: Toy) -> Streams:
        streams = {name: list(stream) for name, stream in valid(toy).items()}
        del streams[engine][index]
        return streams

    return make


def test_a_missing_wait_is_a_race_or_leaves_a_token() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(A, X), toy.signal(0)], "e1": [toy.copy(Y, A), toy.wait(0)]}

    refused("CB0527", "no token orders this after block main, e0: toy.unary dst", make)


def test_a_missing_signal_is_a_deadlock() -> None:
    refused("CB0511", "streams wait for each other", without(-2, "e0"))


def test_two_writers_without_order_are_refused() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X)], "e1": [toy.copy(Y, X)]}

    refused("CB0527", "e1: toy.unary dst", make)


def test_engines_that_read_the_same_need_no_token() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X)], "e1": [toy.copy(A, X)]}

    checked(make)


def test_order_passes_through_a_third_party() -> None:
    def make(toy: Toy) -> Streams:
        return {
            "e0": [toy.copy(A, X), toy.signal(0), toy.wait(1), toy.copy(Y, A)],
            "e1": [toy.wait(0), toy.copy(A, X), toy.signal(1)],
        }

    checked(make)


def test_a_token_that_nobody_awaits_is_refused() -> None:
    refused("CB0513", "token 0 is signalled and never awaited", lambda toy: {"e0": [toy.copy(Y, X), toy.signal(0)]})


def test_a_loop_must_await_what_it_signals() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.signal(0)])], "e1": [toy.wait(0)]}

    refused("CB0513", "loop i leaves tokens {0: 1} behind that were {} before", make)


def test_a_loop_of_one_trip_may_signal() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.signal(0)], trips=1)], "e1": [toy.wait(0)]}

    checked(make)


def test_a_race_between_trips_is_found() -> None:
    def make(toy: Toy) -> Streams:
        bodies = [toy.copy(A, X), toy.signal(0)], [toy.wait(0), toy.copy(B, A)]
        return {"e0": [toy.copy(Y, X), *toy.loop(bodies[0])], "e1": toy.loop(bodies[1])}

    refused("CB0527", "e0: toy.unary dst", make)


# -------------------------------------------------------------- loops, calls


def test_engines_agree_on_shared_loops() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.copy(A, X)])], "e1": toy.loop([toy.copy(B, X)], trips="n + 1")}

    refused("CB0531", "loop i differs between engines e0, e1", make)


@pytest.mark.parametrize(
    ("trips", "message"),
    [("n*n - 100", "has -99 to -36 trips"), ("n*1000000000000", "has 1000000000000 to 8000000000000 trips, at most")],
)
def test_trips_are_bounded(trips: str, message: str) -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.copy(A, X)], trips=trips)]}

    refused("CB0531", message, make)


def test_a_loop_without_trips_does_nothing() -> None:
    checked(lambda toy: {"e0": [toy.copy(Y, X), *toy.loop([toy.copy(Y, rows(9, 0))], trips=0)]})


def test_a_counter_has_a_register_of_its_own() -> None:
    def nested(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop(toy.loop([toy.copy(A, X)]))]}

    def dimension(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.copy(A, X)], counter="n")]}

    refused("CB0531", "loop i counts in a register that is in use", nested)
    refused("CB0531", "loop n counts in a register that is in use", dimension)


def test_parallel_loops_do_not_nest() -> None:
    def make(toy: Toy) -> Streams:
        inner = toy.loop([toy.copy(at(MEMORY, 0, [1]), at(IO, 0, [1]))], counter="j", kind="parallel")
        return {"e0": [toy.copy(Y, X), *toy.loop(inner, kind="parallel")]}

    refused("CB0531", "parallel loop j inside another", make)


def test_a_counter_is_not_used_after_its_loop() -> None:
    def make(toy: Toy) -> Streams:
        return {"e0": [*toy.loop([toy.copy(Y, X)]), toy.copy(at(MEMORY, "i*4", [1]), at(IO, 0, [1]))]}

    refused("CB0526", "needs register i", make)


@pytest.mark.parametrize(
    ("first", "count", "message"),
    [(0, 4, "uses rows 0 to 3 of 3"), (3, 1, "uses rows 3 to 3 of 3"), (0, "n", "uses rows 0 to 7 of 3")],
)
def test_rows_of_a_call_exist(first: int, count: int | str, message: str) -> None:
    def make(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(A, X)]})
        return {"e0": [toy.copy(Y, X), toy.call(first=first, count=count)]}

    refused("CB0525", message, make)


def test_a_table_has_the_columns_of_the_block() -> None:
    def make(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(A, X)]}, ["other"])
        return {"e0": [toy.copy(Y, X), toy.call()]}

    refused("CB0525", "table layer has columns ('place',), layer takes ('other',)", make)


def test_a_parameter_has_a_register_of_its_own() -> None:
    def make(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(A, X)]}, ["n"])
        toy.tables["layer"] = Table("layer", ("n",), np.array([[1]]))
        return {"e0": [toy.copy(Y, X), toy.call(count=1)]}

    refused("CB0525", "sets n, which is in use", make)


def test_every_engine_of_a_block_makes_the_call() -> None:
    def make(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(A, X)], "e1": [toy.copy(B, X)]})
        return {"e0": [toy.copy(Y, X), toy.call()]}

    refused("CB0525", "is made by e0; layer has streams for e0, e1", make)


def test_blocks_that_call_themselves_are_refused() -> None:
    def make(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(A, X), toy.call(count=1)]}, [], np.zeros((3, 0), np.int64))
        toy.tables["layer"] = Table("layer", (), np.zeros((3, 0), np.int64))
        return {"e0": [toy.copy(Y, X), toy.call(count=1)]}

    refused("CB0531", "loops and calls nest deeper than 8", make)


def test_blocks_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "MAX_VISITS", 200)

    def make(toy: Toy) -> Streams:
        names = [f"level{i}" for i in range(7)]
        for i, name in enumerate(names):
            toy.pools.named(Kind.BLOCK, name)
            inner = [toy.call(names[i + 1], count=1, table="none")] if i + 1 < len(names) else [toy.copy(A, X)]
            toy.block(name, {"e0": inner * 12})
        toy.tables["none"] = Table("none", (), np.zeros((1, 0), np.int64))
        return {"e0": [toy.copy(Y, X), toy.call(names[0], count=1, table="none")]}

    refused("CB0531", "nested to more than", make)


# ------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (rows(IO, 1024, ["n", 4096]), "of memory io, which has 65536"),
        (rows(IO, "n*8192"), "of memory io, which has 65536"),
        (rows(IO, 0, ["n - 2", WIDTH]), "a dimension of n - 2 x 4 is negative"),
        (at(IO, 0, ["n"], [-1]), "lies in no memory"),
        (at(9, 0, ["n"]), "lies in no memory"),
        (at(CONST, 0, ["n"]), "lie in no constant"),
        (at(IO, (1 << SPACE_SHIFT) - 16, ["n", WIDTH]), "leave memory io"),
    ],
)
def test_every_address_lies_in_a_memory(tensor: Any, message: str) -> None:
    refused("CB0528", message, lambda toy: {"e0": [toy.copy(Y, X), toy.copy(tensor, X)]})


def test_addresses_of_all_trips_and_rows_are_tried() -> None:
    def loop(toy: Toy) -> Streams:
        return {"e0": [toy.copy(Y, X), *toy.loop([toy.copy(at(MEMORY, "i*10000", [1]), at(IO, 0, [1]))])]}

    def call(toy: Toy) -> Streams:
        toy.layer({"e0": [toy.copy(at(MEMORY, "place", [1]), at(IO, 0, [1]))]}, values=np.array([[0], [1 << 20], [4]]))
        return {"e0": [toy.copy(Y, X), toy.call()]}

    refused("CB0528", "bytes up to 70004 of memory mem, which has 65536", loop)
    refused("CB0528", "bytes up to 1048580 of memory mem, which has 65536", call)


def test_constants_are_read_within_their_bounds_and_never_written() -> None:
    constants = {"w": Constant("w", "float32", (2, 4), CONST << SPACE_SHIFT | 64)}

    def read(offset: int, dims: list[int]) -> Callable[[Toy], Streams]:
        return lambda toy: {"e0": [toy.copy(Y, X), toy.copy(at(MEMORY, 0, dims), at(CONST, offset, dims))]}

    checked(read(64, [2, 4]), constants=constants)
    checked(read(80, [4]), constants=constants)
    refused("CB0528", "lie in no constant", read(80, [2, 4]), constants=constants)
    refused("CB0528", "lie in no constant", read(0, [4]), constants=constants)
    refused(
        "CB0532", "writes to constant memory",
        lambda toy: {"e0": [toy.copy(Y, X), toy.copy(at(CONST, 64, [2, 4]), at(IO, 0, [2, 4]))]}, constants=constants,
    )  # fmt: skip


def test_what_is_read_was_written() -> None:
    refused("CB0523", "reads bytes 0 to 128 of its 128", lambda toy: {"e0": [toy.copy(Y, A)]})
    half = rows(MEMORY, 0, ["n", 2])
    refused(
        "CB0523", "reads bytes 64 to 128 of its 128 before they are written",
        lambda toy: {"e0": [toy.copy(half, rows(IO, 0, ["n", 2])), toy.copy(Y, A)]},
    )  # fmt: skip


def test_outputs_are_written() -> None:
    refused("CB0523", "output y is not written in bytes 0 to 128", lambda toy: {"e0": [toy.copy(A, X)]})


def test_private_memory_is_new_in_each_loop() -> None:
    def make(toy: Toy) -> Streams:
        private, row = at(PRIVATE, 0, [WIDTH]), at(MEMORY, f"i*{ROW_BYTES}", [WIDTH])
        first = toy.loop([toy.copy(private, at(IO, f"i*{ROW_BYTES}", [WIDTH]))], kind="parallel")
        second = toy.loop([toy.copy(row, private)], kind="parallel")
        return {"e0": [toy.copy(Y, X), *first, *second]}

    refused("CB0523", "before they are written", make)


def test_later_functions_find_what_earlier_ones_left() -> None:
    def code(kept: bool) -> Code:
        toy = Toy()
        toy.pools.named(Kind.BLOCK, "setup")
        toy.block("setup", {"e0": [toy.copy(A, rows(IO, 0))] if kept else []})
        toy.function("setup", "setup", [port("x", ["n", WIDTH], 0)])
        return toy.program({"e0": [toy.copy(Y, A)]})

    with extra_sets(TOY):
        verify(code(kept=True))
        with pytest.raises(ProgramError, match="before they are written"):
            verify(code(kept=False))


def test_counts_lie_in_their_range() -> None:
    def make(amount: str) -> Callable[[Toy], Streams]:
        return lambda toy: {"e0": [toy.copy(Y, X), toy.op("toy.increase", dst=Y, amount=amount, factor=1.0)]}

    checked(make("n - 1"))
    refused("CB0526", "amount is -1 to 6, not 0 to 2^32 - 1", make("n - 2"))
    refused("CB0526", "amount is", make("n*4294967296"))
    refused("CB0526", "needs register m", make("m"))


# ------------------------------------------------------------------- tables


def space(name: str, number: int, kind: str, used: int, capacity: int | None = None) -> dict[str, Space]:
    return {name: Space(name, number, kind, used, capacity)}


IO_SPACE = space("io", IO, "io", 1 << 16)


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"spaces": IO_SPACE | space("mem", IO, "memory", 64)}, "CB0530", "each needs its own"),
        ({"spaces": IO_SPACE | space("mem", -1, "memory", 64)}, "CB0530", "each needs its own"),
        ({"spaces": IO_SPACE | space("mem", 2, "tape", 64)}, "CB0530", "is of kind 'tape'"),
        ({"spaces": IO_SPACE | space("mem", 2, "memory", -64)}, "CB0530", "memory mem has -64 bytes"),
        ({"spaces": IO_SPACE | space("mem", 2, "memory", 64, 63)}, "CB0520", "needs 64 bytes and holds 63"),
        ({"constants": {"w": Constant("w", "float32", (4,), 0)}}, "CB0530", "has no place of its own"),
        ({"constants": {"w": Constant("w", "float31", (4,), CONST << SPACE_SHIFT)}}, "CB0530", "float31"),
        ({"constants": {"w": Constant("w", "int8", (-4,), CONST << SPACE_SHIFT)}}, "CB0530", "dimensions [-4]"),
        ({"constants": {c: Constant(c, "int8", (4,), CONST << SPACE_SHIFT) for c in "ab"}}, "CB0530", "constant b"),
        ({"layouts": [Layout("float31", (), ())]}, "CB0530", "float31"),
        ({"layouts": [Layout("int8", (Expr.of(1),), ())]}, "CB0530", "1 dimensions and 0 strides"),
        ({"tokens": -1}, "CB0530", "-1 tokens"),
        ({"tokens": 1 << 40}, "CB0530", "tokens are not 0 to"),
        ({"registers": {"n": (1, 1 << 80)}}, "CB0530", "register n runs from 1 to"),
        ({"registers": {"n": (3, 1)}}, "CB0530", "register n runs from 3 to 1"),
        ({"registers": {}}, "CB0530", "registers n have no range"),
        ({"nodes": []}, "CB0530", "block main names nodes that are missing"),
        ({"engines": {}}, "CB0530", "a stream for engine 'e0', which is missing"),
        ({"tables": {"t": Table("t", ("a", "b"), np.zeros((3, 1), np.int64))}}, "CB0530", "values for 2 columns"),
    ],
)  # fmt: skip
def test_tables_have_their_form(changes: dict[str, Any], code: str, message: str) -> None:
    refused(code, message, lambda toy: {"e0": [toy.copy(Y, X)]}, **changes)


def test_functions_start_in_blocks_that_are_there() -> None:
    with extra_sets(TOY):
        toy = Toy()
        toy.function("train", "train")
        with pytest.raises(ProgramError, match="starts in block 'train', which is missing"):
            verify(toy.program({"e0": [toy.copy(Y, X)]}))


def test_corners_respect_the_capacity() -> None:
    toy = Builder({"seq": (1, 8), "past": (0, 7), "total": (1, 8)})
    with extra_sets(TOY):
        toy.block("main", {})
        code = toy.code(dimensions=("seq", "past"), capacity={"past": Expr.of("total - seq")})
    found = corners(code)
    assert sorted(zip(found["seq"].tolist(), found["past"].tolist(), strict=True)) == [(1, 0), (1, 7), (8, 0)]


# --------------------------------------------------------------- properties


VALUES = st.one_of(st.integers(-12, 12), st.integers(-(1 << 62), -13), st.integers(1 << 33, 1 << 62))
"""Numbers of expressions, small numbers and addresses; no number of trips that would take hours."""


@settings(max_examples=150)
@given(st.sampled_from([("main", "e0"), ("main", "e1"), ("layer", "e0"), ("layer", "e1")]), st.integers(0, 30),
       st.integers(0, 15), VALUES)  # fmt: skip
def test_a_changed_operand_is_refused_or_runs(place: tuple[str, str], index: int, slot: int, value: int) -> None:
    code = checked(valid)
    block = code.blocks[place[0]]
    stream = block.streams[place[1]].copy()
    stream["args"][index % len(stream), slot] = value
    streams = {**block.streams, place[1]: stream}
    changed = replace(code, blocks={**code.blocks, block.name: replace(block, streams=streams)})
    with extra_sets(TOY):
        try:
            verify(changed)
        except ProgramError:
            return
    outcomes = {str(outcome(changed, rotate)) for rotate in (0, 1)}
    assert len(outcomes) == 1


def outcome(code: Code, rotate: int) -> Any:
    """What a run gives, or its diagnostic; any other exception is a bug."""
    try:
        return run(code, 5, rotate).tolist()
    except ProgramError as error:
        return error.code
