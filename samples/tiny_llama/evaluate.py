"""Bits per byte of the exported model, with onnxruntime and NumPy alone.

The text is cut into windows of 512 bytes that do not overlap; a shorter rest at the end is dropped. A window is one
prompt: the byte before the window (a newline before the first) and the window's first 511 bytes go in, and all 512
bytes are predicted. The result is the sum of -log2(probability) over all windows, divided by the number of bytes.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

HERE = Path(__file__).parent
WINDOW = 512


def empty_cache(session: onnxruntime.InferenceSession, batch: int) -> dict[str, NDArray[np.float32]]:
    """The cache inputs with no positions in them."""
    inputs = [node for node in session.get_inputs() if node.name.startswith("past_key_values.")]
    return {node.name: np.zeros((batch, node.shape[1], 0, node.shape[3]), np.float32) for node in inputs}


def logits(session: onnxruntime.InferenceSession, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The logits (batch, sequence, vocab) of prompts `input_ids` (batch, sequence)."""
    batch, sequence = input_ids.shape
    inputs = {
        "input_ids": input_ids,
        "attention_mask": np.ones((batch, sequence), np.int64),
        "position_ids": np.tile(np.arange(sequence), (batch, 1)),
        **empty_cache(session, batch),
    }
    (result,) = session.run(["logits"], inputs)
    return np.asarray(result)


def bits_per_byte(session: onnxruntime.InferenceSession, text: bytes, batch: int = 8) -> tuple[float, int]:
    """The bits per byte on `text`, and how many bytes counted."""
    data = np.frombuffer(b"\n" + text, np.uint8).astype(np.int64)
    windows = (len(data) - 1) // WINDOW
    if windows == 0:
        raise ValueError(f"the text has {len(text)} bytes, fewer than one window of {WINDOW}")
    targets = data[1 : 1 + windows * WINDOW].reshape(windows, WINDOW)
    prompts = data[: windows * WINDOW].reshape(windows, WINDOW)
    bits = 0.0
    for start in range(0, windows, batch):
        scores = logits(session, prompts[start : start + batch]).astype(np.float64)
        scores -= scores.max(axis=-1, keepdims=True)
        log_total = np.log2(np.exp(scores).sum(axis=-1))
        chosen = np.take_along_axis(scores, targets[start : start + batch, :, None], axis=-1)[..., 0]
        bits += float((log_total - chosen / np.log(2)).sum())
    return bits / (windows * WINDOW), windows * WINDOW


def main() -> None:
    """Print the bits per byte of a model on a text file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "tiny_llama.onnx")
    parser.add_argument("--text", type=Path, default=HERE / "heldout.txt")
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    result, count = bits_per_byte(session, arguments.text.read_bytes())
    print(f"{result:.4f} bits per byte on {arguments.text.name} ({count} bytes)")


if __name__ == "__main__":
    main()
