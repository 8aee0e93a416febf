"""Single nodes with named dimensions and computed operands, compiled once, run at several sizes against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

import crossbank
from tests.one_node import MICROSOFT, check, model
from tests.zoo import error

Array = NDArray[Any]
FAR = (1 << 63) - 1
HUGE = 1e30


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def bytes_of(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).integers(0, 256, shape).astype(np.uint8)


def check_all(
    built: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], folder: Path, target: str = "ideal"
) -> None:
    """One program gives what onnxruntime gives for all feeds, and nothing runs on the host."""
    onnx.save(built, folder / "one.onnx")
    program = crossbank.compile(folder / "one.onnx", target, context=64, quiet=True, host=False)
    session = program.session(ideal=True)
    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for given in feeds:
        for got, expected in zip(session.run(None, given), reference.run(None, given), strict=True):
            found, wanted = np.asarray(got), np.asarray(expected)
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            np.testing.assert_array_equal(np.abs(found) > HUGE, np.abs(wanted) > HUGE)
            found, wanted = (np.where(np.abs(x) > HUGE, 0, x) for x in (found, wanted))
            assert error(found, wanted) <= 1e-5


def one(
    op_type: str, x: Array, known: Mapping[str, Array], dims: Sequence[str | int], opset: int, **attributes: Any
) -> onnx.ModelProto:
    """A node of ai.onnx with one fed input and known others."""
    return model(
        op_type, {"x": x, **known}, ["y"], attributes, domain="", opset=opset, static=list(known), dims={"x": dims}
    )


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(-3, FAR, 1), (-3, -1, 1), (1, -2, 1), (-2, 2, 1), (0, -3, 2), (3, FAR, 1), (-4, FAR, 3), (2, 1, 1), (-1, -4, 1)],
)
def test_slices_of_axes_shorter_than_their_bounds(start: int, end: int, step: int, tmp_path: Path) -> None:
    known = {name: np.array([value]) for name, value in (("s", start), ("e", end), ("a", 1), ("p", step))}
    built = one("Slice", normal(2, 4), known, ["b", "n"], 18)
    check_all(built, [{"x": normal(2, size)} for size in (1, 2, 3, 4, 7)], tmp_path)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_padding_of_axes_of_any_length(mode: str, tmp_path: Path) -> None:
    built = one("Pad", normal(2, 4), {"p": np.array([0, 2, 0, 3])}, ["b", "n"], 19, mode=mode)
    check_all(built, [{"x": normal(batch, size)} for batch, size in ((1, 4), (3, 6), (2, 5))], tmp_path)


@pytest.mark.parametrize("shift", [0, 2, -1])
def test_diagonals_of_matrices_of_any_size(shift: int, tmp_path: Path) -> None:
    built = one("EyeLike", normal(2, 3), {}, ["m", "n"], 22, k=shift)
    check_all(built, [{"x": normal(*shape)} for shape in ((1, 1), (2, 5), (5, 2), (4, 4))], tmp_path)


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (13, 1), (13, 0), (13, -1)])
def test_hardmax(opset: int, axis: int, tmp_path: Path) -> None:
    x = np.array([[[1, 3, 3], [0, 2, -1]], [[5, 5, 5], [-2, -1, -3]]], np.float32)
    check_all(one("Hardmax", x, {}, ["a", "b", "c"], opset, axis=axis), [{"x": x}, {"x": x[:1]}], tmp_path)


@pytest.mark.parametrize(("p", "axis"), [(1, 0), (2, 1), (2, -1)])
def test_rows_over_their_norms(p: int, axis: int, tmp_path: Path) -> None:
    x = normal(3, 4)
    x[1], x[:, 2] = 0, 0
    check_all(one("LpNormalization", x, {}, ["m", "n"], 22, p=p, axis=axis), [{"x": x}, {"x": x[:2, :3]}], tmp_path)


@pytest.mark.parametrize("limits", [("", ""), ("low", ""), ("", "high")])
def test_clip_without_a_bound_stays_finite(limits: tuple[str, str], tmp_path: Path) -> None:
    x = np.array([-np.inf, -2, 0, 3, np.inf], np.float32)
    known = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    inputs: dict[str, Any] = {"x": x, **{f"b{i}": known.get(name) for i, name in enumerate(limits)}}
    static = [name for name, value in inputs.items() if name != "x" and value is not None]
    check_all(model("Clip", inputs, ["y"], {}, domain="", opset=13, static=static), [{"x": x}], tmp_path)


@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_the_last_block_may_be_shorter(op_type: str, tmp_path: Path) -> None:
    x = normal(7, 3) * 20 if op_type == "QuantizeLinear" else bytes_of(7, 3)
    known = {"s": np.abs(normal(2, 3, seed=1)) + 0.1, "z": bytes_of(2, 3, seed=2)}
    inputs = {"x": x, **known}
    built = model(op_type, inputs, ["y"], {"axis": 0, "block_size": 4}, domain="", static=["s", "z"])
    built.graph.output[0].ClearField("type")
    check_all(built, [{"x": x}], tmp_path)


def test_error_function_of_integers(tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info("x", onnx.TensorProto.INT32, ["n"])]
    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"])], "g", ports, [onnx.ValueInfoProto(name="y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)]), tmp_path / "one.onnx")
    session = crossbank.compile(tmp_path / "one.onnx", context=64, quiet=True, host=False).session()
    (y,) = session.run(None, {"x": np.array([-9, -1, 0, 1, 9], np.int32)})
    np.testing.assert_array_equal(y, np.array([-1, 0, 0, 0, 1], np.int32))


@pytest.mark.parametrize("skip", [["b", "s", 8], [1, "s", 8], ["s", 8]])
@pytest.mark.parametrize("op_type", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_norms_of_sums_broadcast(op_type: str, skip: list[str | int], tmp_path: Path) -> None:
    def feeds(b: int, s: int) -> dict[str, Array]:
        sizes: dict[str | int, int] = {"b": b, "s": s, 1: 1, 8: 8}
        return {"x": normal(b, s, 8), "skip": normal(*(sizes[dim] for dim in skip), seed=1)}

    inputs = {**feeds(2, 3), "gamma": normal(8, seed=2)}
    built = model(op_type, inputs, ["y"], {}, static=["gamma"], dims={"x": ["b", "s", 8], "skip": skip})
    check_all(built, [feeds(2, 3), feeds(4, 1), feeds(1, 5)], tmp_path)


# ------------------------------------------------- matrices that are computed


@pytest.mark.parametrize(
    ("bits", "zeros"), [(4, "middle"), (4, "packed"), (4, "numbers"), (8, "middle"), (8, "packed")]
)
def test_products_with_computed_blocks(bits: int, zeros: str, tmp_path: Path) -> None:
    outputs, features, block = 6, 48, 32
    inputs: dict[str, Any] = {
        "x": normal(3, features), "w": bytes_of(outputs, 2, block * bits // 8),
        "s": np.abs(normal(outputs, 2, seed=1)) / 50,
        "z": {"middle": None, "packed": bytes_of(outputs, -(-2 * bits // 8), seed=3),
              "numbers": normal(outputs, 2, seed=4) + 8}[zeros],
    }  # fmt: skip
    attributes = {"K": features, "N": outputs, "bits": bits, "block_size": block}
    built = model("MatMulNBits", inputs, ["y"], attributes)
    check(built, {name: value for name, value in inputs.items() if value is not None}, tmp_path, 1e-4)


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("columns", [True, False])
def test_integer_products_to_floats(static: bool, columns: bool, tmp_path: Path) -> None:
    scale, zero = np.array(0.02, np.float32), np.array(120, np.uint8)
    matrix: dict[str, Any] = {
        "b": bytes_of(16, 8, seed=1) // 2,
        "b_scale": np.array(0.2, np.float32),
        "b_zero": np.array(60, np.uint8),
    }
    if columns:
        matrix |= {"b_scale": np.abs(normal(8, seed=2)), "b_zero": bytes_of(8, seed=3) // 2}
    inputs = {
        "a": bytes_of(2, 3, 16), "b": matrix["b"], "a_scale": scale, "b_scale": matrix["b_scale"], "a_zero": zero,
        "b_zero": np.asarray(matrix["b_zero"], np.uint8), "bias": normal(8, seed=4),
    }  # fmt: skip
    kept = ["b", "b_scale", "b_zero", "bias"] if static else []
    summary = check(model("MatMulIntegerToFloat", inputs, ["y"], {}, static=kept), inputs, tmp_path, 1e-4)
    assert summary["recognised"]["linear"] == static


def test_a_bias_of_one_number(tmp_path: Path) -> None:
    inputs = {
        "x": normal(2, 32), "w": bytes_of(1, 1, 16), "s": normal(1, 1, seed=1), "z": None, "g": None,
        "b": normal(1, seed=2),
    }  # fmt: skip
    built = model("MatMulNBits", inputs, ["y"], {"K": 32, "N": 1, "block_size": 32}, static=["w", "s", "b"])
    check(built, {name: value for name, value in inputs.items() if value is not None}, tmp_path, 1e-4)


def test_a_past_of_no_tokens_grows_by_the_prompt(tmp_path: Path) -> None:
    def feeds(b: int, s: int) -> dict[str, Array]:
        return {
            "q": normal(b, s, 16), "k": normal(b, s, 8, seed=1), "v": normal(b, s, 8, seed=2),
            "pk": normal(b, 1, 0, 8), "pv": normal(b, 1, 0, 8), "lengths": np.full(b, s - 1, np.int32),
            "total": np.array(s, np.int32),
        }  # fmt: skip

    dims = {name: ["b", "s", width] for name, width in (("q", 16), ("k", 8), ("v", 8))}
    dims |= {"pk": ["b", 1, 0, 8], "pv": ["b", 1, 0, 8], "lengths": ["b"]}
    attributes = {"num_heads": 2, "kv_num_heads": 1}
    built = model("GroupQueryAttention", feeds(1, 2), ["y", "nk", "nv"], attributes, dims=dims)
    check_all(built, [feeds(1, 3), feeds(2, 5)], tmp_path)


def test_attention_with_computed_weights(tmp_path: Path) -> None:
    inputs = {"x": normal(2, 3, 8), "w": normal(8, 24, seed=1) / 3, "b": normal(24, seed=2)}
    check(model("Attention", inputs, ["y"], {"num_heads": 2}, domain=MICROSOFT), inputs, tmp_path, 1e-5)


@pytest.mark.parametrize("target", ["ideal", "aim", "hermes"])
def test_as_many_queries_as_there_are(target: str, tmp_path: Path) -> None:
    """More queries than new keys, over a cache."""

    def feeds(s: int, t: int, p: int) -> dict[str, Array]:
        new = {name: normal(2, size, 8, seed=i) for i, (name, size) in enumerate((("q", s), ("k", t), ("v", t)))}
        return {**new, **{name: normal(2, 2, p, 4, seed=i) for i, name in enumerate(("pk", "pv"), 3)}}

    dims: dict[str, list[str | int]] = {"q": ["b", "s", 8], "k": ["b", "t", 8], "v": ["b", "t", 8]}
    dims |= {name: ["b", 2, "p", 4] for name in ("pk", "pv")}
    given = feeds(3, 2, 4)
    inputs = {"q": given["q"], "k": given["k"], "v": given["v"], "bias": None, "mask": None, "addend": None}
    inputs |= {"pk": given["pk"], "pv": given["pv"]}
    built = model("MultiHeadAttention", inputs, ["y", "nk", "nv"], {"num_heads": 2}, dims=dims)
    check_all(built, [given, feeds(1, 1, 2), feeds(4, 1, 3)], tmp_path, target)


@pytest.mark.parametrize("tokens", [1, 4])
def test_steps_of_a_fixed_number_of_tokens_fill_the_context(tokens: int, tmp_path: Path) -> None:
    def feeds(past: int) -> dict[str, Array]:
        new = {name: normal(2, 2, tokens, 8, seed=i) for i, name in enumerate("qkv")}
        return {**new, **{name: normal(2, 2, past, 8, seed=i) for i, name in enumerate(("pk", "pv"), 3)}}

    ports = [
        helper.make_tensor_value_info(name, 1, ["b", 2, "past" if name[0] == "p" else tokens, 8])
        for name in ("q", "k", "v", "pk", "pv")
    ]
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    graph = helper.make_graph([node], "g", ports, [onnx.ValueInfoProto(name=name) for name in ("y", "nk", "nv")])
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    check_all(built, [feeds(0), feeds(5), feeds(64 - tokens)], tmp_path)


def test_a_router_has_a_row_for_each_token(tmp_path: Path) -> None:
    def feeds(b: int, s: int) -> dict[str, Array]:
        return {"x": normal(b, s, 8), "router": normal(b * s, 4, seed=1)}

    inputs: dict[str, Any] = {
        **feeds(2, 3), "w1": normal(4, 6, 8, seed=2), "b1": None, "w2": normal(4, 8, 6, seed=3),
    }  # fmt: skip
    dims: dict[str, list[str | int]] = {"x": ["b", "s", 8], "router": ["rows", 4]}
    built = model("MoE", inputs, ["y"], {"k": 2}, static=["w1", "w2"], dims=dims)
    check_all(built, [feeds(2, 3), feeds(1, 1), feeds(3, 9)], tmp_path)


@pytest.mark.parametrize(("rows", "width", "columns"), [(3, 0, 2), (0, 4, 2), (3, 4, 0), (0, 0, 0)])
def test_products_of_no_elements(rows: int, width: int, columns: int, tmp_path: Path) -> None:
    inputs = {"a": normal(rows, width), "b": normal(width, columns)}
    check_all(model("MatMul", inputs, ["y"], {}, domain=""), [inputs], tmp_path)


def test_a_softmax_of_vectors_side_by_side(tmp_path: Path) -> None:
    """Looks like a score appended to others, and is none."""
    nodes = [helper.make_node("Concat", ["x", "x"], ["c"], axis=-1), helper.make_node("Softmax", ["c"], ["y"])]
    ports = [helper.make_tensor_value_info("x", 1, ["n"])]
    graph = helper.make_graph(nodes, "g", ports, [onnx.ValueInfoProto(name="y")])
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    check_all(built, [{"x": normal(8)}, {"x": normal(3)}], tmp_path)


def test_masks_name_past_and_new_tokens_in_their_own_way(tmp_path: Path) -> None:
    def feeds(s: int, p: int) -> dict[str, Array]:
        mask = np.ones((2, p + s), np.int32)
        mask[0, 0] = 0
        return {"x": normal(2, s, 8), "mask": mask, "past": normal(2, 2, 2, p, 4, seed=1)}

    given = feeds(3, 2)
    inputs = {
        "x": given["x"], "w": normal(8, 24, seed=2), "b": normal(24, seed=3), "mask": given["mask"],
        "past": given["past"],
    }  # fmt: skip
    dims: dict[str, list[str | int]] = {"x": ["n", "s", 8], "mask": ["n", "all"], "past": [2, "n", 2, "p", 4]}
    attributes = {"num_heads": 2, "unidirectional": 1}
    built = model("Attention", inputs, ["y", "present"], attributes, static=["w", "b"], dims=dims)
    check_all(built, [given, feeds(1, 4)], tmp_path)


def test_a_past_of_a_fixed_length_is_no_cache_that_grows(tmp_path: Path) -> None:
    def feeds(b: int, s: int) -> dict[str, Array]:
        new = {name: normal(b, 2, s, 8, seed=i) for i, name in enumerate("qkv")}
        return {**new, **{name: normal(b, 2, 2, 8, seed=i) for i, name in enumerate(("pk", "pv"), 3)}}

    ports = [helper.make_tensor_value_info(name, 1, ["b", 2, "s", 8]) for name in "qkv"]
    ports += [helper.make_tensor_value_info(name, 1, ["b", 2, 2, 8]) for name in ("pk", "pv")]
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    graph = helper.make_graph([node], "g", ports, [onnx.ValueInfoProto(name=name) for name in ("y", "nk", "nv")])
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    check_all(built, [feeds(1, 3), feeds(2, 50)], tmp_path)


def test_zero_points_between_two_numbers(tmp_path: Path) -> None:
    """Of a matrix so small that no array is written for it."""
    inputs = {
        "x": normal(2, 64), "w": bytes_of(1, 2, 16), "s": np.abs(normal(1, 2, seed=1)), "z": normal(1, 2, seed=2) + 8,
    }  # fmt: skip
    built = model("MatMulNBits", inputs, ["y"], {"K": 64, "N": 1, "block_size": 32}, static=["w", "s", "z"])
    check_all(built, [{"x": inputs["x"]}], tmp_path, "hermes")


def test_a_batch_is_none_of_the_pasts_lengths(tmp_path: Path) -> None:
    """Caches of a fixed length in a batch of any size, with no ids whose dimensions would say which is which."""

    def feeds(b: int) -> dict[str, Array]:
        shapes = {"q": (b, 2, 3, 8), "k": (b, 2, 3, 8), "v": (b, 2, 3, 8), "pk": (b, 2, 4, 8), "pv": (b, 2, 4, 8)}
        return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}

    inputs: dict[str, Any] = {**feeds(2)}
    names = ["q", "k", "v", "", "pk", "pv"]
    ports = [helper.make_tensor_value_info(name, 1, ["n", *array.shape[1:]]) for name, array in inputs.items()]
    found = [onnx.ValueInfoProto(name=name) for name in ("y", "nk", "nv")]
    graph = helper.make_graph([helper.make_node("Attention", names, ["y", "nk", "nv"])], "g", ports, found)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    check_all(built, [feeds(1), feeds(3)], tmp_path)
