"""Deep models made from the two-layer ones of the zoo: layer 1 again and again."""

from __future__ import annotations

import re
from pathlib import Path

import onnx


def deepen(source: Path, target: Path, layers: int, weights: str = "absent.bin") -> None:
    """Write a model of `layers` layers; layer 1's initializers become external data, absent from the disk."""
    model = onnx.load(source)
    graph = model.graph
    layer1 = [n for n in graph.node if "layers.1/" in n.name]
    made = {name for node in layer1 for name in node.output}
    before = _layer_input(graph, layer1, made)
    after = next(name for name in _crossing(graph, layer1, made) if not name.startswith("present"))
    elsewhere = {name for node in graph.node if node not in layer1 for name in node.input}
    read = {name for node in layer1 for name in node.input} - elsewhere - made
    tensors = {t.name: t for t in graph.initializer}
    own = read & tensors.keys()
    for name in own:
        _absent(tensors[name], weights)
    position = max(i for i, node in enumerate(graph.node) if node in layer1) + 1
    rest = list(graph.node)[position:]
    del graph.node[position:]
    last = after
    for i in range(2, layers):

        def renamed(name: str, i: int = i, last: str = last) -> str:
            if name == before:
                return last
            if name.startswith(("past_key_values.1", "present.1")):
                return name.replace(".1.", f".{i}.")
            return _numbered(name, i) if name in made | own else name

        for node in layer1:
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.name = node.name.replace("layers.1/", f"layers.{i}/")
            copy.input[:] = [renamed(name) for name in node.input]
            copy.output[:] = [renamed(name) for name in node.output]
        for name in own:
            tensor = graph.initializer.add()
            tensor.CopyFrom(tensors[name])
            tensor.name = renamed(name)
        for values in (graph.input, graph.output):
            for value in [v for v in values if ".1." in v.name]:
                values.add().CopyFrom(value)
                values[-1].name = value.name.replace(".1.", f".{i}.")
        last = renamed(after)
    for node in rest:
        graph.node.add().CopyFrom(node)
        graph.node[-1].input[:] = [last if name == after else name for name in node.input]
    onnx.save(model, target)


def _numbered(name: str, i: int) -> str:
    return name.replace("layers.1", f"layers.{i}") if "layers.1" in name else f"{name}.copy{i}"


def _absent(tensor: onnx.TensorProto, file: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=file)


def _layer_input(graph: onnx.GraphProto, layer: list[onnx.NodeProto], made: set[str]) -> str:
    """The residual that enters layer 1: the last result of layer 0 that it reads."""
    read = {name for node in layer for name in node.input}
    candidates = [
        n.output[0] for n in graph.node if re.fullmatch(r".*layers\.0/Add_\d", n.name) and n.output[0] in read
    ]
    return candidates[-1]


def _crossing(graph: onnx.GraphProto, layer: list[onnx.NodeProto], made: set[str]) -> list[str]:
    return [name for node in graph.node if node not in layer for name in node.input if name in made]
