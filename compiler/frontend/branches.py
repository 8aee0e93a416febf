"""`If` nodes whose condition is known, or is an input that says whether caches are used: the branch taken, in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import AttributeProto, helper, numpy_helper

from crossbank.compiler.frontend.cross_caches import completed, cross_caches, name_dimensions
from crossbank.compiler.frontend.errors import TOO_LARGE, FrontendError
from crossbank.compiler.frontend.known_values import KnownValues
from crossbank.compiler.frontend.table_choice import chosen_tables
from crossbank.compiler.frontend.wire import MAX_NODES

PASSED_ON = frozenset({"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Not"})
MAX_BRANCHES = 10_000
"""`If` nodes that are resolved in one model, those within branches included."""


@dataclass
class Resolved:
    """A model with branches in place, and the inputs bound to a value: others are allowed with empty caches."""

    model: onnx.ModelProto
    bound: dict[str, bool] = field(default_factory=dict[str, bool])
    empty: list[str] = field(default_factory=list[str])
    """Dimensions that were made here, of which there may be none."""
    undecided: dict[str, str] = field(default_factory=dict[str, str])
    """Why an `If` is still there, by its first output."""


class _Undecided(Exception):
    """Why no branch can be taken."""


def resolved(model: onnx.ModelProto, path: Path) -> Resolved:
    """Put one branch of each `If` in its place.

    A condition is constant, follows from constants and stated dimensions, or is an input (`use_cache_branch` of merged
    decoders): then the branch that reads more of the model's inputs is taken, for it does with empty caches what the
    other does without (see `cross_caches` for those over an encoder). Where none of these is so, branches of nothing
    but tables become a choice of both, and another `If` stays.
    """
    found = Resolved(model)
    if any(_is_if(node) for node in model.graph.node):
        _Resolver(found, path).run()
    return found


def _is_if(node: onnx.NodeProto) -> bool:
    return node.op_type == "If" and node.domain in ("", "ai.onnx") and bool(node.output)


class _Resolver:
    """The nodes of a model while branches take the place of `If` nodes: each name is looked up, never searched."""

    def __init__(self, found: Resolved, path: Path) -> None:
        self.found, self.path, self.graph = found, path, found.model.graph
        self.values = KnownValues(found.model)
        self.producer, self.constants = self.values.producer, self.values.constants
        self.inputs = {port.name for port in self.graph.input}
        self.taken = {*self.producer, *self.constants, *self.inputs}

    def run(self) -> None:
        waiting, done, branches = list(self.graph.node)[::-1], list[onnx.NodeProto](), 0
        while waiting:
            node = waiting.pop()
            if not _is_if(node):
                done.append(node)
                continue
            branches += 1
            if branches > MAX_BRANCHES or len(waiting) + len(done) > MAX_NODES:
                raise FrontendError(
                    TOO_LARGE, f"its branches come to more than {MAX_NODES} nodes", str(self.path),
                    "export the model without If",
                )  # fmt: skip
            try:
                waiting += self.replacement(node)[::-1]
            except _Undecided as reason:
                self.found.undecided[node.output[0]] = str(reason)
                done.append(node)
        del self.graph.node[:]
        self.graph.node.extend(done)

    def replacement(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes of the branch that is taken."""
        branches = {a.name: a.g for a in node.attribute if a.type == AttributeProto.GRAPH}
        if not node.input or set(branches) != {"then_branch", "else_branch"}:
            raise _Undecided("it lacks a condition or a branch")
        bound = len(self.found.bound)
        try:
            first = self.condition(node.input[0], branches)
        except _Undecided:
            tables = self.tables(node, branches)
            if tables is None:
                raise
            return tables
        taken, other = (branches["then_branch" if yes else "else_branch"] for yes in (first, not first))
        if len(taken.output) != len(node.output):
            raise _Undecided(f"{len(taken.output)} results of a branch for {len(node.output)} outputs")
        if len(self.found.bound) > bound and len(other.output) == len(taken.output):
            before, taken = self.with_cross_caches(node, taken, other)
        else:
            before = []
        made = [*before, *self.spliced(node, taken)]
        self.producer.update((name, other) for other in made for name in other.output if name)
        return made

    def tables(self, node: onnx.NodeProto, branches: Mapping[str, onnx.GraphProto]) -> list[onnx.NodeProto] | None:
        """Both branches' tables and a choice of one, if there is nothing else in them."""
        names: list[str] = []
        for output in node.output:
            for kind in ("then", "else"):
                name, i = f"{output}/{kind}", 1
                while name in self.taken:
                    name, i = f"{output}/{kind}#{i}", i + 1
                names.append(name)
        given = [helper.make_node("Identity", [value.name], []) for value in self.graph.output]
        made = chosen_tables(node, branches, [*self.graph.node, *given], names)
        if made is not None:
            self.taken.update(names)
            self.producer.update((name, other) for other in made for name in other.output)
        return made

    def with_cross_caches(
        self, node: onnx.NodeProto, taken: onnx.GraphProto, other: onnx.GraphProto
    ) -> tuple[list[onnx.NodeProto], onnx.GraphProto]:
        """Nodes for what the other branch computes of caches over an encoder, and the branch taken, which has that."""
        if not (caches := cross_caches(self.graph, taken, other)):
            return [], taken
        unnamed = onnx.NodeProto()
        unnamed.CopyFrom(node)
        unnamed.output[:] = [""] * len(node.output)
        renamed, nodes = self.copied(unnamed, other)
        self.found.empty += name_dimensions(caches, self.graph)
        made, branch = completed([cache.under(renamed) for cache in caches], taken, nodes)
        return [*nodes, *made], branch

    def condition(self, name: str, branches: Mapping[str, onnx.GraphProto]) -> bool:
        """Which branch is taken."""
        negated = False
        for _ in range(len(self.producer) + 1):
            source = self.producer.get(name)
            if source is None or source.op_type not in PASSED_ON or not source.input:
                break
            negated ^= source.op_type == "Not"
            name = source.input[0]
        known = self.known(name)
        if known is not None:
            return known != negated
        if name not in self.inputs:
            value = self.values.value(name)
            if value is None or value.size != 1:
                raise _Undecided("its condition is computed from data")
            return bool(value.any()) != negated
        bound = self.found.bound
        if name not in bound:
            counts = {key: len(_read(branch) & self.inputs - {name}) for key, branch in branches.items()}
            if counts["then_branch"] == counts["else_branch"]:
                raise _Undecided(f"both branches read the same inputs, so that {name} can't be bound")
            bound[name] = (counts["then_branch"] > counts["else_branch"]) != negated
        return bound[name] != negated

    def known(self, name: str) -> bool | None:
        """What a constant of the file says; None for another value."""
        tensor, source = self.constants.get(name), self.producer.get(name)
        if source is not None and source.op_type == "Constant":
            for attribute in source.attribute:
                if attribute.name == "value_int":
                    return bool(attribute.i)
                if attribute.name == "value":
                    tensor = attribute.t
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        try:
            return bool(numpy_helper.to_array(tensor).any())
        except (ValueError, TypeError) as error:
            raise _Undecided(f"its condition can't be read: {str(error)[:200]}") from error

    def spliced(self, node: onnx.NodeProto, branch: onnx.GraphProto) -> list[onnx.NodeProto]:
        """The branch's nodes with names that are free outside and its results under the outputs' names."""
        renamed, copies = self.copied(node, branch)
        for result, output in zip([value.name for value in branch.output], node.output, strict=True):
            source = renamed.get(result, result)
            if output and source != output:
                copies.append(helper.make_node("Identity", [source], [output], f"{node.name}/{output}"))
        return copies

    def copied(self, node: onnx.NodeProto, branch: onnx.GraphProto) -> tuple[dict[str, str], list[onnx.NodeProto]]:
        """The branch's new names, and its nodes under them; its tensors become the model's."""
        own = [name for other in branch.node for name in other.output if name]
        own += [tensor.name for tensor in branch.initializer]
        inside = set(own)
        results = [value.name for value in branch.output]
        renamed: dict[str, str] = {}
        for result, output in zip(results, node.output, strict=True):
            if result in inside and result not in renamed and output:
                renamed[result] = output
        for name in own:
            if name not in renamed:
                free, i = name, 1
                while free in self.taken:
                    free, i = f"{node.name or node.output[0]}/{name}#{i}", i + 1
                renamed[name] = free
                self.taken.add(free)
        for tensor in branch.initializer:
            kept = self.graph.initializer.add()
            kept.CopyFrom(tensor)
            kept.name = renamed[tensor.name]
            self.constants[kept.name] = kept
        for value in branch.value_info:
            if value.name in renamed:
                noted = self.graph.value_info.add()
                noted.CopyFrom(value)
                noted.name = renamed[value.name]
        return renamed, [_renamed(other, renamed) for other in branch.node]


def _read(graph: onnx.GraphProto) -> set[str]:
    """Names that a branch reads, also in branches within it."""
    names = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                names |= _read(attribute.g)
    return names


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node with other names for values, also where branches within it read them."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [names.get(name, name) for name in node.input]
    made.output[:] = [names.get(name, name) for name in node.output]
    for attribute in made.attribute:
        if attribute.type == AttributeProto.GRAPH:
            inner = attribute.g
            hidden = {name for other in inner.node for name in other.output}
            hidden |= {tensor.name for tensor in inner.initializer} | {port.name for port in inner.input}
            outer = {old: new for old, new in names.items() if old not in hidden}
            copies = [_renamed(other, outer) for other in inner.node]
            del inner.node[:]
            inner.node.extend(copies)
            for value in inner.output:
                value.name = outer.get(value.name, value.name)
    return made
