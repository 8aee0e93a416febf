"""Read a model file into a graph, with every check that a stranger's file needs; weights stay on disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from crossbank.compiler.frontend.branches import resolved
from crossbank.compiler.frontend.errors import (
    ATTRIBUTE,
    CYCLE,
    DATA_RANGE,
    DATA_SIZE,
    DTYPE,
    DUPLICATE,
    MISSING_DATA,
    NOT_ONNX,
    SHAPE,
    TOO_LARGE,
    UNDEFINED,
    UNSAFE_PATH,
    FrontendError,
)
from crossbank.compiler.frontend.functions import inlined, spelt_out
from crossbank.compiler.frontend.graph import ABSENT, MAX_DIM, MAX_ELEMENTS, Graph, Node, Port
from crossbank.compiler.frontend.loops import unrolled
from crossbank.compiler.frontend.parameters import weight_inputs, with_parameters
from crossbank.compiler.frontend.routing import over_all_tokens
from crossbank.compiler.frontend.well_formed import check_nodes, domain_of, opsets_of
from crossbank.compiler.frontend.wire import IN_FILE, skeleton
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.tensors import FileRange, TensorEntry, TensorStore, element_bits

Weights = Literal["auto", "shape-only"]
MAX_RANK = 32
MAX_TEXT = 1000
"""Characters of a dimension's name or expression."""


def load(path: Path, weights: Weights = "auto") -> Graph:
    """The graph of an ONNX file; FrontendError for whatever is wrong with it.

    `weights="shape-only"` takes a model whose external data is absent.
    """
    try:
        model = onnx.ModelProto.FromString(skeleton(path))
    except DecodeError as error:
        raise FrontendError(NOT_ONNX, "not an ONNX file", str(path), "give the path of an .onnx file") from error
    _check_texts(model, path)
    found = resolved(unrolled(inlined(model, path), path), path)
    flat = spelt_out(unrolled(found.model, path), path)
    check_nodes(flat, path, found.undecided)
    model = with_parameters(over_all_tokens(flat), path, weights == "shape-only")
    graph = _Loader(path, model, weights).graph()
    graph.bound, graph.weight_inputs = found.bound, weight_inputs(model.graph)
    graph.empty = found.empty
    return graph


class _Loader:
    def __init__(self, path: Path, model: onnx.ModelProto, weights: Weights) -> None:
        self.path, self.model, self.weights = path, model, weights
        self.folder = path.parent.resolve()
        self.store = TensorStore()
        self.sizes: dict[Path, int] = {}
        self.opsets = opsets_of(model)

    def fail(self, code: str, message: str, what: str = "", help: str = "export the model again") -> FrontendError:
        return FrontendError(code, message, f"{self.path}: {what}" if what else str(self.path), help)

    def graph(self) -> Graph:
        proto = self.model.graph
        if not proto.output:
            raise self.fail(NOT_ONNX, "the graph has no outputs")
        if proto.sparse_initializer:
            raise self.fail(DTYPE, "sparse initializers aren't supported", proto.sparse_initializer[0].values.name)
        for tensor in proto.initializer:
            if tensor.name in self.store:
                raise self.fail(DUPLICATE, f"two initializers are named {tensor.name!r}", tensor.name)
            self.store.declare(tensor.name, self._entry(tensor))
        inputs = [self._port(value) for value in proto.input if value.name not in self.store]
        nodes = [self._node(node, i) for i, node in enumerate(proto.node)]
        _unique_names(nodes)
        kept = [node for node in nodes if not self._constant(node)]
        graph = Graph(
            str(self.path),
            inputs,
            [self._port(value) for value in proto.output],
            self._sorted(kept, inputs),
            self.store,
            self.opsets,
            {value.name: self._port(value) for value in proto.value_info if value.type.HasField("tensor_type")},
            imported=[node.name for node in nodes],
            results=[value.name for value in proto.output],
            origin={name: node.name for node in nodes for name in node.outputs},
        )
        known = {name for node in kept for name in node.outputs} | {port.name for port in inputs} | set(self.store)
        for port in graph.outputs:
            if port.name == ABSENT or port.name not in known:
                raise self.fail(UNDEFINED, "nothing computes this output", port.name)
        return graph

    def _node(self, proto: onnx.NodeProto, index: int) -> Node:
        domain = domain_of(proto)
        name = proto.name or f"{proto.op_type}_{index}"
        attributes = {a.name: self._attribute(a, name) for a in proto.attribute}
        inputs, outputs = tuple(proto.input), tuple(proto.output)
        while inputs and inputs[-1] == ABSENT:
            inputs = inputs[:-1]
        while outputs and outputs[-1] == ABSENT:
            outputs = outputs[:-1]
        return Node(proto.op_type, domain, name, inputs, outputs, attributes, self.opsets.get(domain, 1))

    def _attribute(self, proto: AttributeProto, node: str) -> Any:
        if proto.ref_attr_name:
            raise self.fail(ATTRIBUTE, f"attribute {proto.name} is one of a function, and the node is in none", node)
        if proto.type == AttributeProto.TENSOR:
            entry = self._entry(proto.t, f"{node}, attribute {proto.name}")
            store = TensorStore()
            store.declare("value", entry)
            return store.load("value")
        value = helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "backslashreplace")
        if proto.type == AttributeProto.STRINGS:
            return [text.decode("utf-8", "backslashreplace") for text in value]
        if isinstance(value, int | float):
            return value
        if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            return list(value)
        raise self.fail(DTYPE, f"attribute {proto.name} of a kind that isn't supported", node)

    def _constant(self, node: Node) -> bool:
        """Whether the node is a Constant; its value becomes a static tensor."""
        if node.key != "Constant" or not node.outputs:
            return False
        for attribute, value in node.attributes.items():
            match attribute:
                case "value":
                    array = value
                case "value_int" | "value_ints":
                    array = np.array(value, dtype=np.int64)
                case "value_float" | "value_floats":
                    array = np.array(value, dtype=np.float32)
                case _:
                    raise self.fail(DTYPE, f"Constant with attribute {attribute} isn't supported", node.name)
            if node.outputs[0] in self.store:
                raise self.fail(DUPLICATE, f"two values are named {node.outputs[0]!r}", node.name)
            self.store.declare(node.outputs[0], TensorEntry(array.dtype.name, array.shape, array))
            return True
        raise self.fail(DTYPE, "Constant without a value", node.name)

    # --------------------------------------------------------------- tensors

    def _dtype(self, number: int, what: str) -> str:
        try:
            name = helper.tensor_dtype_to_np_dtype(number).name
            dtype_of(name)
        except (KeyError, ValueError) as error:
            known = TensorProto.DataType.items()
            text = next((label for label, value in known if value == number), str(number))
            raise self.fail(DTYPE, f"elements of type {text} aren't supported", what) from error
        return name

    def _entry(self, tensor: TensorProto, what: str = "") -> TensorEntry:
        what = what or tensor.name
        dtype, shape = self._dtype(tensor.data_type, what), tuple(tensor.dims)
        size = math.prod(shape)
        if len(shape) > MAX_RANK or any(not 0 <= dim <= MAX_DIM for dim in shape) or size > MAX_ELEMENTS:
            text = "x".join(map(str, shape[:MAX_RANK]))
            raise self.fail(TOO_LARGE, f"a tensor of shape {text} has more than {MAX_ELEMENTS} elements", what)
        needed = -(-size * element_bits(dtype) // 8)
        if tensor.data_location == TensorProto.EXTERNAL:
            return TensorEntry(dtype, shape, self._range(tensor, needed, what))
        return TensorEntry(dtype, shape, self._inline(tensor, shape, dtype, needed, what))

    def _inline(
        self, tensor: TensorProto, shape: tuple[int, ...], dtype: str, needed: int, what: str
    ) -> NDArray[Any] | None:
        if tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
            raise self._wrong_size(len(tensor.raw_data), needed, shape, dtype, what)
        try:
            return numpy_helper.to_array(tensor).reshape(shape)
        except (ValueError, TypeError) as error:
            if self.weights == "shape-only":
                return None
            raise self.fail(DATA_SIZE, f"the values don't fill shape {shape} of {dtype}", what) from error

    def _wrong_size(self, got: int, needed: int, shape: tuple[int, ...], dtype: str, what: str) -> FrontendError:
        text = "x".join(map(str, shape)) or "scalar"
        return self.fail(DATA_SIZE, f"{got} bytes of data for {text} of {dtype}, which takes {needed}", what)

    def _range(self, tensor: TensorProto, needed: int, what: str) -> FileRange | None:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        offset, length = self._number(entries, "offset", 0, what), self._number(entries, "length", needed, what)
        path = self.path if location == IN_FILE else self._inside(location, what)
        size = self._size(path, location, what)
        if size is None:
            return None
        if length != needed:
            raise self._wrong_size(length, needed, tuple(tensor.dims), self._dtype(tensor.data_type, what), what)
        if offset + length > size:
            message = f"bytes {offset} to {offset + length} of {path.name}, which has {size}"
            raise self.fail(DATA_RANGE, message, what, "export again, or fetch the data file again")
        return FileRange(path.resolve(), offset, length)

    def _number(self, entries: Mapping[str, str], key: str, default: int, what: str) -> int:
        text = entries.get(key, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise self.fail(DATA_RANGE, f"external data {key} {text[:40]!r} is no byte count", what)
        return int(text)

    def _inside(self, location: str, what: str) -> Path:
        target = self.path.parent / location
        try:
            resolved = target.resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise self.fail(UNSAFE_PATH, f"external data path {location[:200]!r} can't be followed", what) from error
        if not location or Path(location).is_absolute() or not resolved.is_relative_to(self.folder):
            raise self.fail(
                UNSAFE_PATH,
                f"external data path {location[:200]!r} leaves the model's folder",
                what,
                f"put the data file itself into {self.path.parent} and refer to it by name",
            )
        return target

    def _size(self, path: Path, location: str, what: str) -> int | None:
        if path not in self.sizes:
            try:
                present = path.is_file()
            except OSError as error:
                message = f"external data path {location[:200]!r} can't be followed: {error.strerror}"
                raise self.fail(UNSAFE_PATH, message, what) from error
            if not present:
                if self.weights == "shape-only":
                    return None
                raise self.fail(
                    MISSING_DATA,
                    f"external data file {location[:200]} is missing",
                    what,
                    f"put {location[:200]} beside {self.path.name}, or compile shapes only   --weights shape-only",
                )
            self.sizes[path] = path.stat().st_size
        return self.sizes[path]

    def _port(self, value: onnx.ValueInfoProto) -> Port:
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise self.fail(DTYPE, f"a {value.type.WhichOneof('value')} isn't supported", value.name)
        found = value.type.tensor_type
        dtype = self._dtype(found.elem_type, value.name) if found.elem_type else ""
        if not found.HasField("shape"):
            return Port(value.name, dtype, None)
        dims: list[int | str | None] = []
        for dim in found.shape.dim:
            kind = dim.WhichOneof("value")
            if kind == "dim_param" and len(dim.dim_param) > MAX_TEXT:
                raise self.fail(SHAPE, f"a dimension named with {len(dim.dim_param)} characters", value.name)
            if kind == "dim_value" and dim.dim_value > MAX_DIM:
                raise self.fail(TOO_LARGE, f"a dimension of {dim.dim_value} is more than {MAX_DIM}", value.name)
            number = dim.dim_value if kind == "dim_value" and dim.dim_value >= 0 else None
            dims.append((dim.dim_param or None) if kind == "dim_param" else number)
        if len(dims) > MAX_RANK:
            raise self.fail(SHAPE, f"{len(dims)} dimensions are more than {MAX_RANK}", value.name)
        return Port(value.name, dtype, tuple(dims))

    # ----------------------------------------------------------------- order

    def _sorted(self, nodes: list[Node], inputs: list[Port]) -> list[Node]:
        """The nodes in topological order: the file's where that is one."""
        defined = {port.name for port in inputs}
        if len(defined) != len(inputs):
            twice = next(name for name, count in Counter(port.name for port in inputs).items() if count > 1)
            raise self.fail(DUPLICATE, f"two inputs are named {twice!r}", twice)
        producer: dict[str, Node] = {}
        for node in nodes:
            for name in node.outputs:
                if name != ABSENT and (name in producer or name in defined or name in self.store):
                    raise self.fail(DUPLICATE, f"two values are named {name!r}", node.name)
                producer[name] = node
        for node in nodes:
            for name in node.inputs:
                if name != ABSENT and name not in producer and name not in defined and name not in self.store:
                    raise self.fail(UNDEFINED, f"input {name!r} is not defined", node.name)
        waiting = {id(node): len({n for n in node.inputs if n in producer}) for node in nodes}
        users: dict[str, list[Node]] = {}
        for node in nodes:
            for name in set(node.inputs) & producer.keys():
                users.setdefault(name, []).append(node)
        if _in_order(nodes, defined, self.store):
            return nodes
        ready = [node for node in reversed(nodes) if not waiting[id(node)]]
        order: list[Node] = []
        while ready:
            node = ready.pop()
            order.append(node)
            for name in node.outputs:
                for user in users.get(name, ()):
                    waiting[id(user)] -= 1
                    if not waiting[id(user)]:
                        ready.append(user)
        if len(order) < len(nodes):
            stuck = next(node for node in nodes if waiting[id(node)])
            raise self.fail(CYCLE, f"{len(nodes) - len(order)} nodes wait for each other in a cycle", stuck.name)
        return order


def _in_order(nodes: list[Node], defined: set[str], store: TensorStore) -> bool:
    seen = set(defined) | set(store) | {ABSENT}
    for node in nodes:
        if not seen.issuperset(node.inputs):
            return False
        seen.update(node.outputs)
    return True


def _unique_names(nodes: list[Node]) -> None:
    taken: set[str] = set()
    for node in nodes:
        name, i = node.name, 1
        while name in taken:
            i += 1
            name = f"{node.name}#{i}"
        node.name = name
        taken.add(name)


def _check_texts(model: onnx.ModelProto, path: Path) -> None:
    """Refuse names that protobuf gives as bytes, for they are no UTF-8."""
    texts = [
        *(entry.domain for entry in model.opset_import),
        *_texts(model.graph),
        *(text for function in model.functions for text in (function.name, function.domain, *function.input)),
        *(text for function in model.functions for node in function.node for text in _texts_of(node)),
    ]
    if any(type(text) is not str for text in texts):
        where, help = str(path), "export the model again"
        raise FrontendError(NOT_ONNX, "not an ONNX file: a name in it is no text in UTF-8", where, help)


def _texts_of(node: onnx.NodeProto) -> Iterator[object]:
    yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for attribute in node.attribute:
        yield attribute.name
        if attribute.type == AttributeProto.GRAPH:
            yield from _texts(attribute.g)


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    for node in graph.node:
        yield from _texts_of(node)
    for tensor in graph.initializer:
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for port in (*graph.input, *graph.output, *graph.value_info):
        yield port.name
        for dim in port.type.tensor_type.shape.dim:
            yield dim.dim_param
