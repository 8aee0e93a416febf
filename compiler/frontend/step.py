"""What a shape rule sees of one node, and the table of rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias

from numpy.typing import NDArray

from crossbank.compiler.frontend.graph import Info, Node
from crossbank.runtime.expr import ONE, Expr

MAX_KNOWN = 256
"""Tensors of more elements than this aren't followed by value, unless they are constant."""


class World(Protocol):
    """What rules may ask and tell beyond their node."""

    def equal(self, a: Expr, b: Expr, node: Node) -> bool:
        """Assume that two dimensions are equal; False if they can't be."""
        ...

    def within(self, value: Expr, limit: Expr, node: Node) -> None:
        """Assume that a length stays within another."""
        ...

    def fresh(self, node: Node) -> Expr:
        """A new dimension that depends on data."""
        ...

    def resolve(self, value: Expr) -> Expr:
        """The expression with all assumed equations used."""
        ...

    def integers(self, name: str) -> NDArray[Any] | None:
        """The elements of integers, or of those that floating-point numbers were cast from; None where unknown."""
        ...

    def progression(self, name: str) -> tuple[Expr, Expr] | None:
        """The first element of a Range and the difference between two; None for another value."""
        ...

    def refuse(self, node: Node, message: str) -> NoReturn:
        """Stop: the node's shapes are wrong."""
        ...


@dataclass(slots=True)
class Step:
    """One node with what is known of its inputs (None for those left out)."""

    node: Node
    inputs: Sequence[Info | None]
    world: World

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and self.inputs[i] is not None

    def info(self, i: int) -> Info:
        found = self.inputs[i] if i < len(self.inputs) else None
        if found is None:
            self.refuse(f"input {i} is missing")
        return found

    def shape(self, i: int) -> tuple[Expr, ...]:
        return self.info(i).shape

    def dtype(self, i: int) -> str:
        return self.info(i).dtype

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def data(self, i: int) -> NDArray[Any] | None:
        """The elements of an input, numbers or expressions; None if unknown or absent."""
        return self.info(i).data if self.has(i) else None

    def exprs(self, i: int) -> list[Expr] | None:
        """The elements of an integer input as expressions; None if unknown or absent."""
        data = self.data(i)
        return None if data is None else [Expr.of(int(v) if not isinstance(v, Expr) else v) for v in data.reshape(-1)]

    def ints(self, name: str, i: int) -> list[int] | None:
        """Integers given as attribute `name` or as input `i`; None if absent. Refuses integers that aren't constant."""
        if name in self.node.attributes:
            value = self.node.attributes[name]
            return [value] if isinstance(value, int) else list(value)
        if not self.has(i):
            return None
        info = self.info(i)
        if not info.known or info.data is None:
            self.refuse(f"{name} must be constant")
        return [int(v) for v in info.data.reshape(-1)]

    def axis(self, value: int, rank: int) -> int:
        """A non-negative axis of a tensor of `rank`."""
        if not -rank <= value < max(rank, 1):
            self.refuse(f"axis {value} of a tensor of {rank} dimensions")
        return value % rank if rank else 0

    def refuse(self, message: str) -> NoReturn:
        self.world.refuse(self.node, message)

    def expect(self, a: Expr, b: Expr, what: str) -> None:
        """Refuse two dimensions that can't be equal; assume it where they may."""
        if a != b and not self.world.equal(a, b, self.node):
            self.refuse(f"{what}: {a} and {b} differ")

    def join(self, a: Expr, b: Expr) -> Expr:
        """One dimension of a broadcast."""
        a, b = self.world.resolve(a), self.world.resolve(b)
        if a == b or b == ONE:
            return a
        if a == ONE:
            return b
        if a.is_constant and b.is_constant:
            self.refuse(f"dimensions {a} and {b} don't broadcast")
        self.expect(a, b, "broadcast dimensions")
        return self.world.resolve(a)

    def broadcast(self, *shapes: Sequence[Expr]) -> tuple[Expr, ...]:
        """The shape of an element-wise operation, numpy's rule; what may be equal to another size is taken to be so."""
        out: list[Expr] = []
        for shape in shapes:
            wide = [ONE] * (len(shape) - len(out)) + out
            offset = len(wide) - len(shape)
            out = wide[:offset] + [self.join(a, b) for a, b in zip(wide[offset:], shape, strict=True)]
        return tuple(out)


Outputs: TypeAlias = "list[Info]"
Rule: TypeAlias = "Callable[[Step], Outputs]"
Value: TypeAlias = "Callable[[Step, list[NDArray[Any]]], NDArray[Any] | list[NDArray[Any]] | None]"

RULES: dict[str, Rule] = {}
"""By operator: shapes and dtypes of the outputs."""
VALUES: dict[str, Value] = {}
"""By operator: the outputs' elements, for inputs of numbers or of expressions; None where they can't be known."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register the shape rule of operators."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        return function

    return register


def value(*operators: str) -> Callable[[Value], Value]:
    """Register how operators compute small tensors."""

    def register(function: Value) -> Value:
        for operator in operators:
            VALUES[operator] = function
        return function

    return register


def count(shape: Sequence[Expr]) -> int | None:
    """Number of elements, where constant."""
    return math.prod(d.constant for d in shape) if all(d.is_constant for d in shape) else None
