"""Models of cycles, long chains, deep nesting, endless loops and functions, and nodes of a million parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile_models import FLOAT, hostile, hostile_for_seconds, integers, model, node, port, written


@hostile
def cycle(folder: Path) -> Path:
    return written(folder, model([node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"])], ["b"], [port("x", [1])]))


@hostile
def node_that_reads_itself(folder: Path) -> Path:
    return written(folder, model([node("Neg", ["y"], ["y"])], ["y"]))


@hostile
def chain_of_a_million_nodes(folder: Path) -> Path:
    neg = b"\x0a\x17\x0a\x07%07d\x12\x07%07d\x22\x03Neg"
    return enclosed(folder, b"".join(neg % (i, i + 1) for i in range(1_000_000)) + delimited(12, b"\x0a\x071000000"))


@hostile_for_seconds
def long_chain(folder: Path) -> Path:
    nodes = [node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(50_000)]
    return written(folder, model(nodes, ["v50000"], [port("v0", [1])]))


@hostile_for_seconds
def long_chain_of_unequal_nodes(folder: Path) -> Path:
    kinds = ("Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Relu", "Floor")
    nodes = [node(kinds[i * i % 7], [f"v{i}"], [f"v{i + 1}"]) for i in range(20_000)]
    return written(folder, model(nodes, ["v20000"], [port("v0", ["n"])]))


@hostile_for_seconds
def many_small_repeats(folder: Path) -> Path:
    nodes = [node("LeakyRelu", [f"v{i}"], [f"v{i + 1}"], alpha=float(i // 16)) for i in range(20_000)]
    return written(folder, model(nodes, ["v20000"], [port("v0", ["n"])]))


@hostile
def a_million_empty_nodes(folder: Path) -> Path:
    return enclosed(folder, b"\x0a\x00" * 1_000_000)


@hostile_for_seconds
def ten_million_empty_notes(folder: Path) -> Path:
    return enclosed(folder, b"\x6a\x00" * 10_000_000)


def enclosed(folder: Path, graph: bytes) -> Path:
    """A model whose graph is these bytes."""
    path = folder / "model.onnx"
    path.write_bytes(b"\x08\x0a" + delimited(7, graph) + delimited(8, b"\x10\x12"))
    return path


def delimited(number: int, payload: bytes) -> bytes:
    """A protobuf field that holds bytes."""
    size, tail = len(payload), bytearray()
    while size >= 0x80:
        tail.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *tail, size]) + payload


@hostile
def nested_ten_thousand_deep(folder: Path) -> Path:
    graph = b""
    for _ in range(10_000):
        attribute = delimited(1, b"then_branch") + delimited(6, graph) + b"\xa0\x01\x05"
        graph = delimited(1, delimited(4, b"If") + delimited(5, attribute))
    return enclosed(folder, graph)


@hostile
def nested_thirty_deep(folder: Path) -> Path:
    graph = helper.make_graph([node("Neg", ["x"], ["y"])], "inner", [], [onnx.ValueInfoProto(name="y")])
    for i in range(30):
        branch = (
            node("If", ["c"], [f"y{i}"], then_branch=graph, else_branch=graph)
            if i < 8
            else node("If", ["c"], [f"y{i}"], then_branch=graph)
        )
        graph = helper.make_graph([branch], f"g{i}", [], [onnx.ValueInfoProto(name=f"y{i}")])
    proto = model([], ["y29"], [port("x", [1]), port("c", [], TensorProto.BOOL)])
    proto.graph.node.extend(graph.node)
    return written(folder, proto)


def graph(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    """A body whose inputs and outputs have no types."""
    ports = [[onnx.ValueInfoProto(name=name) for name in names] for names in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *ports)


def loop(body: onnx.GraphProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.NodeProto:
    return node("Loop", inputs, outputs, body=body)


@hostile
def many_branches(folder: Path) -> Path:
    nodes: list[onnx.NodeProto] = []
    for i in range(5000):
        branches = {name: graph([node("Neg", [f"v{i}"], ["r"])], [], ["r"]) for name in ("then_branch", "else_branch")}
        nodes.append(node("If", ["c"], [f"v{i + 1}"], **branches))
    condition = numpy_helper.from_array(np.array(True), "c")
    return written(folder, model(nodes, ["v5000"], [port("v0", [1])], [condition]))


@hostile_for_seconds
def loops_within_loops(folder: Path) -> Path:
    body = graph([node("Neg", ["x"], ["y"])], ["i", "go", "x"], ["go", "y"])
    for depth in range(8):
        body = graph([loop(body, ["count", "go", "x"], [f"y{depth}"])], ["i", "go", "x"], ["go", f"y{depth}"])
    nodes = [loop(body, ["count", "", "x"], ["z"])]
    return written(folder, model(nodes, ["z"], [port("x", [1])], [integers("count", 1000)]))


@hostile
def loop_of_2_to_60_trips(folder: Path) -> Path:
    body = graph([node("Neg", ["x"], ["y"])], ["i", "go", "x"], ["go", "y"])
    return written(
        folder, model([loop(body, ["n", "", "x"], ["z"])], ["z"], [port("x", [1])], [integers("n", 1 << 60)])
    )


@hostile
def loop_over_a_large_tensor(folder: Path) -> Path:
    body = graph([node("Add", ["x", "w"], ["y"])], ["i", "go", "x"], ["go", "y"])
    body.initializer.append(numpy_helper.from_array(np.zeros(1 << 20, np.float32), "w"))
    return written(folder, model([loop(body, ["n", "", "x"], ["z"])], ["z"], [port("x", [1])], [integers("n", 5000)]))


@hostile
def scan_of_2_to_40_trips(folder: Path) -> Path:
    body = graph([node("Neg", ["x"], ["y"])], ["x"], ["y"])
    nodes = [node("Scan", ["x"], ["z"], body=body, num_scan_inputs=1)]
    return written(folder, model(nodes, ["z"], [port("x", [1 << 40, 2])]))


@hostile
def count_that_is_a_large_tensor(folder: Path) -> Path:
    body = graph([node("Neg", ["x"], ["y"])], ["i", "go", "x"], ["go", "y"])
    nodes = [node("ConstantOfShape", ["s"], ["n"]), loop(body, ["n", "", "x"], ["z"])]
    return written(folder, model(nodes, ["z"], [port("x", [1])], [integers("s", 1 << 34)]))


@hostile
def type_nested_deeply(folder: Path) -> Path:
    proto = model([node("Identity", ["x"], ["y"])], ["y"], [onnx.ValueInfoProto(name="x")])
    kind = proto.graph.input[0].type
    for _ in range(40):
        kind = kind.sequence_type.elem_type
    kind.tensor_type.elem_type = FLOAT
    return written(folder, proto)


@hostile
def functions_that_multiply(folder: Path) -> Path:
    functions = [function("f0", [node("Neg", ["x"], ["y"])])]
    for i in range(1, 40):
        calls = [node(f"f{i - 1}", ["x"], ["a"], domain="own"), node(f"f{i - 1}", ["a"], ["y"], domain="own")]
        functions.append(function(f"f{i}", calls))
    return written(
        folder, model([node("f39", ["x"], ["y"], domain="own")], ["y"], [port("x", [1])], functions=functions)
    )


@hostile
def function_that_calls_itself(folder: Path) -> Path:
    functions = [function("f", [node("f", ["x"], ["y"], domain="own")])]
    return written(folder, model([node("f", ["x"], ["y"], domain="own")], ["y"], [port("x", [1])], functions=functions))


@hostile
def functions_nested_deeply(folder: Path) -> Path:
    functions = [function("f0", [node("Neg", ["x"], ["y"])])]
    functions += [function(f"f{i}", [node(f"f{i - 1}", ["x"], ["y"], domain="own")]) for i in range(1, 10_000)]
    return written(
        folder, model([node("f9999", ["x"], ["y"], domain="own")], ["y"], [port("x", [1])], functions=functions)
    )


def function(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["x"], ["y"], nodes, opsets)


@hostile
def node_with_a_million_inputs(folder: Path) -> Path:
    return written(folder, model([node("Concat", ["x"] * 1_000_000, ["y"], axis=0)], ["y"], [port("x", ["n", 2])]))


@hostile_for_seconds
def node_with_a_million_outputs(folder: Path) -> Path:
    names = [f"y{i}" for i in range(1_000_000)]
    return written(folder, model([node("Split", ["x"], names, axis=0)], names[:1], [port("x", ["n", 2])]))


@hostile
def attribute_of_a_million_numbers(folder: Path) -> Path:
    return written(folder, model([node("Transpose", ["x"], ["y"], perm=[0] * 1_000_000)], ["y"], [port("x", [2, 2])]))
