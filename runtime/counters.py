"""Counters: what a session has executed, by entry point, engine, instruction and ONNX node.

A listener of the executor. What an instruction does is told by its declaration (`Instruction.counts`), from the
operands that it was executed on, so shapes, trip counts and masks are those of the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.coster import TensorCost
from crossbank.runtime.counts import Counts
from crossbank.runtime.executor import Event
from crossbank.runtime.program import Code
from crossbank.runtime.registry import make_cost_unit

VIEWS = ("function", "engine", "instruction", "node")


@dataclass
class Tally:
    """Sums over executions; `macs` are the model's, `padding` comes on top, `hidden` are among the `scores`."""

    executed: int = 0
    macs: int = 0
    padding: dict[str, int] = field(default_factory=dict[str, int])
    scores: int = 0
    hidden: dict[str, int] = field(default_factory=dict[str, int])
    bytes: int = 0
    others: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, counts: Counts, trips: int) -> None:
        """Add what `trips` executions at once did."""
        self.macs += _sum(counts.macs, trips)
        self.scores += _sum(counts.scores, trips)
        self.bytes += _sum(counts.bytes, trips)
        for mine, theirs in (
            (self.padding, counts.padding),
            (self.hidden, counts.hidden),
            (self.others, counts.others),
        ):
            for name, amount in theirs.items():
                mine[name] = mine.get(name, 0) + _sum(amount, trips)

    def add(self, other: Tally) -> None:
        """Add another's sums."""
        self.executed += other.executed
        self.count(Counts(other.macs, other.padding, other.scores, other.hidden, other.bytes, other.others), 1)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON; reasons of which nothing was counted are left out."""
        return {
            "executed": self.executed,
            "macs": self.macs,
            "padding": {reason: n for reason, n in self.padding.items() if n},
            "scores": self.scores,
            "hidden": {reason: n for reason, n in self.hidden.items() if n},
            "bytes": self.bytes,
            **{name: n for name, n in self.others.items() if n},
        }


def _sum(amount: Any, trips: int) -> int:
    values: NDArray[Any] = np.asarray(amount)
    return int(values) * trips if values.ndim == 0 else int(np.broadcast_to(values, trips).sum())


@dataclass(frozen=True)
class Key:
    """What is counted apart: the entry point that ran, and who executed what for which ONNX node."""

    function: str
    engine: str
    instruction: str
    node: str


class Counters:
    """Counts what the executor does: `program.session(listeners=[counters := Counters(program.code)])`."""

    def __init__(self, code: Code) -> None:
        self.tallies: dict[Key, Tally] = {}
        self._units = {engine.name: make_cost_unit(engine) for engine in code.engines.values()}

    def before(self, event: Event) -> None:
        """Count one instruction, whose operands are ready."""
        instruction, trips = event.decoded.instruction, event.lanes.count
        tally = self.tallies.setdefault(Key(event.function, event.engine, event.decoded.name, event.node), Tally())
        tally.executed += trips
        if instruction.counts is not None:
            tally.count(instruction.counts(_Operands(event), self._units[event.engine]), trips)

    def after(self, event: Event) -> None:
        """Nothing: operands are counted as they were before."""

    def total(self, functions: Iterable[str] | None = None) -> Tally:
        """The sums of all that ran, or of some entry points."""
        wanted = None if functions is None else set(functions)
        return _joined(t for key, t in self.tallies.items() if wanted is None or key.function in wanted)

    def by(self, view: str) -> dict[str, Tally]:
        """The sums by one of `VIEWS`, in order of execution."""
        groups: dict[str, list[Tally]] = {}
        for key, tally in self.tallies.items():
            groups.setdefault(getattr(key, view) or "(none)", []).append(tally)
        return {name: _joined(tallies) for name, tallies in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """`total`, and the sums by each of `VIEWS`, ready for JSON."""
        views = {view: {name: tally.to_dict() for name, tally in self.by(view).items()} for view in VIEWS}
        return {"total": self.total().to_dict(), **views}


def _joined(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


class _Operands:
    """An event's operands as `counts` functions get them: tensors by shape, with their values."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._fields = {entry.name: entry for entry in event.decoded.instruction.fields}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._event.operands, name)
        entry = self._fields.get(name)
        if entry is None or entry.access is None or value is None:
            return value
        return TensorCost(value.shape[1:], value.dtype.name, 0, value)
