"""Fused operators in all their options, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.one_node import check, model

HEADS, GROUPS, SIZE = 4, 2, 16


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


# -------------------------------------------------------- GroupQueryAttention

ROTARY = {"do_rotary": 1}
QUERIES: dict[str, dict[str, Any]] = {
    "prompt": {"new": 5, "past": 0, "lengths": [5, 5], **ROTARY},
    "padded prompt": {"new": 5, "past": 0, "lengths": [3, 5], **ROTARY},
    "step of sequences that differ": {"new": 1, "past": 5, "lengths": [4, 6], **ROTARY},
    "chunk": {"new": 3, "past": 4, "lengths": [7], **ROTARY},
    "shorter chunk": {"new": 3, "past": 4, "lengths": [5], **ROTARY},
    "interleaved": {"new": 3, "past": 4, "lengths": [7], "rotary_interleaved": 1, **ROTARY},
    "separate": {"new": 3, "past": 4, "lengths": [7], "packed": False, **ROTARY},
    "partial rotary": {"new": 3, "past": 4, "lengths": [7], "size": 32, **ROTARY},
    "given positions": {"new": 3, "past": 4, "lengths": [7], "positions": True, **ROTARY},
    "no rotary": {"new": 3, "past": 4, "lengths": [7]},
    "window": {"new": 3, "past": 4, "lengths": [7], "local_window_size": 2, **ROTARY},
    "window of a padded prompt": {"new": 5, "past": 0, "lengths": [3, 5], "local_window_size": 2, **ROTARY},
    "softcap": {"new": 3, "past": 4, "lengths": [7], "softcap": 2.0},
    "softcap of a padded prompt": {"new": 5, "past": 0, "lengths": [3, 5], "softcap": 2.0},
    "softcap in a window of a padded prompt": {
        "new": 5,
        "past": 0,
        "lengths": [3, 5],
        "softcap": 2.0,
        "local_window_size": 2,
    },
    "smooth": {"new": 3, "past": 4, "lengths": [7], "smooth_softmax": 1},
    "sink": {"new": 1, "past": 6, "lengths": [5, 7], "sink": True, "softcap": 2.0},
    "bias": {"new": 5, "past": 0, "lengths": [5, 3], "bias": True},
    "scale": {"new": 3, "past": 4, "lengths": [7], "scale": 0.5},
    "room": {"new": 1, "past": 4, "lengths": [5, 3], "room": 12, **ROTARY},
    "prompt in a room": {"new": 5, "past": 0, "lengths": [5, 3], "room": 12, **ROTARY},
}


@pytest.mark.parametrize("case", QUERIES.values(), ids=QUERIES)
def test_group_query_attention(case: dict[str, Any], tmp_path: Path) -> None:
    given = dict(case)
    new, past, lengths, size = given.pop("new"), given.pop("past"), given.pop("lengths"), given.pop("size", SIZE)
    room, batch = given.pop("room", 0), len(lengths)
    total = max(lengths) if room else past + new
    packed = given.pop("packed", True)
    angles = normal(64, 8, seed=9)
    inputs = {
        "query": normal(batch, new, (HEADS + 2 * GROUPS if packed else HEADS) * size),
        "key": None if packed else normal(batch, new, GROUPS * size, seed=1),
        "value": None if packed else normal(batch, new, GROUPS * size, seed=2),
        "past_key": normal(batch, GROUPS, room or past, size, seed=3),
        "past_value": normal(batch, GROUPS, room or past, size, seed=4),
        "seqlens_k": np.array(lengths, np.int32) - 1,
        "total": np.array(total, np.int32),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
        "positions": np.arange(batch * new).reshape(batch, new)[:, ::-1].copy() if given.pop("positions", 0) else None,
        "bias": normal(1, HEADS, new, total, seed=5) if given.pop("bias", False) else None,
        "sink": normal(HEADS, seed=6) if given.pop("sink", False) else None,
    }
    rows = room if room else "past"
    dims = {"past_key": [batch, GROUPS, rows, size], "past_value": [batch, GROUPS, rows, size]}
    attributes = {"num_heads": HEADS, "kv_num_heads": GROUPS, **given}
    static = () if room else ("total",)
    built = model(
        "GroupQueryAttention", inputs, ["y", "present_key", "present_value"], attributes, static=static,
        dims={} if room else dims,
    )  # fmt: skip
    feeds = {name: array for name, array in inputs.items() if array is not None}
    check(built, feeds, tmp_path)


# --------------------------------------------------------- MultiHeadAttention

B, S, H, D = 2, 3, 4, 8
MULTI: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "causal": ({}, {"unidirectional": 1}),
    "scaled": ({}, {"scale": 0.7}),
    "flags": ({"padding": np.array([[1, 1, 0], [0, 1, 1]], np.int32)}, {"unidirectional": 1}),
    "lengths": ({"padding": np.array([2, 1], np.int32)}, {"mask_filter_value": -100.0}),
    "bias": ({"bias": normal(3 * H * D, seed=5)}, {}),
    "past": (
        {
            "bias": normal(3 * H * D, seed=5), "addend": normal(1, H, S, S + 2, seed=6),
            "past_key": normal(B, H, 2, D, seed=7), "past_value": normal(B, H, 2, D, seed=8),
        },
        {},
    ),
    "causal past": ({"past_key": normal(B, H, 2, D), "past_value": normal(B, H, 2, D, seed=8)}, {"unidirectional": 1}),
    "by heads": ({"key": normal(B, H, 5, D), "value": normal(B, H, 5, D, seed=3)}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("more", "attributes"), MULTI.values(), ids=MULTI)
def test_multi_head_attention(more: dict[str, Any], attributes: dict[str, Any], tmp_path: Path) -> None:
    inputs: dict[str, Any] = {
        "query": normal(B, S, H * D), "key": normal(B, S, H * D, seed=1), "value": normal(B, S, H * D, seed=2),
        "bias": None, "padding": None, "addend": None, "past_key": None, "past_value": None, **more,
    }  # fmt: skip
    outputs = ["y", "present_key", "present_value"] if "past_key" in more else ["y"]
    built = model("MultiHeadAttention", inputs, outputs, {"num_heads": H, **attributes})
    check(built, {name: array for name, array in inputs.items() if array is not None}, tmp_path)


PACKED: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "plain": ({}, {}, D),
    "lengths": ({"padding": np.array([2, 1], np.int32)}, {}, D),
    "flags": ({"padding": np.array([[1, 1, 0], [0, 1, 1]], np.int32)}, {}, D),
    "rows": ({"padding": np.tri(S, dtype=np.int32)[None].repeat(B, 0)}, {}, D),
    "past": ({"past": normal(2, B, H, 2, D)}, {"unidirectional": 1}, D),
    "addend": ({"addend": normal(1, H, S, S)}, {"scale": 0.3}, D),
    "sizes": ({}, {"qkv_hidden_sizes": [H * D, H * D, H * 6]}, 6),
}


@pytest.mark.parametrize(("more", "attributes", "width"), PACKED.values(), ids=PACKED)
def test_attention_with_projections(
    more: dict[str, Any], attributes: dict[str, Any], width: int, tmp_path: Path
) -> None:
    features = 2 * H * D + H * width
    inputs: dict[str, Any] = {
        "x": normal(B, S, 10), "weights": normal(10, features, seed=1), "bias": normal(features, seed=2),
        "padding": None, "past": None, "addend": None, **more,
    }  # fmt: skip
    outputs = ["y", "present"] if "past" in more else ["y"]
    built = model("Attention", inputs, outputs, {"num_heads": H, **attributes}, static=("weights", "bias"))
    summary = check(built, {name: array for name, array in inputs.items() if array is not None}, tmp_path)
    assert (summary["recognised"]["linear"], summary["recognised"]["attention"]) == (1, 1)


# ------------------------------------------------------------ rotary and norms


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [np.array([3]), np.array([[0, 5, 2], [7, 1, 1]])], ids=["offset", "given"])
@pytest.mark.parametrize("flat", [False, True])
def test_rotary_of_onnxruntime(interleaved: int, positions: Any, flat: bool, tmp_path: Path) -> None:
    x = normal(B, S, H * D) if flat else normal(B, H, S, D)
    inputs = {"x": x, "positions": positions, "cos": normal(16, D // 2), "sin": normal(16, D // 2, seed=1)}
    built = model("RotaryEmbedding", inputs, ["y"], {"interleaved": interleaved, "num_heads": H if flat else 0})
    assert check(built, inputs, tmp_path)["recognised"]["rotary"] == 1


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("rotated", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
def test_rotary_of_onnx(interleaved: int, by_position: bool, rotated: int, flat: bool, tmp_path: Path) -> None:
    half = (rotated or D) // 2
    shape = (16, half) if by_position else (B, S, half)
    inputs = {
        "x": normal(B, S, H * D) if flat else normal(B, H, S, D),
        "cos": normal(*shape), "sin": normal(*shape, seed=1),
        "positions": np.array([[0, 5, 2], [7, 1, 1]]) if by_position else None,
    }  # fmt: skip
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": rotated} | ({"num_heads": H} if flat else {})
    built = model("RotaryEmbedding", inputs, ["y"], attributes, domain="", opset=23)
    feeds = {name: array for name, array in inputs.items() if array is not None}
    assert check(built, feeds, tmp_path)["recognised"]["rotary"] == 1


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("simplified", [False, True])
def test_skip_norm(simplified: bool, biased: bool, tmp_path: Path) -> None:
    inputs = {"x": normal(B, S, 8), "skip": normal(B, S, 8, seed=1), "gamma": normal(8, seed=2)}
    inputs |= {} if simplified else {"beta": normal(8, seed=3)}
    inputs |= {"bias": normal(8, seed=4)} if biased else {}
    name = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    summary = check(model(name, inputs, ["y", "", "", "sum"], {"epsilon": 1e-5}), inputs, tmp_path)
    assert summary["recognised"]["rms_norm" if simplified else "layer_norm"] == 1


@pytest.mark.parametrize("segments", [False, True])
def test_embed_norm(segments: bool, tmp_path: Path) -> None:
    ids = np.array([[1, 4, 2], [0, 3, 3]], np.int32)
    inputs: dict[str, Any] = {
        "ids": ids, "segments": ids % 2 if segments else None, "words": normal(5, 8), "places": normal(4, 8, seed=1),
        "kinds": normal(2, 8, seed=2) if segments else None, "gamma": normal(8, seed=3), "beta": normal(8, seed=4),
        "mask": np.array([[1, 1, 0], [1, 1, 1]], np.int32),
    }  # fmt: skip
    static = [name for name in ("words", "places", "kinds", "gamma", "beta") if inputs[name] is not None]
    built = model("EmbedLayerNormalization", inputs, ["y", ""], {"epsilon": 1e-6}, static=static)
    built.graph.node[0].output[:] = ["y", "count"]
    feeds = {name: array for name, array in inputs.items() if array is not None}
    assert check(built, feeds, tmp_path)["recognised"]["embedding"] == 2 + segments


@pytest.mark.parametrize("name", ["BiasGelu", "FastGelu", "Gelu", "QuickGelu"])
def test_activations(name: str, tmp_path: Path) -> None:
    inputs = {"x": normal(2, 3, 8)} | ({"bias": normal(8, seed=1)} if name in ("BiasGelu", "FastGelu") else {})
    assert check(model(name, inputs, ["y"], {}), inputs, tmp_path)["recognised"]["activation"] == 1


def test_silu_as_a_quick_gelu(tmp_path: Path) -> None:
    """onnxruntime's extended optimisations write SiLU so."""
    inputs = {"x": normal(2, 3, 8)}
    assert check(model("QuickGelu", inputs, ["y"], {"alpha": 1.0}), inputs, tmp_path)["recognised"]["activation"] == 1


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.2})],
)
def test_fused_gemm(activation: str, parameters: dict[str, float], tmp_path: Path) -> None:
    """As onnxruntime's extended optimisations write a linear of an MLP, and in all options of Gemm."""
    inputs = {"a": normal(3, 64), "b": normal(32, 64, seed=1), "c": normal(32, seed=2)}
    given = {"activation": activation, "transB": 1, "alpha": 1.0, "beta": 1.0, **parameters}
    built = model("FusedGemm", inputs, ["y"], given, static=["b", "c"])
    assert check(built, inputs, tmp_path)["recognised"]["linear"] == 1
    inputs = {"a": normal(4, 3), "b": normal(4, 5, seed=1), "c": normal(3, 1, seed=2)}
    given = {"activation": activation, "transA": 1, "alpha": 0.5, "beta": 2.0, **parameters}
    check(model("FusedGemm", inputs, ["y"], given, static=["b", "c"]), inputs, tmp_path)


@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(transposed: tuple[int, int], tmp_path: Path) -> None:
    a, b = transposed
    inputs = {"a": normal(2, *((4, 3) if a else (3, 4))), "b": normal(2, *((5, 4) if b else (4, 5)), seed=1)}
    check(model("FusedMatMul", inputs, ["y"], {"transA": a, "transB": b, "alpha": 0.5}), inputs, tmp_path)


@pytest.mark.parametrize(
    ("kind", "low"),
    [
        (np.float16, -65504.0),
        (np.float32, -1e30),
        (np.float32, float(np.finfo(np.float32).min)),
        (np.float32, -np.inf),
    ],
)
def test_attention_with_nothing_to_see(kind: Any, low: float, tmp_path: Path) -> None:
    """Scores that a number hides are all alike; what the least number hides is not seen at all."""
    mask = np.zeros((2, 1, 3, 4), kind)
    mask[0, :, 0], mask[0, :, 1, :3], mask[1, ..., 2:] = low, low, low
    tokens = zip("qkv", (3, 4, 4), strict=True)
    inputs = {name: (normal(2, 2, n, 8, seed=i) * 2).astype(kind) for i, (name, n) in enumerate(tokens)}
    inputs["mask"] = mask
    tolerance = 2e-3 if kind == np.float16 else 1e-5
    check(model("Attention", inputs, ["y"], {}, domain="", opset=23), inputs, tmp_path, tolerance)
