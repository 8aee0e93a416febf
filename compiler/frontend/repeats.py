"""Equal layers, found on the graph: which nodes repeat, and what each reads: its layer, the one before, outside."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend.graph import ABSENT, Graph, Info, Node
from crossbank.compiler.frontend.order import orders
from crossbank.compiler.frontend.simplify import frozen


@dataclass(frozen=True, slots=True)
class Inner:
    """Output `output` of node `node` of the same layer."""

    node: int
    output: int


@dataclass(frozen=True, slots=True)
class Carried:
    """What the layer before computed; an operand of the repeat for the first."""

    slot: int


@dataclass(frozen=True, slots=True)
class Shared:
    """A value from outside, the same for all layers."""

    slot: int


@dataclass(frozen=True, slots=True)
class Each:
    """A value from outside, another for each layer."""

    slot: int


@dataclass(frozen=True, slots=True)
class Static:
    """A static tensor or shape value: its name for each layer."""

    names: tuple[str, ...]


Source: TypeAlias = "Inner | Carried | Shared | Each | Static"


@dataclass(frozen=True)
class CarriedValue:
    """A value that goes from layer to layer: `first` enters layer 0, `result` (node, output) leaves each."""

    first: str
    result: tuple[int, int]


@dataclass(frozen=True)
class Repeat:
    """Equal layers: `layers[i][j]` is node j of layer i; `sources[j][k]` what its input k is."""

    layers: Sequence[Sequence[Node]]
    sources: Sequence[Sequence[Source | None]]
    carried: Sequence[CarriedValue]
    shared: Sequence[str]
    each: Sequence[Sequence[str]]
    """Per slot, the value's name for each layer."""
    each_out: Sequence[tuple[tuple[int, int], Sequence[str]]]
    """Values used after the repeat: (node, output), and the value's name for each layer."""

    @property
    def count(self) -> int:
        return len(self.layers)


Item: TypeAlias = "Node | Repeat"


_PLAIN_DATA = frozenset({"DequantizeLinear", "QuantizeLinear", "Add", "Mul", "Sub"})
"""Operators whose integer operands are data: they may differ from layer to layer."""
MIN_SAVED = 8
"""Repeats that save fewer nodes than this aren't worth a function."""
MAX_PERIOD = 8192
"""Nodes that a layer has at most."""
MAX_COMPARED = 10**9
"""Pairs of nodes that are compared at most in one order of the nodes."""


def find_repeats(graph: Graph, infos: Mapping[str, Info]) -> list[Item]:
    """The graph's nodes in an order that can be computed, equal layers as one item each."""
    best: list[Item] = list(graph.nodes)
    for order in orders(graph):
        items = _outline(order, _Finder(graph, infos))
        if _size(items) < _size(best):
            best = items
        if _size(best) * 2 < len(graph.nodes):
            break
    return best


def _size(items: Sequence[Item]) -> int:
    return sum(len(item.layers[0]) if isinstance(item, Repeat) else 1 for item in items)


def _outline(order: Sequence[Node], finder: _Finder) -> list[Item]:
    """The best repeat of a stretch of nodes, then those before and behind it."""
    done: list[Item] = []
    pending: list[Sequence[Node] | Repeat] = [order]
    compared = 0
    while pending:
        part = pending.pop()
        if isinstance(part, Repeat):
            done.append(part)
            continue
        compared += len(part) * min(len(part) // 2, MAX_PERIOD)
        found = finder.best(part) if compared <= MAX_COMPARED else None
        if found is None:
            done += part
            continue
        start, repeat = found
        pending += [part[start + repeat.count * len(repeat.layers[0]) :], repeat, part[:start]]
    return done


@dataclass
class _Finder:
    graph: Graph
    infos: Mapping[str, Info]

    def __post_init__(self) -> None:
        self.producer = {name: (node, o) for node in self.graph.nodes for o, name in enumerate(node.outputs) if name}
        self.users: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in node.inputs:
                self.users.setdefault(name, []).append(node)
        numbers: dict[Hashable, int] = {}
        self.labels = {id(n): numbers.setdefault(self.label(n), len(numbers)) for n in self.graph.nodes}
        self.contents: dict[str, Hashable] = {}

    def is_static(self, name: str) -> bool:
        return name not in self.producer and name in self.graph.store

    def content(self, name: str) -> Hashable:
        """What makes two static tensors or shape values the same for all layers; None if they may differ."""
        info = self.infos[name]
        if info.data is not None and (info.symbolic or info.dtype in ("int64", "int32", "bool")):
            text = tuple(map(str, info.data.reshape(-1))) if info.symbolic else info.data.tobytes()
            return (info.dtype, tuple(map(str, info.shape)), text)
        return None

    def label(self, node: Node) -> Hashable:
        """Equal for nodes that may be the same node of two layers."""
        exact = node.key not in _PLAIN_DATA
        inputs = tuple(self.operand(name, exact) for name in node.inputs)
        first = self.infos[next(name for name in node.outputs if name != ABSENT)]
        return (node.key, node.version, frozen(node.attributes), inputs, first.dtype, first.shape)

    def operand(self, name: str, exact: bool) -> Hashable:
        if name == ABSENT:
            return None
        info = self.infos[name]
        static = self.is_static(name) or info.symbolic
        return (static, info.dtype, info.shape, self.content(name) if static and exact else None)

    # ----------------------------------------------------------------- search

    def best(self, order: Sequence[Node]) -> tuple[int, Repeat] | None:
        """Start and repeat of the most nodes; of equal ones the shortest layer that carries the fewest values."""
        labels = np.array([self.labels[id(node)] for node in order], dtype=np.int64)
        runs = sorted(_runs(labels), key=lambda run: (-run[1] * (run[2] - 1), run[1]))
        for start, period, count, spare in runs[:_TRIES]:
            if period * (count - 1) < MIN_SAVED:
                return None
            place = {id(node): i for i, node in enumerate(order)}
            shifts = range(min(spare, period - 1) + 1)
            starts = sorted((start + s for s in shifts), key=lambda at: (self.crossing(order, place, at, period), at))
            for at in starts:
                repeat = self.wire([order[at + i * period : at + (i + 1) * period] for i in range(count)])
                if repeat is not None:
                    return at, repeat
        return None

    def crossing(self, order: Sequence[Node], place: Mapping[int, int], at: int, period: int) -> int:
        """How many values go from layer 0 to layer 1 when layers begin at `at`."""
        names: set[str] = set()
        for node in order[at + period : at + 2 * period]:
            for name in node.inputs:
                source = self.producer.get(name)
                if source is not None and at <= place.get(id(source[0]), -1) < at + period:
                    names.add(name)
        return len(names)

    # ----------------------------------------------------------------- wiring

    def wire(self, layers: Sequence[Sequence[Node]]) -> Repeat | None:
        """The repeat of these layers if every input is wired alike in all of them, else None."""
        place = {id(node): (i, j) for i, layer in enumerate(layers) for j, node in enumerate(layer)}
        wiring = _Wiring(self, layers, place)
        sources: list[list[Source | None]] = []
        for j, node in enumerate(layers[0]):
            row: list[Source | None] = []
            for k in range(len(node.inputs)):
                names = tuple(layer[j].inputs[k] for layer in layers)
                if names[0] == ABSENT:
                    row.append(None)
                    continue
                source = wiring.source(names)
                if source is None:
                    return None
                row.append(source)
            sources.append(row)
        if not wiring.carried:
            return None
        return Repeat(
            layers, sources, wiring.carried, wiring.shared, wiring.each, self.leaving(layers, place, wiring.carried)
        )

    def leaving(
        self, layers: Sequence[Sequence[Node]], place: Mapping[int, tuple[int, int]], carried: Sequence[CarriedValue]
    ) -> list[tuple[tuple[int, int], Sequence[str]]]:
        """Values that nodes outside or graph outputs use, apart from what the last layer carries out."""
        results = set(self.graph.results)
        last = {value.result for value in carried}
        out: list[tuple[tuple[int, int], Sequence[str]]] = []
        for j, node in enumerate(layers[0]):
            for o in range(len(node.outputs)):
                names = [layer[j].outputs[o] if o < len(layer[j].outputs) else ABSENT for layer in layers]
                used = [
                    name != ABSENT and (name in results or any(id(u) not in place for u in self.users.get(name, ())))
                    for name in names
                ]
                if any(used[:-1]) or (used[-1] and (j, o) not in last):
                    out.append(((j, o), names))
        return out


class _Wiring:
    """Where the inputs of corresponding nodes come from, while a repeat is being checked."""

    def __init__(self, finder: _Finder, layers: Sequence[Sequence[Node]], place: Mapping[int, tuple[int, int]]) -> None:
        self.finder, self.layers, self.place = finder, layers, place
        self.carried: list[CarriedValue] = []
        self.shared: list[str] = []
        self.each: list[Sequence[str]] = []

    def where(self, name: str) -> tuple[int, int, int] | None:
        """Layer, node and output that compute a value; None for one from outside."""
        found = self.finder.producer.get(name)
        if found is None or id(found[0]) not in self.place:
            return None
        return (*self.place[id(found[0])], found[1])

    def source(self, names: tuple[str, ...]) -> Source | None:
        places = [self.where(name) for name in names]
        if all(place is None for place in places):
            return self.outside(names)
        if all(place is not None and place[0] == i for i, place in enumerate(places)):
            inner = {place[1:] for place in places if place is not None}
            return Inner(*inner.pop()) if len(inner) == 1 else None
        if places[0] is None and all(place is not None and place[0] == i for i, place in enumerate(places[1:])):
            before = {place[1:] for place in places if place is not None}
            return self.carry(names[0], before.pop()) if len(before) == 1 else None
        return None

    def carry(self, first: str, result: tuple[int, int]) -> Source | None:
        infos, outputs = self.finder.infos, self.layers[0][result[0]].outputs
        if result[1] >= len(outputs) or outputs[result[1]] == ABSENT:
            return None
        leaving = infos[outputs[result[1]]]
        if infos[first].dtype != leaving.dtype or infos[first].shape != leaving.shape:
            return None
        return Carried(_slot(self.carried, CarriedValue(first, result)))

    def outside(self, names: tuple[str, ...]) -> Source | None:
        infos, finder = self.finder.infos, self.finder
        static = [finder.is_static(name) or infos[name].symbolic for name in names]
        if all(static):
            return Static(names if len(set(names)) > 1 else (names[0],) * len(names))
        if any(static) or any(
            infos[n].dtype != infos[names[0]].dtype or infos[n].shape != infos[names[0]].shape for n in names
        ):
            return None
        if len(set(names)) == 1:
            return Shared(_slot(self.shared, names[0]))
        return Each(_slot(self.each, names))


def _slot(slots: list[Any], item: Any) -> int:
    if item not in slots:
        slots.append(item)
    return slots.index(item)


_TRIES = 12


def _runs(labels: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Start, period, count and spare nodes of the longest periodic stretch for each period."""
    size = len(labels)
    for period in range(1, min(size // 2, MAX_PERIOD) + 1):
        same = labels[:-period] == labels[period:]
        if not same.any():
            continue
        edges = np.flatnonzero(np.diff(np.concatenate(([0], same.view(np.int8), [0]))))
        lengths = edges[1::2] - edges[::2]
        longest = int(lengths.argmax())
        length = int(lengths[longest])
        if length >= period:
            yield int(edges[2 * longest]), period, length // period + 1, length % period
