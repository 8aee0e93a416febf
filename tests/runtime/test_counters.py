"""Counters on small handwritten programs: executions of lanes, loops and calls, by view and by reason."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from crossbank.runtime.counters import Counters
from crossbank.runtime.counts import Counts, traffic
from crossbank.runtime.executor import Executor
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import InstructionSet, count, reads, writes
from crossbank.runtime.machine import Machine
from crossbank.runtime.program import Engine
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.tensors import TensorStore
from tests.runtime.toy import MEMORY, Builder, at

COUNTED = InstructionSet(
    "counted", 203, 1, "What counters count, for tests.", lambda config, machine: None, lambda config: config
)


def _nothing(*arguments: Any) -> None:
    pass


def _counts(o: Any, unit: Any) -> Counts:
    """`n` MACs for each element of x, up to the unit's `width` of padding, a score each, half of them hidden."""
    macs = o.n * o.x.elements
    hidden = {"odd": o.x.elements // 2, "never": 0}
    return Counts(macs, {"narrow": unit["width"] - macs}, o.x.elements, hidden, traffic(o, ("x", "y")), {"extra": 1})


COUNTED.define("work", 1, [writes("y"), reads("x"), count("n")], "", _nothing, _nothing, counts=_counts)
COUNTED.define("rest", 2, [], "", _nothing, _nothing)


def counted(steps: list[tuple[Any, ...]], **dimensions: int) -> Counters:
    b = Builder({"n": (0, 9)})
    tensors = {"x": at(MEMORY, 0, [4]), "y": at(MEMORY, "64 + i*8", [2])}
    records = [b.op(name, **{**(tensors if name == "counted.work" else {}), **more}) for name, more in steps]
    b.block("main", {"e0": records})
    code = b.code(engines={"e0": Engine("e0", "simd", "counted", {"width": 100})})
    counters = Counters(code)
    Executor(Machine(code, TensorStore()), [counters], lane_chunk=4).run("main", dimensions)
    return counters


def loop(kind: str) -> list[tuple[Any, ...]]:
    opened = ("core.loop", {"counter": "i", "trips": Expr.of("n"), "kind": kind})
    return [opened, ("counted.work", {"n": Expr.of("i")}), ("core.end", {}), ("counted.rest", {})]


def test_lanes_and_trips_count_alike() -> None:
    """Seven trips, in chunks of four lanes or one by one: 4 * i MACs each."""
    with extra_sets(COUNTED):
        for kind in ("parallel", "sequential"):
            counters = counted(loop(kind), n=7)
            found = counters.by("instruction")["counted.work"].to_dict()
            macs = 4 * sum(range(7))
            assert found == {
                "executed": 7, "macs": macs, "padding": {"narrow": 7 * 100 - macs}, "scores": 28,
                "hidden": {"odd": 14}, "bytes": 7 * (16 + 8), "extra": 7,
            }  # fmt: skip
            assert counters.by("instruction")["counted.rest"].executed == 1


def test_views_add_up_to_the_total() -> None:
    with extra_sets(COUNTED):
        counters = counted(loop("parallel"), n=5)
    found = json.loads(json.dumps(counters.to_dict()))
    for view in ("function", "engine", "instruction", "node"):
        assert sum(tally["macs"] for tally in found[view].values()) == found["total"]["macs"] == 40
        assert sum(tally["executed"] for tally in found[view].values()) == found["total"]["executed"] == 6
    assert list(found["function"]) == ["main"] and list(found["node"]) == ["node"] and list(found["engine"]) == ["e0"]
    assert counters.total(["setup"]).executed == 0


def test_amounts_that_are_nothing_have_no_counter() -> None:
    assert dict(Counts().amounts()) == {}
    assert dict(Counts(3, {"a": 4, "b": 0}, others={"c": 0}).amounts()) == {"macs": 3, "padded_macs": 7}
    steps = dict(Counts(np.array([1, 0]), bytes=np.array([0, 2])).amounts())
    assert {name: np.asarray(amount).tolist() for name, amount in steps.items()} == {
        "macs": [1, 0], "padded_macs": [1, 0], "bytes": [0, 2],
    }  # fmt: skip
