"""The ONNX graph while it is being imported: plain nodes and named values, light enough for graphs of 24,000 nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr
from crossbank.runtime.tensors import TensorStore

ABSENT = ""
"""The name that a node gives to an input or output that it leaves out."""


MAX_ELEMENTS = 1 << 48
MAX_DIM = 1 << 40
"""No tensor of a model has more elements, nor a longer dimension."""
DATA_DEPENDENT = "data_"
"""How names of dimensions begin that only running the model tells."""


@dataclass(slots=True, eq=False)
class Node:
    """One node: inputs and outputs are value names; `version` is the model's opset of the node's domain."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    version: int

    @property
    def key(self) -> str:
        """ "MatMul", or "com.microsoft:MatMulNBits" outside ai.onnx."""
        return f"{self.domain}:{self.op_type}" if self.domain else self.op_type

    def input(self, i: int) -> str:
        """The name of input `i`, `ABSENT` where the node has none."""
        return self.inputs[i] if i < len(self.inputs) else ABSENT


@dataclass(frozen=True, slots=True, eq=False)
class Info:
    """What is known of a value: numpy dtype name, shape, and its elements, where they are few and known.

    `data` is an array of numbers, or of `Expr` objects for integers that depend on dimensions.
    """

    dtype: str
    shape: tuple[Expr, ...]
    data: NDArray[Any] | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def symbolic(self) -> bool:
        """Whether elements are known as expressions of dimensions that the model's inputs bind."""
        return (
            self.data is not None
            and self.data.dtype == object
            and not any(data_dependent(expr) for expr in self.data.reshape(-1))
        )

    @property
    def known(self) -> bool:
        """Whether elements are known as numbers."""
        return self.data is not None and self.data.dtype != object


def data_dependent(expr: Expr) -> bool:
    """Whether an expression has a dimension that only running the model tells."""
    return any(symbol.startswith(DATA_DEPENDENT) for symbol in expr.symbols)


@dataclass(frozen=True)
class Port:
    """A graph input or output as declared: dimensions are integers, names, or None where the file says nothing."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None


@dataclass
class Graph:
    """A loaded model: nodes in topological order, static tensors by name in `store`."""

    file: str
    inputs: list[Port]
    outputs: list[Port]
    nodes: list[Node]
    store: TensorStore
    opsets: Mapping[str, int]
    declared: Mapping[str, Port]
    """Types that the file notes for inner values."""
    imported: list[str] = field(default_factory=list[str])
    """Names of all nodes of the file."""
    results: list[str] = field(default_factory=list[str])
    """The value of each output: its own name, or what that was found to equal."""
    origin: dict[str, str] = field(default_factory=dict[str, str])
    """The node that computes each value in the file, for values that are known by now."""
    bound: dict[str, bool] = field(default_factory=dict[str, bool])
    empty: list[str] = field(default_factory=list[str])
    """Dimensions that may be 0 although they are no cache's that a step makes longer."""
    """Inputs that branches were taken for, and the values; others are as good while all caches are empty."""
    weight_inputs: list[str] = field(default_factory=list[str])
    """Inputs that look like weights."""

    @property
    def folded(self) -> list[str]:
        """Nodes that are gone because their results are known, equal to others, or unused."""
        alive = {node.name for node in self.nodes}
        return [name for name in self.imported if name not in alive]

    def where(self, node: Node) -> str:
        """File and node, for diagnostics."""
        return f"{self.file}: {node.name} ({node.key})"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def as_array(values: Any) -> NDArray[Any]:
    """Expressions as an object array, turned into int64 where all are constant."""
    array = np.asarray(values, dtype=object)
    flat = [Expr.of(value) for value in array.reshape(-1)]
    if all(expr.is_constant for expr in flat):
        return np.array([expr.constant for expr in flat], dtype=np.int64).reshape(array.shape)
    out: NDArray[Any] = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(array.shape)
