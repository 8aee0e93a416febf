"""Models whose names are taken twice or no text, and whose weights lie elsewhere than they say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, numpy_helper

from tests.hostile_models import FLOAT, hostile, integers, model, node, port, written


@hostile
def tensor_twice(folder: Path) -> Path:
    tensors = [integers("w", 1), integers("w", 2)]
    return written(folder, model([node("Neg", ["w"], ["y"])], ["y"], tensors=tensors))


@hostile
def value_twice(folder: Path) -> Path:
    nodes = [node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])]
    return written(folder, model(nodes, ["y"], [port("x", [1])]))


@hostile
def input_twice(folder: Path) -> Path:
    return written(folder, model([node("Neg", ["x"], ["y"])], ["y"], [port("x", [1]), port("x", [2])]))


@hostile
def output_that_is_an_input_and_computed(folder: Path) -> Path:
    return written(folder, model([node("Neg", ["x"], ["x"])], ["x"], [port("x", [1])]))


@hostile
def outputs_twice(folder: Path) -> Path:
    return written(folder, model([node("Neg", ["x"], ["y"])], ["y", "y"], [port("x", [1])]))


@hostile
def nodes_of_one_name(folder: Path) -> Path:
    nodes = [node("Neg", ["x"], ["a"], name="n"), node("Abs", ["a"], ["y"], name="n")]
    return written(folder, model(nodes, ["y"], [port("x", [1])]))


@hostile
def names_that_are_no_text(folder: Path) -> Path:
    path = written(folder, model([node("Neg", ["xxxx"], ["y"])], ["y"], [port("xxxx", ["n"])]))
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"\xff\xfe\xfd\xfc"))
    return path


def external(folder: Path, dims: Sequence[int] = (4,), **entries: str) -> Path:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "data.bin").write_bytes(bytes(16))
    return written(folder, model([node("Add", ["x", "w"], ["y"])], ["y"], [port("x", [4])], [tensor]))


@hostile
def data_past_the_end(folder: Path) -> Path:
    return external(folder, location="data.bin", offset="8", length="16")


@hostile
def data_longer_than_the_file(folder: Path) -> Path:
    return external(folder, (1 << 40,), location="data.bin", length=str(4 << 40))


@hostile
def data_at_a_negative_offset(folder: Path) -> Path:
    return external(folder, location="data.bin", offset="-16")


@hostile
def data_of_another_length(folder: Path) -> Path:
    return external(folder, location="data.bin", length="12")


@hostile
def data_outside_the_folder(folder: Path) -> Path:
    return external(folder, location="../" * 8 + "etc/passwd", length="16")


@hostile
def data_at_an_absolute_path(folder: Path) -> Path:
    return external(folder, location="/dev/zero")


@hostile
def data_behind_a_link(folder: Path) -> Path:
    (folder / "link").symlink_to("/dev/zero")
    return external(folder, location="link")


@hostile
def data_in_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return external(folder, location="pipe")


@hostile
def data_in_a_folder(folder: Path) -> Path:
    return external(folder, location=".")


@hostile
def data_nowhere(folder: Path) -> Path:
    return external(folder)


@hostile
def data_at_a_name_with_a_zero(folder: Path) -> Path:
    return external(folder, location="data\0.bin")


@hostile
def data_at_a_long_name(folder: Path) -> Path:
    return external(folder, location="d" * 100_000)


@hostile
def pipe_as_a_model(folder: Path) -> Path:
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


@hostile
def values_of_another_type(folder: Path) -> Path:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[3], int64_data=[1, 2, 3])
    return written(folder, model([node("Neg", ["w"], ["y"])], ["y"], tensors=[tensor]))


@hostile
def strange_floats_as_shape(folder: Path) -> Path:
    tensor = numpy_helper.from_array(np.array([np.nan, np.inf], np.float32), "s")
    return written(folder, model([node("Reshape", ["x", "s"], ["y"])], ["y"], [port("x", [4])], [tensor]))
