"""The whole length: ONNX files compiled for `ideal` and executed give what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import crossbank
from crossbank.runtime.compiled import Program
from tests import zoo

SAMPLE = Path(__file__).parents[1] / "samples" / "tiny_llama" / "tiny_llama.onnx"
LAYERS, GROUPS, HEAD_DIM, VOCABULARY = 6, 2, 40, 256
USUAL = frozenset({"ts17_kv_llama", "dynamo18_kv_gpt2", "dynamo23_kv_llama", "optimum_kv_gpt2"})
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-3
"""Fused operations round float16 once where onnxruntime rounds after each of several."""


@pytest.fixture(scope="module")
def program() -> Program:
    return crossbank.compile(SAMPLE, context=512, quiet=True)


@pytest.fixture(scope="module")
def reference() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SAMPLE)


def feeds(ids: np.ndarray, past: list[np.ndarray]) -> dict[str, np.ndarray]:
    batch, tokens = ids.shape
    past = past or [np.zeros((batch, GROUPS, 0, HEAD_DIM), np.float32)] * 2 * LAYERS
    before = past[0].shape[2]
    named = {
        f"past_key_values.{i}.{part}": past[2 * i + j] for i in range(LAYERS) for j, part in enumerate(("key", "value"))
    }
    return {
        "input_ids": ids,
        "attention_mask": np.ones((batch, before + tokens), np.int64),
        "position_ids": np.tile(np.arange(before, before + tokens), (batch, 1)),
        **named,
    }


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("prompt", [1, 7, 128])
def test_prompt_and_decode_equal_onnxruntime(
    program: Program, reference: onnxruntime.InferenceSession, batch: int, prompt: int
) -> None:
    rng = np.random.default_rng(prompt)
    session = program.session()
    past: list[np.ndarray] = []
    for step in range(17):
        ids = rng.integers(0, VOCABULARY, (batch, 1 if step else prompt))
        given = feeds(ids, past)
        expected = reference.run(None, given)
        for got, wanted in zip(session.run(None, given), expected, strict=True):
            assert got.dtype == wanted.dtype
            assert zoo.error(got, wanted) <= TOLERANCE
        past = expected[1:]


def test_greedy_tokens_equal_onnxruntime(program: Program, reference: onnxruntime.InferenceSession) -> None:
    prompt = list(b"def main(")
    expected: list[int] = []
    ids, past = np.array([prompt]), []
    for _ in range(64):
        logits, *past = reference.run(None, feeds(ids, past))
        expected.append(int(logits[0, -1].argmax()))
        ids = np.array([[expected[-1]]])
    assert list(program.session().generate(prompt, 64)) == expected


def test_equal_layers_are_one_block(program: Program) -> None:
    calls = [record for record in program.commands("main") if record.name == "core.call"]
    assert calls
    assert program.summary()["instructions"] < 500


@pytest.mark.parametrize(
    "folder",
    zoo.parameters("ts17", "dynamo", "optimum", usual=USUAL, where=lambda name: name.endswith(("llama", "gpt2"))),
)
def test_zoo_models_equal_their_recordings(folder: Path) -> None:
    session = crossbank.compile(folder / "model.onnx", quiet=True).session()
    for case, given, expected in zoo.cases(folder):
        for name, got in zip(expected, session.run(list(expected), given), strict=True):
            assert got.dtype == expected[name].dtype
            tolerance = HALF_TOLERANCE if got.dtype == np.float16 else TOLERANCE
            assert zoo.error(got, expected[name]) <= tolerance, f"{case}: {name}"
