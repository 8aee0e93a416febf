"""The short cost equals the event-by-event cost; times obey the laws of max-plus algebra."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crossbank.runtime.clock import Clock, Instant, latest, simple_clock
from crossbank.runtime.coster import Coster, StepCosts
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import InstructionSet, Kind, count, reads
from crossbank.runtime.program import Code, Engine, ProgramError, Table
from crossbank.runtime.registry import extra_sets
from tests.runtime.toy import MEMORY, Builder, at

ENGINES = ("e0", "e1", "e2")
DURATIONS = {"issue": 2, "work": 7, "transfer": 3}
TIMED = InstructionSet("timed", 202, 1, "For tests of costs.", lambda config, machine: None, dict)


def _nothing(unit: Any, operands: Any) -> None:
    raise AssertionError("not executed here")


def _work(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """The engine is busy for `amount` times its duration."""
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), o.amount * durations["work"], "work"))
    clock.spend("work", 1e-12 * np.asarray(o.amount))
    clock.count("macs", o.amount)


def _queue(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """The engine is free again after issuing; the work is done later, in order."""
    issued = clock.plus(clock.ready(clock.engine), durations["issue"], "issue")
    clock.set(clock.engine, issued)
    done = f"{clock.engine}.done"
    clock.set(done, clock.plus(latest(issued, clock.ready(done)), o.amount * durations["work"], "work"))
    clock.spend("work", 2e-12)


def _transfer(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """Holds the bus that all engines share, for the bytes of a tensor."""
    start = latest(clock.ready(clock.engine), clock.ready("bus"))
    end = clock.plus(start, o.src.bytes * durations["transfer"], "transfer")
    clock.set("bus", end)
    clock.set(clock.engine, end)
    clock.spend("transfer", 1e-12 * np.asarray(o.src.bytes))


def _mode(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """Work that finds another mode of the engine than it left, and changes it, where its amount is odd or even."""
    odd = bool(np.ravel(o.amount)[0] % 2)
    changes = clock.memo.get(f"{clock.engine}.odd", False) != odd
    clock.memo[f"{clock.engine}.odd"] = odd
    duration = durations["work"] + durations["issue"] * changes
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), duration, "work"))


def _row(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """Work on a row of a memory that all engines share, and that has to be opened where another one is open."""
    held = clock.memo.get("row", np.full(clock.steps, -1))
    clock.memo["row"] = np.broadcast_to(np.asarray(o.amount), clock.steps)
    duration = durations["work"] + durations["transfer"] * (held != o.amount)
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), duration, "work"))


TIMED.define("work", 1, [count("amount")], "Work.", _nothing, _work)
TIMED.define("queue", 2, [count("amount")], "Work later.", _nothing, _queue)
TIMED.define("transfer", 3, [reads("src")], "Move.", _nothing, _transfer)


def _beside(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """Work that goes on beside the engine, after what was done there."""
    done = f"{clock.engine}.done"
    clock.set(done, clock.plus(clock.ready(done), o.amount * durations["work"], "work"))


def _fill(clock: Clock, o: Any, durations: Mapping[str, int]) -> None:
    """Work that takes longer once 20 others have filled a queue."""
    held = clock.memo.get("held", 0)
    clock.memo["held"] = held + 1
    duration = durations["work"] if held < 20 else durations["work"] + durations["issue"]
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), duration, "work"))


TIMED.define("mode", 4, [count("amount")], "Work in a mode.", _nothing, _mode)
TIMED.define("row", 5, [count("amount")], "Work on a row.", _nothing, _row)
TIMED.define("fill", 7, [count("amount")], "Work through a queue.", _nothing, _fill)
TIMED.define("beside", 6, [count("amount")], "Work beside.", _nothing, _beside)


# ------------------------------------------------------------ random programs


@dataclass(frozen=True)
class Op:
    """An instruction of an engine; `amount` is an expression."""

    engine: str
    mnemonic: str
    amount: str


@dataclass(frozen=True)
class Sync:
    """One engine waits for another."""

    producer: str
    consumer: str


@dataclass(frozen=True)
class Credit:
    """A loop in which two engines hand each other buffers, the credits for them given before."""

    producer: str
    consumer: str
    trips: str
    buffers: int = 1


@dataclass(frozen=True)
class Loop:
    """A loop over a body."""

    trips: str
    body: tuple[Any, ...]
    rows: int = 0
    """Instead of trips: a call of a block over so many rows, whose parameter `p` is 1, 1, 2, 2, …."""


@dataclass
class Emitter:
    """Turns a program tree into streams."""

    builder: Builder
    counters: Iterator[int] = field(default_factory=itertools.count)
    tokens: Iterator[int] = field(default_factory=itertools.count)

    def streams(self, items: Sequence[Any]) -> dict[str, list[Any]]:
        """The records of each engine."""
        out: dict[str, list[Any]] = {engine: [] for engine in ENGINES}
        op = self.builder.op
        for item in items:
            match item:
                case Op(engine, "transfer", amount):
                    out[engine].append(op("timed.transfer", src=at(MEMORY, 0, [amount], dtype="uint8")))
                case Op(engine, mnemonic, amount):
                    out[engine].append(op(f"timed.{mnemonic}", amount=amount))
                case Sync(producer, consumer):
                    self.pair(out, producer, consumer)
                case Credit():
                    self.credit(out, item)
                case Loop(trips, body, 0):
                    name = f"i{next(self.counters)}"
                    inner = self.streams(body)
                    for engine in self.inside(inner):
                        loop = op("core.loop", counter=name, trips=trips, kind="sequential")
                        out[engine] += [loop, *inner[engine], op("core.end")]
                case Loop(_, body, rows):
                    self.call(out, body, rows)
        return out

    def inside(self, inner: Mapping[str, list[Any]]) -> list[str]:
        return [engine for engine in ENGINES if inner[engine]]

    def pair(self, out: dict[str, list[Any]], producer: str, consumer: str, token: int | None = None) -> None:
        token = next(self.tokens) if token is None else token
        out[producer].append(self.builder.op("core.signal", token=token))
        out[consumer].append(self.builder.op("core.wait", token=token))

    def credit(self, out: dict[str, list[Any]], item: Credit) -> None:
        op, producer, consumer = self.builder.op, item.producer, item.consumer
        full, free, name = next(self.tokens), next(self.tokens), f"i{next(self.counters)}"
        out[consumer] += [op("core.signal", token=free) for _ in range(item.buffers)]
        for engine, first, work, last in ((producer, free, "3", full), (consumer, full, "5", free)):
            out[engine] += [
                op("core.loop", counter=name, trips=item.trips, kind="sequential"),
                op("core.wait", token=first),
                op("timed.work", amount=work),
                op("core.signal", token=last),
                op("timed.work", amount="4"),
                op("core.end"),
            ]
        out[producer] += [op("core.wait", token=free) for _ in range(item.buffers)]

    def call(self, out: dict[str, list[Any]], body: Sequence[Any], rows: int) -> None:
        name = f"block{next(self.counters)}"
        inner = {engine: records for engine, records in self.streams(body).items() if records}
        self.builder.pools.named(Kind.BLOCK, name)
        self.builder.block(name, inner, ["p"])
        self.builder.tables[name] = Table(name, ("p",), np.array([[1 + i // 2] for i in range(rows)], np.int64))
        for engine in inner:
            out[engine].append(self.builder.op("core.call", block=name, table=name, first=0, rows=rows))


def program(items: Sequence[Any], **changes: int) -> Code:
    """The code of a tree, with durations changed."""
    builder = Builder({"n": (0, 50), "p": (0, 50)})
    with extra_sets(TIMED):
        emitter = Emitter(builder)
        builder.block("main", emitter.streams(items))
        tables = {name: builder.tables[name] for name in builder.pools.tables}
        config = DURATIONS | changes
        return builder.code(
            engines={engine: Engine(engine, "simd", "timed", config) for engine in ENGINES},
            tokens=next(emitter.tokens),
            tables=tables,
            dimensions=("n",),
        )


def cost(code: Code, n: Sequence[int], exact: bool = False) -> StepCosts:
    with extra_sets(TIMED):
        return Coster(code).cost("main", {"n": np.array(n, np.int64)}, exact)


AMOUNTS = st.sampled_from(["1", "4", "n", "n*2 + 1", "ceildiv(n, 3)"])
TRIPS = st.sampled_from(["0", "1", "2", "5", "9", "n", "n*2", "ceildiv(n, 2)"])
PAIRS = st.sampled_from(list(itertools.permutations(ENGINES, 2)))
LEAVES = st.one_of(
    st.builds(Op, st.sampled_from(ENGINES), st.sampled_from(["work", "queue", "transfer", "row", "beside"]), AMOUNTS),
    st.builds(Op, st.sampled_from(ENGINES), st.just("mode"), st.sampled_from(["1", "2"])),
    st.builds(lambda pair: Sync(*pair), PAIRS),
)
BODIES = st.recursive(
    st.lists(LEAVES, min_size=1, max_size=5),
    lambda bodies: st.lists(
        st.one_of(
            LEAVES,
            st.builds(lambda trips, body: Loop(trips, tuple(body)), TRIPS, bodies),
            st.builds(lambda rows, body: Loop("", tuple(body), rows), st.integers(1, 6), bodies),
            st.builds(lambda pair, trips, n: Credit(*pair, trips, n), PAIRS, TRIPS, st.integers(1, 3)),
        ),
        min_size=1,
        max_size=4,
    ),
    max_leaves=10,
)
STEPS = st.lists(st.integers(0, 12), min_size=1, max_size=4)


def totals(values: Mapping[Any, Any]) -> dict[Any, list[float]]:
    return {key: np.asarray(value).tolist() for key, value in values.items() if np.asarray(value).any()}


HELD_UP_A_TRIP_LATER = [
    Credit("e0", "e1", "1"),
    Loop("5", (Sync(producer="e0", consumer="e2"), Sync(producer="e1", consumer="e0"))),
]
"""The second trip moves e2 alone, to where the first moved e0: which then moves no more, nor does e2."""
OVERTAKEN_LATE = [
    Op("e0", "work", "1"),
    Loop("5", (Sync(producer="e1", consumer="e0"), Op("e1", "queue", "n"))),
    Op("e0", "work", "1"),
]
"""Only the last trip makes e0 wait, which the others find busy until then."""


@settings(max_examples=150)
@given(BODIES, STEPS)
@example(HELD_UP_A_TRIP_LATER, [0])
@example(OVERTAKEN_LATE, [0])
def test_the_short_cost_equals_the_event_by_event_cost(items: list[Any], n: list[int]) -> None:
    code = program(items)
    short, exact = cost(code, n), cost(code, n, exact=True)
    assert short.time_ps.tolist() == exact.time_ps.tolist()
    assert totals(short.counters) == totals(exact.counters)
    for ours, theirs in ((short.energy_j, exact.energy_j), (short.busy_ps, exact.busy_ps)):
        assert totals(ours).keys() == totals(theirs).keys()
        for key, value in totals(theirs).items():
            assert totals(ours)[key] == pytest.approx(value)


@settings(max_examples=60)
@given(BODIES, STEPS, st.booleans())
def test_the_critical_path_has_no_remainder(items: list[Any], n: list[int], exact: bool) -> None:
    found = cost(program(items), n, exact)
    assert (sum(found.path_ps.values(), np.zeros(len(n), np.int64)) == found.time_ps).all()
    assert all((part >= 0).all() for part in found.path_ps.values())


@settings(max_examples=60)
@given(BODIES, STEPS)
def test_steps_side_by_side_cost_what_they_cost_alone(items: list[Any], n: list[int]) -> None:
    code = program(items)
    together = cost(code, n)
    assert together.time_ps.tolist() == [int(cost(code, [one]).time_ps[0]) for one in n]


@settings(max_examples=60)
@given(BODIES, STEPS, st.sampled_from(sorted(DURATIONS)), st.integers(0, 6))
def test_time_never_rises_when_a_duration_falls(items: list[Any], n: list[int], name: str, less: int) -> None:
    slow = cost(program(items), n).time_ps
    fast = cost(program(items, **{name: max(DURATIONS[name] - less, 0)}), n).time_ps
    assert (fast <= slow).all()


@settings(max_examples=40)
@given(BODIES, STEPS, st.integers(1, 5))
def test_time_grows_in_proportion_with_all_durations(items: list[Any], n: list[int], factor: int) -> None:
    scaled = {name: value * factor for name, value in DURATIONS.items()}
    assert (cost(program(items, **scaled), n).time_ps == cost(program(items), n).time_ps * factor).all()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(0, 9)), max_size=20),
       st.dictionaries(st.sampled_from("abc"), st.integers(0, 100), max_size=3), st.integers(0, 1000))  # fmt: skip
def test_ready_times_that_shift_together_shift_all_others(
    moves: list[tuple[str, str, int]], ready: dict[str, int], shift: int
) -> None:
    def ends(by: int) -> dict[str, int]:
        clock = simple_clock()
        for name in "abc":
            moment = np.array([ready.get(name, 0) + by])
            clock.set(name, Instant(moment, moment[:, None]))
        for first, second, duration in moves:
            clock.set(second, clock.plus(latest(clock.ready(first), clock.ready(second)), duration, "move"))
        return {name: int(clock.ready(name).time_ps[0]) for name in "abc"}

    assert ends(shift) == {name: time + shift for name, time in ends(0).items()}


# --------------------------------------------------------------- single cases


def test_a_loop_costs_its_trips() -> None:
    found = cost(program([Loop("n", (Op("e0", "work", "2"),))]), [0, 1, 40])
    assert found.time_ps.tolist() == [0, 14, 40 * 14]
    assert found.counters["macs"].tolist() == [0, 2, 80]


def test_a_counter_that_costs_depend_on_is_followed() -> None:
    found = cost(program([Loop("n", (Op("e0", "work", "i0 + 1"),))]), [4])
    assert found.time_ps.tolist() == [7 * (1 + 2 + 3 + 4)]


def test_engines_run_side_by_side_until_they_wait() -> None:
    ops = [Op("e0", "work", "3"), Op("e1", "work", "1"), Sync("e0", "e1"), Op("e1", "work", "1")]
    assert cost(program(ops), [1]).time_ps.tolist() == [7 * 4]


def test_what_is_queued_ends_after_the_engine_is_free() -> None:
    ops = [Op("e0", "queue", "4"), Op("e0", "work", "1"), Sync("e0", "e1"), Op("e1", "work", "1")]
    found = cost(program(ops), [1])
    assert found.time_ps.tolist() == [2 + 7 * 4 + 7]
    assert {key[:2]: int(part[0]) for key, part in found.path_ps.items()} == {
        ("e0", "issue"): 2,
        ("e0", "work"): 28,
        ("e1", "work"): 7,
    }


def test_a_loop_whose_engine_remembers_something_else_each_trip_is_followed() -> None:
    code = program([Loop("n", (Op("e0", "fill", "1"),))])
    assert cost(code, [40]).time_ps == cost(code, [40], exact=True).time_ps == 40 * 7 + 20 * 2


def test_what_is_signalled_ahead_is_told_by_when_it_was_signalled() -> None:
    """Until e0's work beside takes longer than that before the loop, its signals have one and the same time."""
    builder = Builder({"n": (0, 50)})
    op = builder.op
    with extra_sets(TIMED):
        loop, end = op("core.loop", counter="i", trips="n", kind="sequential"), op("core.end")
        later = op("core.loop", counter="k", trips="1", kind="sequential")
        signal, wait = op("core.signal", token=0), op("core.wait", token=0)
        streams = {
            "e0": [op("timed.work", amount=20), signal, loop, op("timed.beside", amount=1), signal, end],
            "e1": [loop, wait, op("timed.work", amount=1), end, later, end],
            "e2": [later, wait, op("timed.work", amount=100), end],
        }
        builder.block("main", streams)
        engines = {engine: Engine(engine, "simd", "timed", DURATIONS) for engine in streams}
        code = builder.code(engines=engines, tokens=1, dimensions=("n",))
    assert cost(code, [40]).time_ps == cost(code, [40], exact=True).time_ps == 40 * 7 + 100 * 7


def test_rows_of_a_call_that_differ_in_cost_are_told_apart() -> None:
    found = cost(program([Loop("", (Op("e0", "work", "p"),), 5)]), [1])
    assert found.time_ps.tolist() == [7 * (1 + 1 + 2 + 2 + 3)]


@pytest.mark.parametrize(
    ("function", "dimensions", "code"), [("train", {"n": np.ones(1, np.int64)}, "CB0701"), ("main", {}, "CB0702")]
)
def test_unknown_functions_and_missing_dimensions_are_named(
    function: str, dimensions: Mapping[str, Any], code: str
) -> None:
    with extra_sets(TIMED), pytest.raises(ProgramError) as caught:
        Coster(program([Op("e0", "work", "n")])).cost(function, dimensions)
    assert caught.value.code == code


def test_streams_that_wait_for_each_other_are_refused() -> None:
    builder = Builder({"n": (0, 50)})
    with extra_sets(TIMED):
        waits = {engine: [builder.op("core.wait", token=i)] for i, engine in enumerate(("e0", "e1"))}
        builder.block("main", waits)
        code = builder.code(engines={e: Engine(e, "simd", "timed", DURATIONS) for e in ("e0", "e1")})
        with pytest.raises(ProgramError) as caught:
            Coster(code).cost("main", {"n": np.ones(1, np.int64)})
    assert caught.value.code == "CB0511" and "e0, e1" in caught.value.message


def test_expressions_of_counts_are_evaluated_for_every_step() -> None:
    assert cost(program([Op("e0", "work", str(Expr.of("n*n")))]), [2, 3]).time_ps.tolist() == [28, 63]
