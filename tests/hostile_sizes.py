"""Models whose tensors, shapes or constants come to more than anything can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.hostile_models import FLOAT, hostile, hostile_for_seconds, integers, model, node, port, written


@hostile
def input_of_2_to_60(folder: Path) -> Path:
    return written(folder, model([node("Neg", ["x"], ["y"])], ["y"], [port("x", [1 << 60])]))


@hostile
def tensor_of_2_to_60(folder: Path) -> Path:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[1 << 60], raw_data=b"1234")
    return written(folder, model([node("Neg", ["w"], ["y"])], ["y"], tensors=[tensor]))


@hostile
def dimensions_whose_product_overflows(folder: Path) -> Path:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[1 << 32, 1 << 32], raw_data=b"")
    return written(folder, model([node("Neg", ["w"], ["y"])], ["y"], tensors=[tensor]))


@hostile
def constant_of_2_to_60(folder: Path) -> Path:
    return written(folder, model([node("ConstantOfShape", ["s"], ["y"])], ["y"], tensors=[integers("s", 1 << 60)]))


@hostile
def expanded_to_2_to_60(folder: Path) -> Path:
    tensors = [integers("s", 1 << 30, 1 << 30), numpy_helper.from_array(np.ones((1, 1), np.float32), "w")]
    return written(folder, model([node("Expand", ["w", "s"], ["y"])], ["y"], tensors=tensors))


@hostile
def range_of_2_to_62(folder: Path) -> Path:
    tensors = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("a", 0), ("b", 1 << 62), ("c", 1))]
    return written(folder, model([node("Range", ["a", "b", "c"], ["y"])], ["y"], tensors=tensors))


@hostile
def one_hot_of_2_to_60(folder: Path) -> Path:
    tensors = [integers("i", 1, 2), integers("d", 1 << 60), numpy_helper.from_array(np.array([0, 1], np.float32), "v")]
    return written(folder, model([node("OneHot", ["i", "d", "v"], ["y"])], ["y"], tensors=tensors))


@hostile
def padded_by_2_to_60(folder: Path) -> Path:
    return written(
        folder, model([node("Pad", ["x", "p"], ["y"])], ["y"], [port("x", [2])], [integers("p", 1 << 60, 0)])
    )


@hostile
def split_into_2_to_60(folder: Path) -> Path:
    nodes = [node("Split", ["x"], ["y", "z"], num_outputs=1 << 60)]
    return written(folder, model(nodes, ["y"], [port("x", ["n"])]))


@hostile
def doubled_a_hundred_times(folder: Path) -> Path:
    nodes = [node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(100)]
    return written(folder, model(nodes, ["v100"], [port("v0", [2])]))


@hostile
def named_dimension_doubled_a_thousand_times(folder: Path) -> Path:
    nodes = [node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(1000)]
    return written(folder, model(nodes, ["v1000"], [port("v0", ["n"])]))


@hostile
def squared_shape_values(folder: Path) -> Path:
    nodes = [node("Shape", ["x"], ["v0"])]
    nodes += [node("Mul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(100)]
    nodes += [node("ConstantOfShape", ["v100"], ["y"])]
    return written(folder, model(nodes, ["y"], [port("x", ["n"])]))


@hostile
def nested_minima_of_shapes(folder: Path) -> Path:
    nodes = [node("Shape", ["x"], ["v0"])]
    for i in range(300):
        nodes += [node("Div", [f"v{i}", "two"], [f"h{i}"]), node("Max", [f"v{i}", f"h{i}"], [f"m{i}"])]
        nodes += [node("Mod", [f"m{i}", "seven"], [f"r{i}"]), node("Add", [f"m{i}", f"r{i}"], [f"v{i + 1}"])]
    nodes += [node("ConstantOfShape", ["v300"], ["y"])]
    return written(folder, model(nodes, ["y"], [port("x", ["n"])], [integers("two", 2), integers("seven", 7)]))


@hostile
def product_of_many_sums(folder: Path) -> Path:
    inputs = [port("v0", [f"a{j}" for j in range(30)])]
    nodes: list[onnx.NodeProto] = []
    for i in range(30):
        shape = [f"a{j}+b{j}" if j < i else f"b{j}" if j == i else f"a{j}" for j in range(30)]
        inputs.append(port(f"x{i}", shape))
        nodes.append(node("Concat", [f"v{i}", f"x{i}"], [f"v{i + 1}"], axis=i))
    nodes.append(node("Flatten", ["v30"], ["y"], axis=30))
    return written(folder, model(nodes, ["y"], inputs))


@hostile
def dimension_that_is_a_product_of_many_sums(folder: Path) -> Path:
    text = "*".join(f"(a{i}+b{i})" for i in range(60))
    return written(folder, model([node("Neg", ["x"], ["y"])], ["y"], [port("x", [text, "9" * 900, "((((" * 200])]))


@hostile_for_seconds
def many_large_constants(folder: Path) -> Path:
    names = [f"v{i}" for i in range(400)]
    tensors = [integers(f"s{i}", 1 << 22) for i in range(400)]
    nodes = [node("ConstantOfShape", [f"s{i}"], [name]) for i, name in enumerate(names)]
    nodes += [node("Neg", [name], [f"n{i}"]) for i, name in enumerate(names)]
    nodes.append(node("Sum", [f"n{i}" for i in range(400)], ["y"]))
    return written(folder, model(nodes, ["y"], tensors=tensors))


@hostile
def many_large_constant_products(folder: Path) -> Path:
    nodes = [node("ConstantOfShape", ["s"], ["v0"])]
    nodes += [node("MatMul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(100)]
    return written(folder, model(nodes, ["v100"], tensors=[integers("s", 2048, 2048)]))


@hostile
def einsum_of_everything(folder: Path) -> Path:
    tensors = [numpy_helper.from_array(np.ones((40,) * 3, np.float32), name) for name in "abc"]
    nodes = [node("Einsum", ["a", "b", "c"], ["y"], equation="abc,def,ghi->")]
    return written(folder, model(nodes, ["y"], tensors=tensors))


@hostile
def negative_dimension(folder: Path) -> Path:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[-2, -3], raw_data=b"1" * 24)
    return written(folder, model([node("Neg", ["w"], ["y"])], ["y"], tensors=[tensor]))


@hostile
def axis_of_2_to_62(folder: Path) -> Path:
    return written(folder, model([node("Concat", ["x", "x"], ["y"], axis=1 << 62)], ["y"], [port("x", [2, 3])]))
