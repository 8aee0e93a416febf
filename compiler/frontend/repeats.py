"""Equal layers, found on the graph: which nodes repeat, and what each reads from inside, before, outside and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from crossbank.compiler.frontend.graph import Graph, Info, Node


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


def find_repeats(graph: Graph, infos: Mapping[str, Info]) -> list[Item]:
    """The graph's nodes in an order that can be computed, equal layers as one item each."""
    return list(graph.nodes)
