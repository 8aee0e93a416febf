"""Bad files: each gets a diagnostic with its code, where it is, and both numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from crossbank.compiler.frontend.errors import FrontendError
from crossbank.compiler.frontend.load import Weights, load
from tests.compiler.frontend.models import FLOAT, model, node

WEIGHT = np.arange(600, dtype=np.float32).reshape(20, 30)


def linear(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    return model([node("MatMul", ["x", "w"], ["y"])], {"x": (FLOAT, ["n", 20])}, ["y"], {"w": weight})


def external(folder: Path, **entries: str) -> Path:
    """A model whose weight lies in `w.bin`, with these external data entries."""
    proto = linear()
    tensor = proto.graph.initializer[0]
    (folder / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def refused(path: Path, code: str, *texts: str, weights: Weights = "auto") -> FrontendError:
    with pytest.raises(FrontendError) as caught:
        load(path, weights)
    assert caught.value.code == code
    assert caught.value.help
    assert str(path) in caught.value.where
    for text in texts:
        assert text in str(caught.value)
    return caught.value


def test_weights_in_the_file_stay_there(tmp_path: Path):
    graph = load(saved(linear(), tmp_path))
    entry = graph.store.entry("w")
    assert type(entry.data).__name__ == "FileRange"
    np.testing.assert_array_equal(graph.store.load("w"), WEIGHT)


def test_small_tensors_are_in_memory(tmp_path: Path):
    graph = load(saved(linear(np.ones((20, 3), np.float32)), tmp_path))
    np.testing.assert_array_equal(graph.store.load("w"), np.ones((20, 3)))


def test_external_weights_are_mapped(tmp_path: Path):
    graph = load(external(tmp_path, offset="0", length="2400"))
    np.testing.assert_array_equal(graph.store.load("w"), WEIGHT)


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("size", [7, 4001])
def test_four_bit_tensors_are_unpacked_when_loaded(tmp_path: Path, dtype: int, size: int):
    low = -8 if dtype == TensorProto.INT4 else 0
    values = np.random.default_rng(0).integers(low, low + 16, size)
    proto = model([node("DequantizeLinear", ["w", "s"], ["y"])], {}, ["y"], {"s": np.float32(1)}, 21)
    proto.graph.initializer.append(helper.make_tensor("w", dtype, [size], values))
    assert load(saved(proto, tmp_path)).store.load("w").astype(np.int64).tolist() == values.tolist()


def test_missing_file(tmp_path: Path):
    refused(tmp_path / "no.onnx", "CB0101", "no such file")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x00" * 100, b"PK\x03\x04" + b"\0" * 50, b"\x08\x07"])
def test_not_onnx(tmp_path: Path, content: bytes):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    refused(path, "CB0101", "not an ONNX")


def test_folder_instead_of_a_file(tmp_path: Path):
    refused(tmp_path, "CB0101")


@pytest.mark.parametrize("part", [0.2, 0.6, 0.99])
def test_truncated(tmp_path: Path, part: float):
    content = linear().SerializeToString()
    path = tmp_path / "a.onnx"
    size = int(len(content) * part)
    path.write_bytes(content[:size])
    refused(path, "CB0102", f"byte {size}")


def test_every_truncation_is_refused_or_valid(tmp_path: Path):
    content = linear().SerializeToString()
    path = tmp_path / "a.onnx"
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        try:
            graph = load(path)
        except FrontendError as error:
            assert error.code in ("CB0101", "CB0102")
        else:
            assert [n.key for n in graph] == ["MatMul"]
            assert graph.store.load("w").sum() == WEIGHT.sum()


def test_missing_external_data(tmp_path: Path):
    path = external(tmp_path)
    (tmp_path / "w.bin").unlink()
    refused(path, "CB0103", "w.bin", "--weights shape-only")


def test_shape_only_takes_absent_data(tmp_path: Path):
    path = external(tmp_path)
    (tmp_path / "w.bin").unlink()
    entry = load(path, "shape-only").store.entry("w")
    assert entry.data is None
    assert entry.shape == (20, 30)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", "~/../../x"])
@pytest.mark.parametrize("weights", ["auto", "shape-only"])
def test_external_path_that_leaves_the_folder(tmp_path: Path, location: str, weights: Weights):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 2400)
    refused(external(folder, location=location), "CB0104", "leaves the model's folder", weights=weights)


def test_external_symlink_that_leaves_the_folder(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "w.bin").rename(tmp_path / "w.bin")
    (folder / "w.bin").symlink_to(tmp_path / "w.bin")
    refused(path, "CB0104", "w.bin")


def test_symlinked_folder_that_leaves_the_folder(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 2400)
    (folder / "sub").symlink_to(tmp_path)
    refused(external(folder, location="sub/w.bin"), "CB0104")


def test_symlink_inside_the_folder_is_fine(tmp_path: Path):
    path = external(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "real.bin")
    (tmp_path / "w.bin").symlink_to("real.bin")
    np.testing.assert_array_equal(load(path).store.load("w"), WEIGHT)


def test_data_past_the_end(tmp_path: Path):
    refused(external(tmp_path, offset="8"), "CB0105", "2408", "2400")


@pytest.mark.parametrize("offset", ["-4", "1e3", "99999999999999999999", "four"])
def test_offset_that_is_no_number(tmp_path: Path, offset: str):
    refused(external(tmp_path, offset=offset), "CB0105", offset)


def test_length_that_disagrees_with_the_shape(tmp_path: Path):
    refused(external(tmp_path, length="1200"), "CB0106", "1200", "2400", "20x30")


@pytest.mark.parametrize("dims", [[20, 31], [2, 3]])
def test_raw_data_that_disagrees_with_the_shape(tmp_path: Path, dims: list[int]):
    proto = linear()
    proto.graph.initializer[0].dims[:] = dims
    refused(saved(proto, tmp_path), "CB0106", "2400", str(dims[0] * dims[1] * 4))


def test_values_that_disagree_with_the_shape(tmp_path: Path):
    proto = linear()
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[20, 3], float_data=[1.0, 2.0])
    proto.graph.initializer[0].CopyFrom(tensor)
    refused(saved(proto, tmp_path), "CB0106", "(20, 3)")


@pytest.mark.parametrize("dims", [[1 << 40, 1 << 40], [-1, 3], [1 << 62]])
def test_oversized_dimensions(tmp_path: Path, dims: list[int]):
    proto = linear()
    proto.graph.initializer[0].dims[:] = dims
    refused(saved(proto, tmp_path), "CB0110")


def test_oversized_input_dimension(tmp_path: Path):
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1 << 50])}, ["y"])
    refused(saved(proto, tmp_path), "CB0110", str(1 << 50))


def test_two_initializers_of_one_name(tmp_path: Path):
    proto = linear()
    proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
    refused(saved(proto, tmp_path), "CB0107", "'w'")


def test_two_values_of_one_name(tmp_path: Path):
    proto = model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], {"x": (FLOAT, [1])}, ["y"])
    refused(saved(proto, tmp_path), "CB0107", "'y'")


def test_two_inputs_of_one_name(tmp_path: Path):
    proto = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1])}, ["y"])
    proto.graph.input.add().CopyFrom(proto.graph.input[0])
    refused(saved(proto, tmp_path), "CB0107", "'x'")


def test_cycle(tmp_path: Path):
    nodes = [node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"])]
    refused(saved(model(nodes, {"x": (FLOAT, [1])}, ["b"]), tmp_path), "CB0108", "2 nodes", "n_a")


def test_unordered_nodes_are_sorted(tmp_path: Path):
    nodes = [node("Neg", ["a"], ["b"]), node("Relu", ["x"], ["a"])]
    graph = load(saved(model(nodes, {"x": (FLOAT, [1])}, ["b"]), tmp_path))
    assert [n.name for n in graph] == ["n_a", "n_b"]


def test_undefined_input(tmp_path: Path):
    proto = model([node("Add", ["x", "nowhere"], ["y"])], {"x": (FLOAT, [1])}, ["y"])
    refused(saved(proto, tmp_path), "CB0111", "'nowhere'", "n_y")


def test_undefined_output(tmp_path: Path):
    refused(saved(model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1])}, ["z"]), tmp_path), "CB0111", "z")


def test_all_unknown_operators_are_listed(tmp_path: Path):
    nodes = [
        node("Frobnicate", ["x"], ["a"]),
        node("Frobnicate", ["a"], ["b"]),
        node("FusedMagic", ["b"], ["c"], domain="com.microsoft"),
        node("RMSNormalization", ["c", "w"], ["d"]),
        node("Gelu", ["d"], ["y"], domain="com.microsoft"),
    ]
    proto = model(nodes, {"x": (FLOAT, [1])}, ["y"], {"w": np.ones(1, np.float32)}, opset=18)
    error = refused(saved(proto, tmp_path), "CB0109", "4 nodes")
    for text in (
        "Frobnicate (unknown at opset 18): 2 nodes, first n_a",
        "com.microsoft:FusedMagic",
        "RMSNormalization",
    ):
        assert text in str(error)


def test_control_flow_is_refused_by_name(tmp_path: Path):
    branch = helper.make_graph([node("Relu", ["x"], ["z"])], "b", [], [onnx.ValueInfoProto(name="z")])
    nodes = [helper.make_node("If", ["c"], ["y"], name="choose", then_branch=branch, else_branch=branch)]
    proto = model(nodes, {"x": (FLOAT, [1]), "c": (TensorProto.BOOL, [])}, ["y"])
    reason = "If (control flow with subgraphs: both branches read the same inputs, so that c can't be bound)"
    refused(saved(proto, tmp_path), "CB0109", f"{reason}: 1 nodes, first choose")


def test_unused_domains_are_ignored(tmp_path: Path):
    proto = linear()
    proto.opset_import.append(helper.make_opsetid("org.pytorch.aten", 1))
    assert len(load(saved(proto, tmp_path)).nodes) == 1


def test_strings_are_refused(tmp_path: Path):
    proto = linear()
    proto.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"text"]))
    refused(saved(proto, tmp_path), "CB0112", "STRING")


def test_model_functions_are_inlined(tmp_path: Path):
    proto = model([helper.make_node("Twice", ["x"], ["y"], domain="local")], {"x": (FLOAT, ["n"])}, ["y"])
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opset = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opset))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert [n.key for n in load(saved(proto, tmp_path))] == ["Add"]


def test_nodes_without_name_get_one_each(tmp_path: Path):
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["b"], name="r")]
    nodes.append(helper.make_node("Relu", ["b"], ["y"], name="r"))
    graph = load(saved(model(nodes, {"x": (FLOAT, [1])}, ["y"]), tmp_path))
    assert [n.name for n in graph] == ["Relu_0", "r", "r#2"]


def test_constant_nodes_become_tensors(tmp_path: Path):
    nodes = [
        node("Constant", [], ["a"], value=numpy_helper.from_array(np.float32([1, 2]))),
        node("Constant", [], ["b"], value_ints=[3, 4]),
        node("Constant", [], ["c"], value_float=0.5),
        node("Add", ["x", "a"], ["y"]),
    ]
    graph = load(saved(model(nodes, {"x": (FLOAT, [2])}, ["y"]), tmp_path))
    assert graph.store.load("b").tolist() == [3, 4]
    assert graph.store.load("c").shape == ()
    assert graph.folded == ["n_a", "n_b", "n_c"]
