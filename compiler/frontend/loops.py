"""Loops of known length: the bodies of Loop and Scan one after another, in place.

A count or condition is known if it is a tensor of the file or computed from such, from stated dimensions or from the
number of the trip. What is not known stays, to be refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from crossbank.compiler.frontend.errors import TOO_LARGE, FrontendError
from crossbank.compiler.frontend.known_values import KnownValues

MAX_UNROLLED = 20_000
"""Nodes that a model's loops come to at most."""
MAX_BYTES = 64 << 20
"""And bytes of the file, counted for each trip."""
KINDS = ("Loop", "Scan")


def unrolled(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model without loops of known length; FrontendError for some that come to too many nodes."""
    if any(node.op_type in KINDS and node.domain in ("", "ai.onnx") for node in model.graph.node):
        _Unroller(model, path).run()
    return model


@dataclass
class _Unroller:
    model: onnx.ModelProto
    path: Path
    made: int = 0
    bytes: int = 0
    known: KnownValues = field(init=False)

    def __post_init__(self) -> None:
        self.known = KnownValues(self.model)

    def run(self) -> None:
        graph = self.model.graph
        self.opset = next((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), 1)
        waiting = True
        while waiting:
            self.known.refresh()
            kept: list[onnx.NodeProto] = []
            waiting = False
            for i, node in enumerate(graph.node):
                found = self.replacement(node, f"{node.name or f'{node.op_type}_{i}'}/")
                kept += [node] if found is None else found
                waiting |= found is not None
            if waiting:
                del graph.node[:]
                graph.node.extend(kept)

    def replacement(self, node: onnx.NodeProto, prefix: str) -> list[onnx.NodeProto] | None:
        """The trips of a loop; None for another node, and where their number isn't known."""
        if node.op_type not in KINDS or node.domain not in ("", "ai.onnx"):
            return None
        bodies = {a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH}
        match node.op_type:
            case "Loop" if "body" in bodies:
                return self.loop(node, bodies["body"], prefix)
            case "Scan" if "body" in bodies and self.opset >= 9:
                return self.scan(node, bodies["body"], prefix)
            case "Scan" if "body" in bodies and self.opset == 8:
                return self.batched_scan(node, bodies["body"], prefix)
            case _:
                return None

    def loop(self, node: onnx.NodeProto, body: onnx.GraphProto, prefix: str) -> list[Any] | None:
        count = self.known.value(node.input[0]) if node.input and node.input[0] else None
        start = self.known.value(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array(True)
        carried = list(node.input[2:])
        if start is None or start.size != 1 or (count is not None and count.size != 1):
            return None
        if not start.any():
            count = np.array(0)
        endless = _goes_on(body)
        if (count is None and endless) or len(body.input) != 2 + len(carried):
            return None
        trips, many = max(int(count.reshape(())), 0) if count is not None else None, len(body.output) - 1 - len(carried)
        if len(node.output) > len(carried) + many or many < 0:
            return None
        if endless and trips is not None:
            self.counted(trips, body)
        nodes: list[Any] = []
        stacked: list[list[str]] = [[] for _ in range(many)]
        trip = 0
        while trips is None or trip < trips:
            if not endless:
                self.counted(1, body)
            number = self.constant(f"{prefix}{trip}/i", np.array(trip, np.int64))
            again = self.constant(f"{prefix}{trip}/again", np.array(True))
            inner, outputs = self.copy(body, f"{prefix}{trip}/", [number, again, *carried])
            nodes += inner
            carried = outputs[1 : 1 + len(carried)]
            for rows, name in zip(stacked, outputs[1 + len(carried) :], strict=True):
                rows.append(name)
            trip += 1
            if not endless:
                self.known.producer.update((name, made) for made in inner for name in made.output if name)
                more = self.known.value(outputs[0])
                if more is None or more.size != 1:
                    return None
                if not more.any():
                    break
        nodes += _renamed(carried, node.output)
        for i, (rows, name) in enumerate(zip(stacked, node.output[len(carried) :], strict=False)):
            joined = self.stack(rows, name, 0, prefix) if rows else self.none(body.output[1 + len(carried) + i], name)
            if joined is None:
                return None
            nodes += joined
        return nodes

    def scan(self, node: onnx.NodeProto, body: onnx.GraphProto, prefix: str) -> list[Any] | None:
        options = {a.name: a for a in node.attribute}
        scanned = options["num_scan_inputs"].i if "num_scan_inputs" in options else 0
        states = len(node.input) - scanned
        many = len(body.output) - states
        if scanned < 1 or states < 0 or many < 0 or len(body.input) != len(node.input):
            return None
        axes, ways = (_integers(options, f"scan_input_{n}", scanned) for n in ("axes", "directions"))
        out_axes, out_ways = (_integers(options, f"scan_output_{n}", many) for n in ("axes", "directions"))
        if len(axes) != scanned or len(ways) != scanned or len(out_axes) != many or len(out_ways) != many:
            return None
        length = self.known.length(node.input[states], axes[0])
        if length is None or len(node.output) > states + many or (length == 0 and many):
            return None
        self.counted(length, body)
        nodes, carried, stacked = self.rows(body, prefix, node.input[:states], node.input[states:], axes, ways, length)
        nodes += _renamed(carried, node.output)
        for found, name, axis, way in zip(stacked, node.output[states:], out_axes, out_ways, strict=False):
            nodes += self.stack(found[::-1] if way else found, name, axis, prefix)
        return nodes

    def batched_scan(self, node: onnx.NodeProto, body: onnx.GraphProto, prefix: str) -> list[Any] | None:
        """Scan of opset 8: for each sequence of a batch, over the axis behind, lengths not given."""
        options = {a.name: a for a in node.attribute}
        scanned = options["num_scan_inputs"].i if "num_scan_inputs" in options else 0
        states = len(node.input) - 1 - scanned
        many = len(body.output) - states
        ways = _integers(options, "directions", scanned)
        if scanned < 1 or states < 0 or many < 0 or node.input[0] or len(ways) != scanned:
            return None
        batch, length = (self.known.length(node.input[1 + states], axis) for axis in (0, 1))
        if not batch or not length or len(body.input) != scanned + states or len(node.output) > len(body.output):
            return None
        self.counted(batch * length, body)
        nodes: list[Any] = []
        columns: list[list[str]] = [[] for _ in node.output]
        for number in range(batch):
            inner = f"{prefix}{number}/"
            place = self.constant(f"{inner}place", np.array(number, np.int64))
            mine = [f"{inner}{name}" for name in node.input[1:]]
            nodes += [
                helper.make_node("Gather", [name, place], [own], own, axis=0)
                for name, own in zip(node.input[1:], mine, strict=True)
            ]
            made, carried, stacked = self.rows(body, inner, mine[:states], mine[states:], [0] * scanned, ways, length)
            nodes += made
            for i, column in enumerate(columns):
                column.append(carried[i] if i < states else f"{inner}rows{i}")
                if i >= states:
                    nodes += self.stack(stacked[i - states], column[-1], 0, inner)
        for column, name in zip(columns, node.output, strict=True):
            nodes += self.stack(column, name, 0, prefix)
        return nodes

    def rows(
        self, body: onnx.GraphProto, prefix: str, states: Sequence[str], scanned: Sequence[str],
        axes: Sequence[int], ways: Sequence[int], length: int,
    ) -> tuple[list[Any], list[str], list[list[str]]]:  # fmt: skip
        """The trips of a Scan: nodes, the last states, and for each output of the body the names of its rows."""
        nodes: list[Any] = []
        carried, stacked = list(states), [list[str]() for _ in range(len(body.output) - len(states))]
        for trip in range(length):
            rows: list[str] = []
            for name, axis, way in zip(scanned, axes, ways, strict=True):
                place = self.constant(f"{prefix}{trip}/at{way}", np.array(length - 1 - trip if way else trip, np.int64))
                rows.append(f"{prefix}{trip}/{name}")
                nodes.append(helper.make_node("Gather", [name, place], rows[-1:], rows[-1], axis=axis))
            inner, outputs = self.copy(body, f"{prefix}{trip}/", [*carried, *rows])
            nodes += inner
            carried = outputs[: len(carried)]
            for found, name in zip(stacked, outputs[len(carried) :], strict=True):
                found.append(name)
        return nodes, carried, stacked

    # ------------------------------------------------------------------ parts

    def counted(self, trips: int, body: onnx.GraphProto) -> int:
        """The trips, if they don't come to too many nodes."""
        self.made += trips * max(len(body.node), 1)
        self.bytes += trips * body.ByteSize()
        if self.made > MAX_UNROLLED or self.bytes > MAX_BYTES:
            raise FrontendError(
                TOO_LARGE, f"its loops come to more than {MAX_UNROLLED} nodes, or {MAX_BYTES} bytes", str(self.path),
                "export the model with loops of fewer trips",
            )  # fmt: skip
        return trips

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A new tensor of the graph."""
        if name not in self.known.constants:
            tensor = self.model.graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(value, name))
            self.known.constants[name] = tensor
        return name

    def copy(self, body: onnx.GraphProto, prefix: str, inputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[str]]:
        """The nodes of a body with names of their own, and its outputs; values from outside keep their names."""
        names = dict(zip((port.name for port in body.input), inputs, strict=True))
        for tensor in body.initializer:
            names[tensor.name] = f"{prefix}{tensor.name}"
            moved = self.model.graph.initializer.add()
            moved.CopyFrom(tensor)
            moved.name = names[tensor.name]
            self.known.constants[moved.name] = moved
        nodes: list[onnx.NodeProto] = []
        for i, node in enumerate(body.node):
            names.update((name, f"{prefix}{name}") for name in node.output if name)
            made = onnx.NodeProto()
            made.CopyFrom(node)
            made.name = f"{prefix}{node.name or f'{node.op_type}_{i}'}"
            _rename(made, names)
            nodes.append(made)
        return nodes, [names.get(port.name, port.name) for port in body.output]

    def none(self, row: onnx.ValueInfoProto, result: str) -> list[onnx.NodeProto] | None:
        """The rows of no trip; None where the body doesn't state their shape."""
        tensor = row.type.tensor_type
        if not result:
            return []
        if not tensor.elem_type or any(dim.WhichOneof("value") != "dim_value" for dim in tensor.shape.dim):
            return None
        shape = [0, *(dim.dim_value for dim in tensor.shape.dim)]
        empty = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        return _renamed([self.constant(f"{result}/none", empty)], [result])

    def stack(self, rows: Sequence[str], result: str, axis: int, prefix: str) -> list[onnx.NodeProto]:
        """Values of all trips one after another along a new axis."""
        if not result:
            return []
        if self.opset < 13:
            lines = [
                helper.make_node("Unsqueeze", [name], [f"{name}/row"], f"{name}/row", axes=[axis]) for name in rows
            ]
        else:
            axes = self.constant(f"{prefix}axis{axis}", np.array([axis], np.int64))
            lines = [helper.make_node("Unsqueeze", [name, axes], [f"{name}/row"], f"{name}/row") for name in rows]
        joined = helper.make_node("Concat", [f"{name}/row" for name in rows], [result], f"{prefix}{result}", axis=axis)
        return [*lines, joined]


def _integers(options: Mapping[str, onnx.AttributeProto], name: str, count: int) -> list[int]:
    """The numbers of an attribute, zeros where a node hasn't it."""
    return list(options[name].ints) if name in options else [0] * count


def _goes_on(body: onnx.GraphProto) -> bool:
    """Whether the body's condition is always true: a constant, or the condition that came in."""
    if not body.output or len(body.input) < 2:
        return False
    name, producer = body.output[0].name, {name: node for node in body.node for name in node.output}
    for _ in range(len(body.node) + 1):
        node = producer.get(name)
        if node is None:
            break
        if node.op_type == "Constant" and node.attribute:
            return node.attribute[0].name == "value" and _is_true(node.attribute[0].t)
        if node.op_type not in ("Identity", "Cast"):
            return False
        name = node.input[0] if node.input else ""
    known = {tensor.name: tensor for tensor in body.initializer}
    return name == body.input[1].name or (name in known and _is_true(known[name]))


def _is_true(tensor: onnx.TensorProto) -> bool:
    with suppress(ValueError, TypeError):
        return bool(np.all(numpy_helper.to_array(tensor)))
    return False


def _renamed(values: Sequence[str], names: Sequence[str]) -> list[onnx.NodeProto]:
    """Let values have the names that the nodes behind ask for."""
    pairs = zip(values, names, strict=False)
    return [helper.make_node("Identity", [value], [name], f"{name}/out") for value, name in pairs if name]


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give a node's inputs and outputs, and what its own bodies read from outside, other names."""
    for field_ in (node.input, node.output):
        for i, name in enumerate(field_):
            field_[i] = names.get(name, name)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            own = {tensor.name for tensor in attribute.g.initializer} | {port.name for port in attribute.g.input}
            own |= {name for inner in attribute.g.node for name in inner.output}
            outside = {name: new for name, new in names.items() if name not in own}
            for inner in attribute.g.node:
                _rename(inner, outside)
            for port in attribute.g.output:
                port.name = outside.get(port.name, port.name)
