"""Experts' tokens picked by NonZero, as TorchScript and dynamo export them, over all tokens instead.

An expert's tokens are where a router chose it: their number depends on data, and no memory can be planned for it. So
the expert gets every token, at the place among the token's choices that is its own (the first where it was not chosen),
and the routing weights that are gathered for it become 0 where it was not chosen: what it adds to those tokens is 0.
Which experts were chosen at all, where a graph asks for it, are all.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

TOKENS, CHOICES, EXPERTS = "tokens", "choices", "experts"
WEIGHTS = frozenset(
    {
        "Concat",
        "Div",
        "Mul",
        "Cast",
        "CastLike",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Flatten",
        "Transpose",
        "Identity",
        "Softmax",
    }
)
"""What lies between what a router says of its choices and the gathering of the experts' weights."""
PLACES = frozenset(
    {
        "Transpose",
        "Split",
        "Squeeze",
        "Slice",
        "Gather",
        "Unsqueeze",
        "Concat",
        "Mul",
        "Add",
        "Cast",
        "Reshape",
        "Expand",
    }
)
"""What indices are made from places with."""


def over_all_tokens(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with NonZero of a router's choice replaced; others stay, to be refused by name."""
    if not any(node.op_type == "NonZero" for node in model.graph.node) or not _sound(model):
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    _Router(found).run()
    return found


def _sound(model: onnx.ModelProto) -> bool:
    """Whether each node has a result and none waits for itself: what isn't so is refused later, by name."""
    makers = {name: node.input for node in model.graph.node for name in node.output}
    try:
        TopologicalSorter(makers).prepare()
    except CycleError:
        return False
    return all(node.output for node in model.graph.node)


class _Router:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.opset = _opset(model)
        self.maker = {name: node for node in self.graph.node for name in node.output if name}
        self.values = {tensor.name: tensor for tensor in self.graph.initializer}
        self.known: dict[str, np.ndarray[Any, Any]] = {}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in set(node.input):
                self.users.setdefault(name, []).append(node)

    def run(self) -> None:
        before: dict[str, list[onnx.NodeProto]] = {}
        after: dict[str, list[onnx.NodeProto]] = {}
        places = [node for node in self.graph.node if node.op_type == "NonZero"]
        for node in places:
            if (count := self._experts(node.input[0])) is not None:
                name = node.output[0]
                self.known[name] = np.arange(count)[None]
                before[name] = [_Writer(node.name or name).constant(self.known[name], name)]
        for node in places:
            if node.output[0] in self.known:
                continue
            choice = self._choice(node.input[0])
            gathers = list(self._weight_gathers(node, choice[1])) if choice is not None else []
            if choice is None or not gathers:
                continue
            chosen = f"{node.output[0]}.chosen"
            before[node.output[0]] = list(self._places(node, choice[0], chosen))
            for gather in gathers:
                after[gather.output[0]] = list(self._masked(gather, chosen))
        kept: list[onnx.NodeProto] = []
        for node in self.graph.node:
            name = node.output[0] if node.output else ""
            kept += before.get(name, [node])
            kept += after.get(name, [])
        for node in kept:
            if node.output[0] in after and node.op_type in ("Gather", "GatherND"):
                node.output[0] = f"{node.output[0]}.all"
        del self.graph.node[:]
        self.graph.node.extend(kept)

    # ------------------------------------------------------------------ reading

    def _experts(self, name: str) -> int | None:
        """The number of experts where a vector says which of them any token chose; None for another vector."""
        node = self.maker.get(name)
        while node is not None and node.op_type in ("Cast", "Greater", "GreaterOrEqual"):
            node = self.maker.get(node.input[0])
        if node is None or node.op_type != "ReduceSum":
            return None
        labels, axes = self._labels(node.input[0]), self._axes(node)
        if labels is None or axes is None or len(labels[0]) != 3:
            return None
        left = [label for i, label in enumerate(labels[0]) if i not in {axis % 3 for axis in axes}]
        return labels[2] if left == [EXPERTS] else None

    def _choice(self, name: str) -> tuple[int, list[str]] | None:
        """The axis of choices in a matrix that says which tokens chose an expert, and what the router says of them."""
        found = self._labels(name)
        if found is None or sorted(found[0]) != sorted((TOKENS, CHOICES)):
            return None
        return found[0].index(CHOICES), found[1]

    def _labels(self, name: str) -> tuple[list[str], list[str], int | None] | None:
        """What the dimensions of a mask of choices are, the scores of the choices, how many experts there are."""
        chain: list[onnx.NodeProto] = []
        while (node := self.maker.get(name)) is not None and node.op_type in (
            "Cast", "Gather", "Transpose", "Squeeze", "Slice", "Identity",
        ):  # fmt: skip
            chain.append(node)
            name = node.input[0]
        if node is None or node.op_type not in ("OneHot", "Equal"):
            return None
        source = node.input[0]
        labels, count = [TOKENS, CHOICES], None
        if node.op_type == "OneHot":
            if _attribute(node, "axis", -1) not in (-1, 2):
                return None
            labels.append(EXPERTS)
            depth = self._constant(node.input[1])
            count = None if depth is None or depth.size != 1 else int(depth.reshape(-1)[0])
        while (inner := self.maker.get(source)) is not None and inner.op_type in ("Cast", "Identity", "Unsqueeze"):
            if inner.op_type == "Unsqueeze":
                if self._axes(inner) not in ([-1], [2]):
                    return None
                labels.append(EXPERTS)
            source = inner.input[0]
        scores = self._scores(source)
        if scores is None or len(labels) > 3:
            return None
        for step in reversed(chain):
            if not self._follow(step, labels):
                return None
        return labels, scores, count

    def _scores(self, choices: str) -> list[str] | None:
        """The scores of a router's choices [tokens, choices], which differ for each token; None for other numbers.

        They come from TopK, or one after the other from ArgMax, each over the scores without those chosen before.
        """
        node = self.maker.get(choices)
        if node is None:
            return None
        if node.op_type == "TopK":
            return [node.output[0], *self._gathered(choices)] if choices == node.output[1] else None
        if node.op_type != "Concat" or _attribute(node, "axis", 0) not in (-1, 1):
            return None
        for i, name in enumerate(node.input):
            argmax = self.maker.get(name)
            if argmax is None or argmax.op_type != "ArgMax" or not _attribute(argmax, "keepdims", 1):
                return None
            if not set(node.input[:i]) <= self._left_out(argmax.input[0]):
                return None
        return [found for name in node.input for found in self._gathered(name)]

    def _gathered(self, choices: str) -> list[str]:
        """What is taken of all experts' scores by the numbers of the chosen ones."""
        users = self.users.get(choices, ())
        return [user.output[0] for user in users if user.op_type == "GatherElements" and user.input[1] == choices]

    def _left_out(self, scores: str) -> set[str]:
        """The choices in whose places scores are the most negative number."""
        found: set[str] = set()
        while (node := self.maker.get(scores)) is not None and node.op_type in ("Cast", "Identity", "ScatterElements"):
            if node.op_type == "ScatterElements":
                updates = self.maker.get(node.input[2])
                fill = self._constant(updates.input[0] if updates and updates.op_type == "Expand" else node.input[2])
                if fill is None or not np.isneginf(fill).all():
                    break
                found.add(node.input[1])
            scores = node.input[0]
        return found

    def _follow(self, node: onnx.NodeProto, labels: list[str]) -> bool:
        """Update the labels of dimensions by a step; whether it is one that only picks an expert."""
        match node.op_type:
            case "Transpose":
                perm = list(_attribute(node, "perm", []))
                labels[:] = [labels[i] for i in perm] if sorted(perm) == list(range(len(labels))) else []
            case "Gather":
                index, axis = self._constant(node.input[1]), _attribute(node, "axis", 0)
                if index is None or index.size != 1 or not _is(labels, axis, EXPERTS):
                    return False
                if index.ndim == 0:
                    del labels[axis]
            case "Squeeze":
                for axis in sorted(axis % len(labels) for axis in self._axes(node) or [])[::-1]:
                    if not _is(labels, axis, EXPERTS):
                        return False
                    del labels[axis]
            case _:
                pass
        return bool(labels)

    def _weight_gathers(self, node: onnx.NodeProto, scores: list[str]) -> Iterator[onnx.NodeProto]:
        """The gathers of routing weights, made of a router's scores, at an expert's places."""
        weights = {name for score in scores for name in self._reached(score, WEIGHTS)}
        for name in self._reached(node.output[0], PLACES):
            for user in self.users.get(name, ()):
                if user.op_type in ("Gather", "GatherND") and user.input[1] == name and user.input[0] in weights:
                    yield user

    def _reached(self, name: str, kinds: frozenset[str]) -> list[str]:
        """A value and all that is made of it by operators of some kinds."""
        found, queue = {name: None}, [name]
        while queue:
            for user in self.users.get(queue.pop(), ()):
                if user.op_type in kinds:
                    fresh = [output for output in user.output if output and output not in found]
                    found.update(dict.fromkeys(fresh))
                    queue += fresh
        return list(found)

    def _constant(self, name: str) -> np.ndarray[Any, Any] | None:
        if name in self.known:
            return self.known[name]
        if name in self.values:
            return _array(self.values[name])
        node = self.maker.get(name)
        if node is not None and node.op_type in ("Transpose", "Split", "Squeeze"):
            return self._piece(node, name)
        if node is None or node.op_type != "Constant":
            return None
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if "value" in given:
            return _array(given["value"])
        return next((np.asarray(value) for value in given.values()), None)

    def _piece(self, node: onnx.NodeProto, name: str) -> np.ndarray[Any, Any] | None:
        """A part of a known array."""
        whole = self._constant(node.input[0])
        if whole is None:
            return None
        if node.op_type == "Transpose":
            perm = _attribute(node, "perm", list(range(whole.ndim))[::-1])
            return whole.transpose(perm) if sorted(perm) == list(range(whole.ndim)) else None
        if node.op_type == "Squeeze":
            axes = self._axes(node)
            ones = [i for i, size in enumerate(whole.shape) if size == 1]
            gone = ones if axes is None else [axis % max(whole.ndim, 1) for axis in axes]
            return whole.squeeze(tuple(gone)) if set(gone) <= set(ones) and len(set(gone)) == len(gone) else None
        axis = _attribute(node, "axis", 0)
        if not -whole.ndim <= axis < whole.ndim or whole.shape[axis] != len(node.output):
            return None
        return np.split(whole, len(node.output), axis)[list(node.output).index(name)]

    def _axes(self, node: onnx.NodeProto) -> list[int] | None:
        if len(node.input) > 1:
            found = self._constant(node.input[1])
            return None if found is None else [int(axis) for axis in found.reshape(-1)]
        return [int(axis) for axis in _attribute(node, "axes", [])] or None

    # ------------------------------------------------------------------ writing

    def _places(self, node: onnx.NodeProto, choices: int, chosen: str) -> Iterator[onnx.NodeProto]:
        """What stands for NonZero: for every token its choice of this expert, [2, tokens]; `chosen` [tokens] if any."""
        name, matrix = node.output[0], node.input[0]
        given = _Writer(node.name or name)
        yield given.node("Cast", [matrix], f"{name}.matrix", to=onnx.TensorProto.FLOAT)
        yield given.node("ArgMax", [f"{name}.matrix"], f"{name}.choice", axis=choices, keepdims=0)
        if self.opset < 18:
            yield given.node("ReduceMax", [f"{name}.matrix"], f"{name}.most", axes=[choices], keepdims=0)
        else:
            yield given.constant(np.array([choices], np.int64), f"{name}.axes")
            yield given.node("ReduceMax", [f"{name}.matrix", f"{name}.axes"], f"{name}.most", keepdims=0)
        yield given.node("Cast", [f"{name}.most"], chosen, to=onnx.TensorProto.BOOL)
        yield given.node("Shape", [f"{name}.choice"], f"{name}.shape")
        yield given.node("Squeeze", [f"{name}.shape"], f"{name}.count")
        for text, value in (("first", 0), ("step", 1)):
            yield given.constant(np.array(value, np.int64), f"{name}.{text}")
        yield given.node("Range", [f"{name}.first", f"{name}.count", f"{name}.step"], f"{name}.token")
        yield given.constant(np.array([1, -1], np.int64), f"{name}.row")
        rows = [f"{name}.token", f"{name}.token"]
        rows[choices] = f"{name}.choice"
        for i, row in enumerate(rows):
            yield given.node("Reshape", [row, f"{name}.row"], f"{name}.row{i}")
        yield given.node("Concat", [f"{name}.row0", f"{name}.row1"], name, axis=0)

    def _masked(self, gather: onnx.NodeProto, chosen: str) -> Iterator[onnx.NodeProto]:
        """Gathered weights [tokens, …], 0 where the expert was not chosen."""
        name = gather.output[0]
        values = f"{name}.all"
        given = _Writer(gather.name or name)
        yield given.node("Shape", [values], f"{name}.shape")
        for text, value in (("from", 1), ("to", 1 << 31)):
            yield given.constant(np.array([value], np.int64), f"{name}.{text}")
        yield given.node("Slice", [f"{name}.shape", f"{name}.from", f"{name}.to"], f"{name}.rest")
        yield given.node("Shape", [f"{name}.rest"], f"{name}.rank")
        one = numpy_helper.from_array(np.array([1], np.int64))
        yield given.node("ConstantOfShape", [f"{name}.rank"], f"{name}.ones", value=one)
        yield given.constant(np.array([-1], np.int64), f"{name}.lead")
        yield given.node("Concat", [f"{name}.lead", f"{name}.ones"], f"{name}.form", axis=0)
        yield given.node("Reshape", [chosen, f"{name}.form"], f"{name}.chosen")
        yield given.node("Sub", [values, values], f"{name}.zero")
        yield given.node("Where", [f"{name}.chosen", values, f"{name}.zero"], name)


class _Writer:
    """Nodes that stand for another: named after it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], f"{self.name}.{output.rpartition('.')[2]}", **attributes)

    def constant(self, value: np.ndarray[tuple[int, ...], np.dtype[np.int64]], output: str) -> onnx.NodeProto:
        return self.node("Constant", [], output, value=numpy_helper.from_array(value))


def _is(labels: list[str], axis: int, label: str) -> bool:
    return -len(labels) <= axis < len(labels) and labels[axis] == label


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def _array(tensor: onnx.TensorProto) -> np.ndarray[Any, Any] | None:
    """The values of a tensor inside the file; None for others, which are no indices of a router."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return default if found is None else helper.get_attribute_value(found)
