"""`If` nodes whose condition is known, or is an input that says whether caches are used: the branch taken, in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import AttributeProto, helper, numpy_helper

from crossbank.compiler.frontend.errors import TOO_LARGE, FrontendError
from crossbank.compiler.frontend.wire import MAX_NODES

PASSED_ON = frozenset({"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Not"})
MAX_BRANCHES = 10_000
"""`If` nodes that are resolved in one model, those within branches included."""


@dataclass
class Resolved:
    """A model with branches in place, and the inputs bound to a value: others are allowed with empty caches."""

    model: onnx.ModelProto
    bound: dict[str, bool] = field(default_factory=dict[str, bool])
    undecided: dict[str, str] = field(default_factory=dict[str, str])
    """Why an `If` is still there, by its first output."""


class _Undecided(Exception):
    """Why no branch can be taken."""


def resolved(model: onnx.ModelProto, path: Path) -> Resolved:
    """Put one branch of each `If` in its place.

    A condition is constant, or an input (`use_cache_branch` of merged decoders): then the branch that reads more of the
    model's inputs is taken, for it does with empty caches what the other does without. Where neither is so the `If`
    stays.
    """
    found = Resolved(model)
    for _ in range(MAX_BRANCHES):
        nodes = model.graph.node
        place = next((i for i, node in enumerate(nodes) if _is_open(node, found)), -1)
        if place < 0:
            return found
        try:
            _replace(found, place)
        except _Undecided as reason:
            found.undecided[nodes[place].output[0]] = str(reason)
        if len(nodes) > MAX_NODES:
            break
    raise FrontendError(
        TOO_LARGE, f"its branches come to more than {MAX_NODES} nodes", str(path), "export the model without If"
    )


def _is_open(node: onnx.NodeProto, found: Resolved) -> bool:
    is_if = node.op_type == "If" and node.domain in ("", "ai.onnx") and bool(node.output)
    return is_if and node.output[0] not in found.undecided


def _replace(found: Resolved, place: int) -> None:
    graph = found.model.graph
    node = graph.node[place]
    branches = {a.name: a.g for a in node.attribute if a.type == AttributeProto.GRAPH}
    if not node.input or set(branches) != {"then_branch", "else_branch"}:
        raise _Undecided("it lacks a condition or a branch")
    taken = branches["then_branch" if _condition(found, node, branches) else "else_branch"]
    if len(taken.output) != len(node.output):
        raise _Undecided(f"{len(taken.output)} results of a branch for {len(node.output)} outputs")
    nodes = list(graph.node)
    spliced = _spliced(graph, node, taken)
    del graph.node[:]
    graph.node.extend([*nodes[:place], *spliced, *nodes[place + 1 :]])


def _condition(found: Resolved, node: onnx.NodeProto, branches: Mapping[str, onnx.GraphProto]) -> bool:
    """Which branch is taken."""
    graph = found.model.graph
    producer = {name: other for other in graph.node for name in other.output if name}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    name, negated = node.input[0], False
    for _ in range(len(graph.node) + 1):
        source = producer.get(name)
        if source is None or source.op_type not in PASSED_ON or not source.input:
            break
        negated ^= source.op_type == "Not"
        name = source.input[0]
    source = producer.get(name)
    if source is not None and source.op_type == "Constant":
        value = next((a for a in source.attribute if a.name in ("value", "value_int")), None)
        if value is not None:
            number = bool(value.i) if value.name == "value_int" else bool(numpy_helper.to_array(value.t).any())
            return number != negated
    if name in constants and constants[name].data_location != onnx.TensorProto.EXTERNAL:
        return bool(numpy_helper.to_array(constants[name]).any()) != negated
    inputs = {port.name for port in graph.input}
    if name not in inputs:
        raise _Undecided("its condition is computed from data")
    if name not in found.bound:
        counts = {key: len(_read(branch) & inputs - {name}) for key, branch in branches.items()}
        if counts["then_branch"] == counts["else_branch"]:
            raise _Undecided(f"both branches read the same inputs, so that {name} can't be bound")
        found.bound[name] = (counts["then_branch"] > counts["else_branch"]) != negated
    return found.bound[name] != negated


def _read(graph: onnx.GraphProto) -> set[str]:
    """Names that a branch reads, also in branches within it."""
    names = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                names |= _read(attribute.g)
    return names


def _spliced(graph: onnx.GraphProto, node: onnx.NodeProto, branch: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The branch's nodes with names that are free outside and its results under the outputs' names."""
    taken = {name for other in graph.node for name in other.output}
    taken |= {tensor.name for tensor in graph.initializer} | {port.name for port in graph.input}
    own = [name for other in branch.node for name in other.output if name]
    own += [tensor.name for tensor in branch.initializer]
    results = [value.name for value in branch.output]
    renamed: dict[str, str] = {}
    for result, output in zip(results, node.output, strict=True):
        if result in own and result not in renamed and output:
            renamed[result] = output
    for name in own:
        if name not in renamed:
            free, i = name, 1
            while free in taken:
                free, i = f"{node.name}/{name}#{i}", i + 1
            renamed[name] = free
            taken.add(free)
    for tensor in branch.initializer:
        kept = graph.initializer.add()
        kept.CopyFrom(tensor)
        kept.name = renamed[tensor.name]
    for value in branch.value_info:
        if value.name in renamed:
            noted = graph.value_info.add()
            noted.CopyFrom(value)
            noted.name = renamed[value.name]
    copies = [_renamed(other, renamed) for other in branch.node]
    for result, output in zip(results, node.output, strict=True):
        source = renamed.get(result, result)
        if output and source != output:
            copies.append(helper.make_node("Identity", [source], [output], f"{node.name}/{output}"))
    return copies


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
