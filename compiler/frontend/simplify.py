"""Take nodes out of the graph: those that do nothing, those computed twice, those whose results are known or unused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend.graph import ABSENT, Graph, Info, Node, as_array, data_dependent
from crossbank.compiler.frontend.rules.movement import permutation, whole
from crossbank.compiler.frontend.shapes import Inference
from crossbank.compiler.frontend.step import Step
from crossbank.runtime.expr import ONE, Expr
from crossbank.runtime.tensors import TensorEntry

_SMALL = 64
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


def simplify(graph: Graph, infos: dict[str, Info]) -> None:
    """Rewrite `graph.nodes` and `graph.results` in place; values keep their names.

    Reshape and Expand get their full result shape as operand, without 0 and -1.
    """
    same: dict[str, str] = {}
    seen: dict[Any, Node] = {}
    constants: dict[Any, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        _explicit(node, graph, infos)
        inputs = tuple(_canonical(same.get(name, name), infos, graph, constants) for name in node.inputs)
        node.inputs = inputs
        source = _unchanged(node, graph, infos)
        if source is not None:
            same[node.outputs[0]] = source
            continue
        key = (node.key, node.version, inputs, frozen(node.attributes), tuple(name == ABSENT for name in node.outputs))
        twin = seen.setdefault(key, node) if node.key not in _RANDOM else node
        if twin is not node:
            same.update(
                (mine, theirs) for mine, theirs in zip(node.outputs, twin.outputs, strict=True) if mine != ABSENT
            )
            continue
        kept.append(node)
    graph.results = [same.get(name, name) for name in graph.results]
    graph.nodes = _used(kept, graph, infos)


def _used(nodes: list[Node], graph: Graph, infos: Mapping[str, Info]) -> list[Node]:
    """Nodes that outputs depend on; values known as expressions need no node."""
    needed = {name for name in graph.results if not infos[name].symbolic}
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(name in needed for name in node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name != ABSENT and not infos[name].symbolic)
    return kept[::-1]


def _explicit(node: Node, graph: Graph, infos: dict[str, Info]) -> None:
    if node.key not in ("Reshape", "Expand") or len(node.inputs) != 2 or node.version < 14:
        return
    shape = infos[node.outputs[0]].shape
    if infos[node.inputs[1]].data is None or any(data_dependent(dim) for dim in shape):
        return
    data, name = as_array(list(shape)), f"{node.outputs[0]}.shape"
    if name in infos:
        return
    infos[name] = Info("int64", (Expr.of(len(shape)),), data)
    graph.origin[name] = node.name
    if data.dtype != object:
        graph.store.declare(name, TensorEntry("int64", data.shape, data))
    node.inputs = (node.inputs[0], name)
    if node.key == "Reshape":
        node.attributes = {"allowzero": 1}


def _canonical(name: str, infos: Mapping[str, Info], graph: Graph, constants: dict[Any, str]) -> str:
    """One name for all equal small constants and all equal shape values."""
    info = infos.get(name)
    if info is None or info.data is None:
        return name
    shape = tuple(map(str, info.shape))
    if info.symbolic:
        return constants.setdefault((info.dtype, shape, tuple(map(str, info.data.reshape(-1)))), name)
    if name in graph.store and info.data.size <= _SMALL:
        return constants.setdefault((info.dtype, shape, info.data.tobytes()), name)
    return name


def frozen(attributes: Mapping[str, Any]) -> Any:
    """Attributes as something hashable, equal for equal attributes."""
    return tuple(sorted((name, _hashable(value)) for name, value in attributes.items()))


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = cast("NDArray[Any]", value)
        return (array.dtype.name, array.shape, array.tobytes())
    if isinstance(value, list):
        return tuple(cast("list[Any]", value))
    return value


# ---------------------------------------------------------------- identities


def _unchanged(node: Node, graph: Graph, infos: Mapping[str, Info]) -> str | None:
    """The input that a node merely passes on; None if it does something."""
    test = _TESTS.get(node.key)
    if test is None or len([name for name in node.outputs if name != ABSENT]) != 1:
        return None
    before, after = infos.get(node.input(0)), infos[node.outputs[0]]
    if before is None or before.dtype != after.dtype or before.shape != after.shape:
        return None if node.key not in ("Mul", "Div") else _by_one(node, infos)
    step = Step(node, [infos[name] if name != ABSENT else None for name in node.inputs], Inference(graph))
    return node.input(0) if test(step) else None


def _by_one(node: Node, infos: Mapping[str, Info]) -> str | None:
    """x for 1 * x; x / 1 and x * 1 have the shape of input 0 and are handled there."""
    left, right, out = infos[node.input(0)], infos[node.input(1)], infos[node.outputs[0]]
    if node.key == "Mul" and _is_one(left) and right.shape == out.shape:
        return node.input(1)
    return None


def _is_one(info: Info) -> bool:
    return info.known and info.data is not None and info.data.size == 1 and bool((info.data == 1).all())


def _always(step: Step) -> bool:
    return True


def _inference_dropout(step: Step) -> bool:
    if not step.has(2):
        return True
    training = step.info(2)
    return training.known and training.data is not None and not training.data.any()


_TESTS: Mapping[str, Callable[[Step], bool]] = {
    "Identity": _always,
    "Cast": _always,
    "CastLike": _always,
    "Reshape": _always,
    "Flatten": _always,
    "Expand": _always,
    "Squeeze": _always,
    "Dropout": _inference_dropout,
    "Concat": lambda step: len(step.inputs) == 1,
    "Max": lambda step: len(step.inputs) == 1,
    "Min": lambda step: len(step.inputs) == 1,
    "Sum": lambda step: len(step.inputs) == 1,
    "Slice": whole,
    "Split": _always,
    "Transpose": lambda step: permutation(step) == list(range(step.info(0).rank)),
    "Tile": lambda step: all(times == ONE for times in step.exprs(1) or [step.world.fresh(step.node)]),
    "Mul": lambda step: _is_one(step.info(1)),
    "Div": lambda step: _is_one(step.info(1)),
}
