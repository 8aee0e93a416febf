"""Merged decoders that read an encoder: keys and values over its tokens, computed in the first step and fed after that.

The branch without caches computes them from the encoder's results; the branch with caches reads them and returns empty
ones. The latter also does what the former does once the tokens that the cache lacks are computed and appended to it:
all in the first step, none afterwards. So no branch needs to be chosen as the program runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

CACHE_AXIS, SOURCE_AXIS = 2, 1
"""Tokens of keys and values [batch, heads, tokens, features], and of what they are computed from."""
EMPTY = (0, None, 1, None)
"""The shape of what is returned where nothing new is, None for any size."""
DATA_PATH = frozenset({"MatMul", "Add", "Reshape", "Transpose", "Cast", "Identity"})


@dataclass(frozen=True)
class CrossCache:
    """One of them: the branches' results by place, the input that has the cache, the source, and the way from there."""

    place: int
    past: str
    source: str
    path: tuple[onnx.NodeProto, ...]

    def under(self, names: Mapping[str, str]) -> CrossCache:
        """The same with other names for the values on the way."""
        path: list[onnx.NodeProto] = []
        for node in self.path:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names.get(name, name) for name in node.output]
            path.append(copy)
        return CrossCache(self.place, self.past, self.source, tuple(path))


def cross_caches(graph: onnx.GraphProto, cached: onnx.GraphProto, plain: onnx.GraphProto) -> list[CrossCache]:
    """Those that the branch `cached` reads and `plain` computes."""
    ports = {port.name: port for port in graph.input}
    reads, others = _reads(cached), _reads(plain)
    pasts = {_after_dot(name): name for name in ports if name in reads and name not in others and "." in name}
    found: list[CrossCache] = []
    for place, (empty, computed) in enumerate(zip(cached.output, plain.output, strict=True)):
        past = pasts.get(_after_dot(computed.name))
        if past is None or not _is_empty(empty.name, cached) or _rank(ports[past]) != len(EMPTY):
            continue
        way = _way(computed.name, plain, ports)
        if way is not None:
            found.append(CrossCache(place, past, *way))
    return found


def _after_dot(name: str) -> str:
    """ "0.encoder.key" of past_key_values.0.encoder.key and present.0.encoder.key."""
    return name.partition(".")[2]


def _reads(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input}


def _rank(port: onnx.ValueInfoProto) -> int:
    return len(port.type.tensor_type.shape.dim)


def _is_empty(name: str, branch: onnx.GraphProto) -> bool:
    """Whether a result is a constant of no elements."""
    dims = next((list(tensor.dims) for tensor in branch.initializer if tensor.name == name), None)
    for node in branch.node:
        if name in node.output and node.op_type == "Constant":
            dims = next((list(a.t.dims) for a in node.attribute if a.name == "value"), None)
    fits = dims is not None and len(dims) == len(EMPTY)
    return fits and all(want is None or want == dim for want, dim in zip(EMPTY, dims or (), strict=True))


def _way(
    name: str, branch: onnx.GraphProto, ports: Mapping[str, onnx.ValueInfoProto]
) -> tuple[str, tuple[onnx.NodeProto, ...]] | None:
    """The input [batch, tokens, features] that a result is computed from, and the nodes from there; None if others."""
    makers = {output: node for node in branch.node for output in node.output}
    path: list[onnx.NodeProto] = []
    while (node := makers.get(name)) is not None:
        if node.op_type not in DATA_PATH or len(path) > len(branch.node):
            return None
        path.append(node)
        data = [other for other in node.input if other in makers or other in ports]
        if node.op_type in ("MatMul", "Add") and len(data) != 1:
            return None
        name = data[0] if node.op_type in ("MatMul", "Add") else node.input[0]
    if name not in ports or _rank(ports[name]) != SOURCE_AXIS + 2 or not path:
        return None
    return name, tuple(path[::-1])


def completed(
    caches: list[CrossCache], cached: onnx.GraphProto, plain: list[onnx.NodeProto]
) -> tuple[list[onnx.NodeProto], onnx.GraphProto]:
    """Nodes that append to caches what they lack, and the branch with caches that reads and returns what these make.

    `plain` are the other branch's nodes as they are in the model, where the caches' paths lead through them.
    """
    branch = onnx.GraphProto()
    branch.CopyFrom(cached)
    made: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for cache in caches:
        prefix = f"{cache.past}/missing"
        new = _missing(cache, prefix, plain, made)
        renamed[cache.past] = f"{prefix}/all"
        made.append(helper.make_node("Concat", [cache.past, new], [renamed[cache.past]], renamed[cache.past], axis=2))
        result = branch.output[cache.place]
        result.name = _returned(new, prefix, made)
    rest = [_reading(node, renamed) for node in branch.node]
    del branch.node[:]
    branch.node.extend(rest)
    return made, branch


def name_dimensions(caches: list[CrossCache], graph: onnx.GraphProto) -> list[str]:
    """Name the encoder's tokens in the cache and those that it lacks, for which the file has one name; those names."""
    shapes = {port.name: port.type.tensor_type.shape.dim for port in graph.input}
    pasts = {cache.past for cache in caches}
    names = {shapes[cache.source][SOURCE_AXIS].dim_param for cache in caches}
    made: list[str] = []
    for tokens in sorted(name for name in names if name.isidentifier()):
        made += [f"past_{tokens}", f"new_{tokens}"]
        for name, dims in shapes.items():
            for dim in dims:
                if dim.dim_param == tokens:
                    dim.dim_param = f"past_{tokens}" if name in pasts else f"past_{tokens} + new_{tokens}"
        for port in graph.output:
            for dim in port.type.tensor_type.shape.dim:
                if dim.dim_param == tokens:
                    dim.ClearField("value")
    return made


def _reading(node: onnx.NodeProto, renamed: Mapping[str, str]) -> onnx.NodeProto:
    node.input[:] = [renamed.get(name, name) for name in node.input]
    return node


def _missing(cache: CrossCache, prefix: str, plain: list[onnx.NodeProto], made: list[onnx.NodeProto]) -> str:
    """Keys or values of the encoder's tokens that the cache lacks."""
    sizes = [
        _dim(cache.source, SOURCE_AXIS, f"{prefix}/tokens", made),
        _dim(cache.past, CACHE_AXIS, f"{prefix}/past", made),
    ]
    count = _node("Sub", sizes, f"{prefix}/count", made)
    bounds = [_ints(f"{prefix}/{name}", [number], made) for name, number in (("start", 0), ("axis", SOURCE_AXIS))]
    source = _node("Slice", [cache.source, bounds[0], count, bounds[1]], f"{prefix}/source", made)
    own = {cache.source: source}
    needed = _needed(cache.path, plain)
    for node in plain:
        if node.output[0] in needed and any(name in own for name in node.input):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [own.get(name, name) for name in node.input]
            copy.output[:] = [f"{prefix}/{len(own)}.{i}" for i in range(len(node.output))]
            copy.name = copy.output[0]
            own.update(zip(node.output, copy.output, strict=True))
            made.append(copy)
    return own[cache.path[-1].output[0]]


def _needed(path: Sequence[onnx.NodeProto], plain: Sequence[onnx.NodeProto]) -> set[str]:
    """First results of the nodes on the way, and of those that compute the shapes that these reshape to."""
    makers = {output: node for node in plain for output in node.output}
    needed = {node.output[0] for node in path}
    waiting = [name for node in path for name in node.input]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting += [] if node.op_type in ("Shape", "Size") else node.input
    return needed


def _returned(new: str, prefix: str, made: list[onnx.NodeProto]) -> str:
    """What is returned: the new ones; of shape [0, heads, 1, features] where there are none."""
    batch, heads, count, features = (_dim(new, axis, f"{prefix}/dim{axis}", made) for axis in range(4))
    one = _ints(f"{prefix}/one", [1], made)
    some = _node("Min", [count, one], f"{prefix}/some", made)
    batch = _node("Mul", [batch, some], f"{prefix}/batch", made)
    count = _node("Max", [count, one], f"{prefix}/new", made)
    shape = f"{prefix}/shape"
    made.append(helper.make_node("Concat", [batch, heads, count, features], [shape], shape, axis=0))
    result = f"{prefix}/returned"
    made.append(helper.make_node("Reshape", [new, shape], [result], result, allowzero=1))
    return result


def _node(kind: str, inputs: list[str], output: str, made: list[onnx.NodeProto]) -> str:
    made.append(helper.make_node(kind, inputs, [output], output))
    return output


def _ints(name: str, values: list[int], made: list[onnx.NodeProto]) -> str:
    made.append(
        helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(np.array(values, np.int64)))
    )
    return name


def _dim(value: str, axis: int, name: str, made: list[onnx.NodeProto]) -> str:
    shape = _node("Shape", [value], f"{name}/shape", made)
    place = _ints(f"{name}/place", [axis], made)
    made.append(helper.make_node("Gather", [shape, place], [name], name, axis=0))
    return name
