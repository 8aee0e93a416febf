"""How well a device predicts a text: bits per byte, against onnxruntime, over several devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.report.comparing import reference_session
from crossbank.runtime.compiled import Program
from crossbank.runtime.program import ProgramError

WINDOW_TOKENS = 512
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95 % quantiles of Student's t for 1 to 9 degrees of freedom (any table of the distribution)."""


def text_windows(path: Path, length: int, max_bytes: int) -> NDArray[np.int64]:
    """Non-overlapping windows (windows, length) of a text's bytes as token ids."""
    try:
        data = path.read_bytes()[:max_bytes]
    except OSError as error:
        raise ProgramError("CB0815", f"can't read text {path}: {error.strerror}") from error
    length = min(length, len(data))
    if length < 2:
        raise ProgramError("CB0815", f"{path} has {len(data)} bytes, at least 2 are needed")
    count = len(data) // length
    return np.frombuffer(data[: count * length], np.uint8).astype(np.int64).reshape(count, length)


def feeds_for(ids: NDArray[np.int64], inputs: Mapping[str, tuple[str, tuple[Any, ...]]]) -> dict[str, NDArray[Any]]:
    """Feeds of one prefill of ids (batch, tokens) for a decoder's inputs: name -> (dtype, shape with None for open)."""
    batch, tokens = ids.shape
    feeds: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in inputs.items():
        if name == "input_ids":
            feeds[name] = ids.astype(dtype)
        elif name == "attention_mask":
            feeds[name] = np.ones((batch, tokens), dtype)
        elif name == "position_ids":
            feeds[name] = np.broadcast_to(np.arange(tokens), (batch, tokens)).astype(dtype)
        elif len(shape) == 4:
            feeds[name] = np.zeros((batch, shape[1], 0, shape[3]), dtype)
        else:
            raise ProgramError(
                "CB0816", f"no convention says what to feed to input {name!r}", help="use run with --inputs"
            )
    return feeds


def _bits(logits: NDArray[Any], ids: NDArray[np.int64]) -> float:
    """Sum of -log2 p(next token) over (batch, tokens - 1) predictions of logits (batch, tokens, vocabulary)."""
    wide = logits[:, :-1].astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    log_sum = np.log(np.exp(wide).sum(-1))
    chosen = np.take_along_axis(wide, ids[:, 1:, None], -1)[..., 0]
    return float((log_sum - chosen).sum() / np.log(2))


def greedy_reference(session: Any, prompt: list[int], new_tokens: int) -> list[int]:
    """The tokens that onnxruntime generates greedily, the whole sequence anew for each (no cache to go wrong)."""
    inputs = {i.name: (_ORT_TYPES.get(i.type, "float32"), tuple(i.shape)) for i in session.get_inputs()}
    logits = session.get_outputs()[0].name
    ids = list(prompt)
    for _ in range(new_tokens):
        feeds = feeds_for(np.array([ids], np.int64), inputs)
        ids.append(int(session.run([logits], feeds)[0][0, -1].argmax()))
    return ids[len(prompt) :]


def bits_per_byte(
    run: Callable[[dict[str, NDArray[Any]]], NDArray[Any]], windows: NDArray[np.int64], inputs: Any, batch: int
) -> float:
    """Mean bits per predicted byte of windows (count, length), fed `batch` at a time."""
    bits = 0.0
    for start in range(0, len(windows), batch):
        ids = windows[start : start + batch]
        bits += _bits(run(feeds_for(ids, inputs)), ids)
    return bits / (windows.shape[0] * (windows.shape[1] - 1))


_ORT_TYPES = {
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
}


def evaluate(
    program: Program,
    model: Path,
    text: Path,
    *,
    seeds: int = 5,
    max_bytes: int = 16384,
    time_s: float = 0.0,
    noise: bool = True,
    ideal: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Bits per byte of a text on the device and in onnxruntime; 95 % interval of the mean over `seeds` devices."""
    limits = program.code.limits
    windows = text_windows(text, min(WINDOW_TOKENS, int(limits.get("context", WINDOW_TOKENS))), max_bytes)
    batch = min(int(limits.get("max_batch", 1)), 4)
    reference = reference_session(model)
    inputs = {i.name: (_ORT_TYPES.get(i.type, "float32"), tuple(i.shape)) for i in reference.get_inputs()}
    logits = reference.get_outputs()[0].name
    expected = bits_per_byte(lambda feeds: reference.run([logits], feeds)[0], windows, inputs, batch)
    random = noise and not ideal and any(engine.kind == "xbar" for engine in program.code.engines.values())
    found: list[float] = []
    for seed in range(seeds if random else 1):
        session = program.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal)
        found.append(bits_per_byte(lambda feeds, s=session: s.run([logits], feeds)[0], windows, inputs, batch))
        if progress and random:
            progress(f"device {seed + 1} of {seeds}: {found[-1]:.4f} bits per byte")
    mean = float(np.mean(found))
    interval: list[float] | None = None
    if len(found) > 1:
        half = T_95[min(len(found) - 2, len(T_95) - 1)] * float(np.std(found, ddof=1)) / len(found) ** 0.5
        interval = [mean - half, mean + half]
    return {
        "target": program.code.target,
        "bytes": int(windows.size),
        "reference_bits_per_byte": expected,
        "bits_per_byte": mean,
        "difference": mean - expected,
        "relative_difference": mean / expected - 1,
        "interval_95": interval,
        "seeds": len(found),
        "each": found,
        "perplexity_per_byte": 2**mean,
        "time_s": time_s,
        "noise": noise,
        "ideal": ideal,
    }
