"""The exported tiny Llama: its interface, its cache and how well it predicts, with onnxruntime alone."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from samples.tiny_llama import evaluate

SAMPLE = Path(evaluate.__file__).parent
LAYERS, KV_HEADS, HEAD_DIM, VOCAB = 6, 2, 40, 256
CACHE = [f"{index}.{kind}" for index in range(LAYERS) for kind in ("key", "value")]
Cache = list[NDArray[np.float32]]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SAMPLE / "tiny_llama.onnx", providers=["CPUExecutionProvider"])


def run(
    session: onnxruntime.InferenceSession, ids: NDArray[np.int64], cache: Cache, pad: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], Cache]:
    """Feed `ids` (batch, sequence) after `cache`; the first `pad` (batch,) positions of each row are padding."""
    batch, sequence = ids.shape
    past = cache[0].shape[2]
    pad = np.zeros(batch, np.int64) if pad is None else pad
    positions = np.arange(past, past + sequence)[None] - pad[:, None]
    feeds = {
        "input_ids": ids,
        "attention_mask": (np.arange(past + sequence)[None] >= pad[:, None]).astype(np.int64),
        "position_ids": np.maximum(positions, 0),
        **dict(zip((f"past_key_values.{name}" for name in CACHE), cache, strict=True)),
    }
    logits, *cache = session.run(["logits", *(f"present.{name}" for name in CACHE)], feeds)
    return logits, cache


def empty(batch: int) -> Cache:
    return [np.zeros((batch, KV_HEADS, 0, HEAD_DIM), np.float32)] * len(CACHE)


def prompt(batch: int, sequence: int) -> NDArray[np.int64]:
    text = np.frombuffer((SAMPLE / "heldout.txt").read_bytes(), np.uint8)
    return text[: batch * sequence].reshape(batch, sequence).astype(np.int64)


def test_file_is_small_and_complete() -> None:
    path = SAMPLE / "tiny_llama.onnx"
    assert path.stat().st_size < 10_000_000
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 13
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)


def test_interface(session: onnxruntime.InferenceSession) -> None:
    total = "past_sequence + sequence"
    assert [(node.name, node.type, node.shape) for node in session.get_inputs()] == [
        ("input_ids", "tensor(int64)", ["batch", "sequence"]),
        ("attention_mask", "tensor(int64)", ["batch", total]),
        ("position_ids", "tensor(int64)", ["batch", "sequence"]),
        *(
            (f"past_key_values.{name}", "tensor(float)", ["batch", KV_HEADS, "past_sequence", HEAD_DIM])
            for name in CACHE
        ),
    ]
    assert [(node.name, node.type, node.shape) for node in session.get_outputs()] == [
        ("logits", "tensor(float)", ["batch", "sequence", VOCAB]),
        *((f"present.{name}", "tensor(float)", ["batch", KV_HEADS, total, HEAD_DIM]) for name in CACHE),
    ]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("first", [1, 7])
def test_step_by_step_equals_one_prompt(session: onnxruntime.InferenceSession, batch: int, first: int) -> None:
    ids = prompt(batch, 24)
    whole, whole_cache = run(session, ids, empty(batch))
    assert whole.shape == (batch, 24, VOCAB)
    logits, cache = run(session, ids[:, :first], empty(batch))
    parts = [logits]
    for step in range(first, 24):
        logits, cache = run(session, ids[:, step : step + 1], cache)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-3, rtol=1e-3)
    for ours, theirs in zip(cache, whole_cache, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=1e-3)


def test_left_padding_changes_nothing(session: onnxruntime.InferenceSession) -> None:
    ids = prompt(1, 12)
    alone, _ = run(session, ids, empty(1))
    padded, _ = run(session, np.pad(ids, ((0, 0), (5, 0))), empty(1), pad=np.array([5]))
    np.testing.assert_allclose(padded[:, 5:], alone, atol=1e-3, rtol=1e-3)


def test_bits_per_byte(session: onnxruntime.InferenceSession) -> None:
    result, count = evaluate.bits_per_byte(session, (SAMPLE / "heldout.txt").read_bytes()[:8192])
    assert count == 8192
    assert result < 2.0
