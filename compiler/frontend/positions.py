"""How long the model's position tables let a sequence become: embeddings, masks, cosines and sines by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from crossbank.compiler.frontend.dims import Roles
from crossbank.compiler.frontend.graph import ABSENT, Graph, Node
from crossbank.compiler.frontend.shapes import Shapes
from crossbank.dialects.onnx import schema_of
from crossbank.runtime.expr import ONE, ZERO, Expr

TABLES = {"cos_cache": 2, "sin_cache": 2, "position_embedding": 2}
"""What operators call inputs with a row per position, and the rank that these have then (else they are computed)."""
_MOVED = frozenset(
    {
        "Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Expand", "Tile", "Transpose", "Slice",
        "Split", "Gather", "GatherElements", "GatherND", "Relu", "Trilu", "Abs", "ReduceMax", "ReduceMin", "Dropout",
    }
)  # fmt: skip
"""Operators whose results hold elements of their first input, or 0."""


def position_limits(graph: Graph, shapes: Shapes, known: Roles) -> dict[str, int]:
    """By length expression, the most that tables indexed by position allow: "past + seq" -> 1024.

    Token ids, whose range no shape tells, limit nothing; positions that are fed stay below past + sequence, and the
    ones of a mask are 0 and 1.
    """
    return _Positions(graph, shapes, known).limits()


class _Positions:
    """Upper bounds of integer values: `bounds` has for a value what all its elements are below."""

    def __init__(self, graph: Graph, shapes: Shapes, known: Roles) -> None:
        self.graph, self.shapes = graph, shapes
        self.past = ZERO if known.past is None else self.resolve(Expr.symbol(known.past))
        self.in_place = not any(
            self.past.symbols < dim.symbols for port in graph.outputs for dim in self.shape(port.name)
        )
        self.bounds: dict[str, Expr] = {}
        self.found: dict[Expr, int] = {}
        for port in graph.inputs:
            if not port.dtype.startswith(("int", "uint")):
                continue
            if "mask" in port.name:
                self.bounds[port.name] = Expr.of(2)
            elif "position" in port.name or "pos_ids" in port.name:
                shape = self.shape(port.name)
                self.bounds[port.name] = self.total(shape[-1] if shape else ONE)

    def limits(self) -> dict[str, int]:
        for node in self.graph.nodes:
            self.restrict(node)
            for name in node.outputs:
                if name != ABSENT and (bound := self.bound_of(node, name)) is not None:
                    self.bounds[name] = self.resolve(bound)
        return {str(expr): limit for expr, limit in self.found.items()}

    def total(self, new: Expr) -> Expr:
        """Tokens behind `new` ones: the cache's length where tokens are written into it, else past + new."""
        return self.past if self.past.symbols and self.in_place else self.past + new

    def resolve(self, value: Expr) -> Expr:
        return self.shapes.equations.resolve(value)

    def shape(self, name: str) -> tuple[Expr, ...]:
        return tuple(self.resolve(dim) for dim in self.shapes.infos[name].shape)

    # ----------------------------------------------------------------- tables

    def restrict(self, node: Node) -> None:
        """Note what a node's table allows."""
        if node.op_type in ("Gather", "GatherBlockQuantized"):
            key = "axis" if node.op_type == "Gather" else "gather_axis"
            shape, bound = self.shape(node.inputs[0]), self.bound(node.inputs[1])
            if bound is not None:
                self.within(bound, shape[int(node.attributes.get(key, 0))])
            return
        for name, formal in zip(node.inputs, _formal_inputs(node.domain, node.op_type, node.version), strict=False):
            shape = self.shape(name) if name != ABSENT else None
            if shape and len(shape) == TABLES.get(formal):
                tokens = self.shape(node.inputs[0])
                self.within(self.total(tokens[2 if len(tokens) == 4 else 1]), shape[0])

    def within(self, length: Expr, rows: Expr) -> None:
        if rows.is_constant and length.symbols:
            self.found[length] = min(self.found.get(length, rows.constant), rows.constant)

    # ----------------------------------------------------------------- values

    def bound(self, name: str) -> Expr | None:
        """What the elements of a value are below; None if nobody knows."""
        if name in self.bounds:
            return self.bounds[name]
        info = self.shapes.infos[name] if name != ABSENT else None
        if info is None or info.data is None or not info.data.size:
            return Expr.of(2) if info is not None and info.dtype == "bool" else None
        if info.data.dtype == object:
            return self.resolve(Expr.of(info.data.reshape(-1)[0])) + 1 if info.data.size == 1 else None
        return Expr.of(int(info.data.max()) + 1) if np.issubdtype(info.data.dtype, np.integer) else None

    def bound_of(self, node: Node, result: str) -> Expr | None:
        """The bound of a node's result, from those of its inputs."""
        if not self.shapes.infos[result].dtype.startswith(("int", "uint")):
            return None
        if node.op_type in _MOVED:
            return self.bound(node.inputs[0])
        rule = _RULES.get(node.op_type)
        return rule(self, node) if rule is not None and node.domain == "" else None

    def range(self, node: Node) -> Expr | None:
        step, last = self.shapes.infos[node.inputs[2]], self.bound(node.inputs[1])
        if last is None or step.data is None or not step.known or step.data.reshape(-1)[0] < 1:
            return None
        return last - 1

    def sum(self, node: Node) -> Expr | None:
        a, b = (self.bound(name) for name in node.inputs)
        return None if a is None or b is None else a + b - 1

    def difference(self, node: Node) -> Expr | None:
        a, b = self.bound(node.inputs[0]), self.shapes.infos[node.inputs[1]].data
        return None if a is None or b is None or b.dtype == object or not b.size else a - int(b.min())

    def product(self, node: Node) -> Expr | None:
        a, b = (self.bound(name) for name in node.inputs)
        return None if a is None or b is None else (a - 1) * (b - 1) + 1

    def running_sum(self, node: Node) -> Expr | None:
        axis, each = self.shapes.infos[node.inputs[1]].data, self.bound(node.inputs[0])
        if each is None or axis is None or axis.dtype == object:
            return None
        shape, place = self.shape(node.inputs[0]), int(axis.reshape(-1)[0])
        return (each - 1) * shape[place] + 1 if -len(shape) <= place < len(shape) else None

    def sum_over(self, node: Node) -> Expr | None:
        each, axes = self.bound(node.inputs[0]), node.attributes.get("axes")
        if axes is None and node.input(1) != ABSENT:
            axes = self.shapes.infos[node.inputs[1]].data
        if each is None or axes is None:
            return None
        shape = self.shape(node.inputs[0])
        return (each - 1) * math.prod((shape[int(axis)] for axis in np.asarray(axes).reshape(-1)), start=ONE) + 1

    def either(self, node: Node) -> Expr | None:
        return self.largest(node.inputs[1:] if node.op_type == "Where" else node.inputs)

    def largest(self, names: tuple[str, ...]) -> Expr | None:
        """The one bound of several that is above all others: constants are taken as small."""
        found = {self.bound(name) for name in names if name != ABSENT}
        if None in found:
            return None
        lengths = {bound for bound in found if bound is not None and bound.symbols}
        if len(lengths) > 1:
            first = next(iter(lengths))
            if not all((bound - first).is_constant for bound in lengths):
                return None
            return max(lengths, key=lambda bound: (bound - first).constant)
        one = next(iter(lengths), None)
        return (
            one
            if one is not None
            else max((bound for bound in found if bound is not None), key=lambda bound: bound.constant)
        )

    def clipped(self, node: Node) -> Expr | None:
        return self.bound(node.input(0)) if node.input(2) == ABSENT else None


_RULES: Mapping[str, Callable[[_Positions, Node], Expr | None]] = {
    "Range": _Positions.range,
    "Add": _Positions.sum,
    "Sub": _Positions.difference,
    "Mul": _Positions.product,
    "CumSum": _Positions.running_sum,
    "ReduceSum": _Positions.sum_over,
    "Where": _Positions.either,
    "Concat": _Positions.either,
    "Max": _Positions.either,
    "Clip": _Positions.clipped,
}


@cache
def _formal_inputs(domain: str, operator: str, version: int) -> tuple[str, ...]:
    """What an operator's schema calls its inputs."""
    if domain == "":
        schema = schema_of(operator, version)
        return () if schema is None else tuple(formal.name for formal in schema.inputs)
    state: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    for schema in state.get_all_operator_schema():
        if (schema.domain, schema.name) == (domain, operator):
            return tuple(formal.name for formal in schema.inputs)
    return ()
