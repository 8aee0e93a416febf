"""Products and embeddings of few bits, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank
from tests.one_node import check, model

N = 24


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def numbers(low: int, high: int, shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("features", [64, 72])
@pytest.mark.parametrize(
    ("bits", "block", "zeros"),
    [(4, 16, "middle"), (4, 16, "packed"), (4, 32, "packed"), (4, 32, "numbers"), (8, 32, "middle"), (8, 32, "packed")],
)
def test_matmul_nbits(bits: int, block: int, features: int, zeros: str, level: int, tmp_path: Path) -> None:
    blocks = -(-features // block)
    zero = {
        "middle": None,
        "packed": numbers(0, 256, (N * -(-blocks * bits // 8),), np.uint8, 3),
        "numbers": normal(N * blocks, seed=4) + 8,
    }[zeros]
    inputs = {
        "x": normal(2, 3, features),
        "weights": numbers(0, 256, (N, blocks, block * bits // 8), np.uint8),
        "scales": np.abs(normal(N * blocks, seed=2)) / 100,
        "zeros": zero, "order": None, "bias": normal(N, seed=5),
    }  # fmt: skip
    static = [name for name in ("weights", "scales", "zeros", "bias") if inputs[name] is not None]
    attributes = {"K": features, "N": N, "bits": bits, "block_size": block, "accuracy_level": level}
    built = model("MatMulNBits", inputs, ["y"], attributes, static=static)
    summary = check(
        built, {name: a for name, a in inputs.items() if a is not None}, tmp_path, 1e-5 if not level else 1e-2
    )
    assert summary["recognised"]["linear"] == 1


@pytest.mark.parametrize("dtype", ["uint8", "int4", "uint4"])
@pytest.mark.parametrize("with_zeros", [False, True])
def test_gather_block_quantized(dtype: str, with_zeros: bool, tmp_path: Path) -> None:
    rows, width, block = 10, 64, 32
    values = numbers(0, 16, (rows, width), np.uint8)
    points = numbers(0, 16, (rows, width // block), np.uint8, 1)
    number = {"uint8": TensorProto.UINT8, "int4": TensorProto.INT4, "uint4": TensorProto.UINT4}[dtype]

    def packed(name: str, array: np.ndarray[Any, Any]) -> onnx.TensorProto:
        raw = (array[:, ::2] | array[:, 1::2] << 4).tobytes()
        dims = [rows, array.shape[1] // 2 if dtype == "uint8" else array.shape[1]]
        return onnx.TensorProto(name=name, data_type=number, dims=dims, raw_data=raw)

    kept = [packed("table", values), numpy_helper.from_array(normal(rows, width // block), "scales")]
    kept += [packed("zeros", points)] if with_zeros else []
    names = ["table", "ids", "scales"] + (["zeros"] if with_zeros else [])
    node = helper.make_node(
        "GatherBlockQuantized", names, ["y"], "node", domain="com.microsoft", block_size=block, quantize_axis=1, bits=4
    )
    ids = np.array([[1, 9, 0], [4, 4, 2]])
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info("ids", TensorProto.INT64, ids.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], kept,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    assert check(built, {"ids": ids}, tmp_path)["recognised"]["embedding"] == 1


def product(nodes: list[onnx.NodeProto], kept: dict[str, Any], opset: int = 21) -> onnx.ModelProto:
    """A model with input x [2, 3, 16] and output y."""
    graph = helper.make_graph(
        nodes, "product", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dynamic_quantisation(dtype: Any, per_column: bool, tmp_path: Path) -> None:
    shape = (N,) if per_column else ()
    kept = {
        "w": numbers(-60 if dtype == np.int8 else 0, 60, (16, N), dtype),
        "w_scale": np.abs(normal(*shape, seed=1)) / 100,
        "w_zero": numbers(0, 9, shape, dtype, 2), "bias": normal(N, seed=3),
    }  # fmt: skip
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "q"),
        helper.make_node("MatMulInteger", ["q", "w", "z", "w_zero"], ["i"], "i"),
        helper.make_node("Cast", ["i"], ["f"], "f", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "w_scale"], ["scale"], "scale"),
        helper.make_node("Mul", ["f", "scale"], ["p"], "p"),
        helper.make_node("Add", ["p", "bias"], ["y"], "y"),
    ]
    summary = check(product(nodes, kept), {"x": normal(2, 3, 16)}, tmp_path, 1e-4)
    assert summary["recognised"]["linear"] == 1


@pytest.mark.parametrize("form", ["tensor", "columns", "rows", "blocks", "transposed"])
def test_dequantised_weights(form: str, tmp_path: Path) -> None:
    transposed = form == "transposed"
    shape = (N, 16) if transposed else (16, N)
    scale = {"tensor": (), "columns": (N,), "rows": (16,), "blocks": (4, N), "transposed": (N,)}[form]
    attributes = {"tensor": {}, "columns": {"axis": 1}, "rows": {"axis": 0}, "blocks": {"axis": 0, "block_size": 4}}
    kept = {
        "w": numbers(-100, 100, shape, np.int8), "s": np.abs(normal(*scale)) / 100,
        "z": numbers(-5, 5, scale, np.int8, 1),
    }  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], "d", **attributes.get(form, {"axis": 0}))]
    nodes += [helper.make_node("Transpose", ["d"], ["t"], "t", perm=[1, 0])] if transposed else []
    nodes += [helper.make_node("MatMul", ["x", "t" if transposed else "d"], ["y"], "y")]
    summary = check(product(nodes, kept), {"x": normal(2, 3, 16)}, tmp_path)
    assert summary["recognised"]["linear"] == 1
    assert summary["engines"]["matrix"]["weight_bytes"] < 16 * N * 4


@pytest.mark.parametrize("kind", [0, 1], ids=["fp4", "nf4"])
@pytest.mark.parametrize("target", ["ideal", "aim"])
def test_codes_of_a_table_run_on_the_host(kind: int, target: str, tmp_path: Path) -> None:
    features, block = 64, 32
    inputs = {
        "x": normal(2, 3, features),
        "weights": numbers(0, 256, (N * features // 2,), np.uint8),
        "scales": np.abs(normal(N * features // block, seed=2)),
    }
    attributes = {"K": features, "N": N, "block_size": block, "quant_type": kind}
    built = model("MatMulBnb4", inputs, ["y"], attributes, static=["weights", "scales"])
    path = tmp_path / "one.onnx"
    onnx.save(built, path)
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    program = crossbank.compile(path, target, quiet=True)
    (found,) = program.session(ideal=True).run(None, {"x": inputs["x"]})
    np.testing.assert_allclose(found, reference.run(None, {"x": inputs["x"]})[0], rtol=1e-6)
    summary = program.summary()
    assert [(entry["node"], entry["op"]) for entry in summary["host"]] == [("node", "onnx.Custom")]
    assert summary["engines"]["host"]["macs"] == 2 * 3 * features * N
