"""The GPT-2 export: shapes, and the same logits step by step as in one prompt."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

LAYERS, HEADS, HIDDEN, VOCAB = 2, 4, 64, 300


@pytest.mark.slow
def test_step_by_step_equals_one_prompt(tmp_path: Path) -> None:
    from samples.export.gpt2_small import Gpt2, Gpt2Config, export_onnx

    torch.manual_seed(0)
    config = Gpt2Config(vocab=VOCAB, positions=32, hidden=HIDDEN, layers=LAYERS, heads=HEADS)
    export_onnx(Gpt2(config), config, tmp_path / "gpt2.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "gpt2.onnx", providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()][3:]
    assert names == [f"past_key_values.{index}.{kind}" for index in range(LAYERS) for kind in ("key", "value")]

    ids = np.random.default_rng(0).integers(0, VOCAB, (3, 12))
    cache = [np.zeros((3, HEADS, 0, HIDDEN // HEADS), np.float32)] * len(names)
    whole = session.run(["logits"], feeds(ids, 0, dict(zip(names, cache, strict=True))))[0]
    assert whole.shape == (3, 12, VOCAB)
    for start, stop in ((0, 7), (7, 8), (8, 9), (9, 12)):
        part, *cache = session.run(None, feeds(ids[:, start:stop], start, dict(zip(names, cache, strict=True))))
        np.testing.assert_allclose(part, whole[:, start:stop], atol=1e-4)


def feeds(ids: np.ndarray, past: int, cache: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs for `ids` (batch, sequence) after `past` positions."""
    batch, sequence = ids.shape
    return {
        "input_ids": ids,
        "attention_mask": np.ones((batch, past + sequence), np.int64),
        "position_ids": np.tile(np.arange(past, past + sequence), (batch, 1)),
        **cache,
    }
