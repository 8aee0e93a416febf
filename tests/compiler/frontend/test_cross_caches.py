"""Merged decoders behind an encoder, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank
from crossbank.runtime.program import ProgramError

FLOAT = TensorProto.FLOAT
HEADS, FEATURES = 2, 8
WIDTH = HEADS * FEATURES


def value(name: str, *dims: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, dims)


def behind_an_encoder(seed: int = 0) -> onnx.ModelProto:
    """A merged decoder's attention over an encoder's tokens: keys and values computed, or fed and none returned."""
    random, node = np.random.default_rng(seed), helper.make_node
    kept = {name: random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 4 for name in ("wq", "wk", "wv")}
    kept |= {"scale": np.array(FEATURES**-0.5, np.float32), "bias": random.standard_normal(WIDTH).astype(np.float32)}
    kept |= {"heads": np.array([HEADS]), "features": np.array([FEATURES]), "width": np.array([WIDTH])}
    tensors = [numpy_helper.from_array(array, name) for name, array in kept.items()]

    def queries() -> list[onnx.NodeProto]:
        return [
            node("Shape", ["inputs_embeds"], ["lead"], start=0, end=2),
            node("Concat", ["lead", "heads", "features"], ["split"], axis=0),
            node("MatMul", ["inputs_embeds", "wq"], ["q0"]), node("Reshape", ["q0", "split"], ["q1"]),
            node("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]),
        ]  # fmt: skip

    def attention(keys: str, values: str) -> list[onnx.NodeProto]:
        return [
            node("Transpose", [keys], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["s0"]),
            node("Mul", ["s0", "scale"], ["s1"]), node("Add", ["s1", "encoder_bias"], ["s2"]),
            node("Softmax", ["s2"], ["p"], axis=-1), node("MatMul", ["p", values], ["o0"]),
            node("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
            node("Concat", ["lead", "width"], ["join"], axis=0), node("Reshape", ["o1", "join"], ["o"]),
        ]  # fmt: skip

    def computed(name: str, matrix: str) -> list[onnx.NodeProto]:
        return [
            node("Shape", ["encoder_hidden_states"], [f"{name}lead"], start=0, end=2),
            node("Concat", [f"{name}lead", "heads", "features"], [f"{name}split"], axis=0),
            node("MatMul", ["encoder_hidden_states", matrix], [f"{name}0"]),
            node("Add", ["bias", f"{name}0"], [f"{name}1"]),
            node("Reshape", [f"{name}1", f"{name}split"], [f"{name}2"]),
            node("Transpose", [f"{name}2"], [f"present.0.{name}"], perm=[0, 2, 1, 3]),
        ]  # fmt: skip

    names = ["o", "present.0.key", "present.0.value"]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in names]
    none = numpy_helper.from_array(np.zeros((0, HEADS, 1, FEATURES), np.float32))
    empty = [node("Constant", [], [name], value=none) for name in names[1:]]
    cached = helper.make_graph(
        [*queries(), *attention("past_key_values.0.key", "past_key_values.0.value"), *empty], "cached", [], results
    )
    plain = helper.make_graph(
        [*queries(), *computed("key", "wk"), *computed("value", "wv"), *attention(*names[1:])], "plain", [], results
    )
    chosen = node("If", ["use_cache_branch"], names, "if", then_branch=cached, else_branch=plain)
    past = ["batch", HEADS, "encoder_tokens", FEATURES]
    inputs = [
        value("inputs_embeds", "batch", "tokens", WIDTH),
        value("encoder_hidden_states", "batch", "encoder_tokens", WIDTH),
        value("encoder_bias", "batch", 1, 1, "encoder_tokens"),
        value("past_key_values.0.key", *past), value("past_key_values.0.value", *past),
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
    ]  # fmt: skip
    outputs = [value("o", "batch", "tokens", WIDTH), *(value(name, *past) for name in names[1:])]
    graph = helper.make_graph([chosen], "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("target", ["ideal", "aim"])
def test_caches_over_an_encoder(target: str, tmp_path: Path) -> None:
    """Computed in the first step, and fed in the others, which return none: as onnxruntime has it."""
    path, random = tmp_path / "m.onnx", np.random.default_rng(1)
    onnx.save(behind_an_encoder(), path)
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    program = crossbank.compile(path, target, quiet=True)
    session = program.session(ideal=True)
    for batch, encoded in ((1, 5), (2, 3), (2, 1)):
        feeds: dict[str, Any] = {
            "inputs_embeds": random.standard_normal((batch, 4, WIDTH)).astype(np.float32),
            "encoder_hidden_states": random.standard_normal((batch, encoded, WIDTH)).astype(np.float32),
            "encoder_bias": np.where(np.arange(encoded) < encoded - batch + 1, 0, -1e9)
            .astype(np.float32).reshape(1, 1, 1, -1).repeat(batch, 0),
            "use_cache_branch": np.array([False]),
        }  # fmt: skip
        feeds |= {f"past_key_values.0.{k}": np.zeros((batch, HEADS, 0, FEATURES), np.float32) for k in ("key", "value")}
        first = reference.run(None, feeds)
        for got, expected in zip(session.run(None, feeds), first, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        feeds |= {"past_key_values.0.key": first[1], "past_key_values.0.value": first[2]}
        with pytest.raises(ProgramError, match="CB0613"):
            session.run(None, feeds)
        feeds |= {"inputs_embeds": feeds["inputs_embeds"][:, :1], "use_cache_branch": np.array([True])}
        for got, expected in zip(session.run(None, feeds), reference.run(None, feeds), strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    summary = program.summary()
    assert summary["recognised"]["attention"] == 1
    assert not summary["unrecognised"]
    if target == "aim":
        longer, shorter = (program.cost(prompt=8, generate=n).energy_j for n in (3, 2))
        assert longer > shorter > 0
