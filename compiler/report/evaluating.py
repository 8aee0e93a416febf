"""How well a device predicts a text: bits per byte, against onnxruntime, over several devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.report.comparing import onnxruntime_errors, reference_session
from crossbank.runtime.compiled import Program
from crossbank.runtime.program import ProgramError

Tokens = NDArray[np.int64]
WINDOW_TOKENS = 512
MIN_TOKENS = 8
"""How much of the first window tells whether devices differ."""
NORMAL_95 = 1.96
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1 to 29 degrees of freedom (any table of the distribution)."""


def read_text_bytes(path: Path, max_bytes: int | None) -> bytes:
    """The first bytes of a text, all for None; ProgramError CB0815 where there are none."""
    try:
        data = path.read_bytes()[:max_bytes]
    except OSError as error:
        raise ProgramError("CB0815", f"can't read the text: {error.strerror}", str(path), "check the path") from error
    if not data:
        raise ProgramError("CB0815", "the text has 0 bytes, at least 1 is needed", str(path), "give another")
    return data


def text_windows(path: Path, length: int, max_bytes: int | None) -> tuple[Tokens, Tokens]:
    """Prompts and the bytes to predict, both (windows, length): windows don't overlap, a shorter rest is dropped.

    A prompt is the byte before its window (a newline before the first) and all but the last byte of the window.
    """
    data = np.frombuffer(b"\n" + read_text_bytes(path, max_bytes), np.uint8).astype(np.int64)
    length = min(length, len(data) - 1)
    count = (len(data) - 1) // length * length
    return data[:count].reshape(-1, length), data[1 : count + 1].reshape(-1, length)


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
            feeds[name] = np.tile(np.arange(tokens, dtype=np.int64), (batch, 1)).astype(dtype)
        elif len(shape) == 4:
            feeds[name] = np.zeros((batch, shape[1], 0, shape[3]), dtype)
        else:
            raise ProgramError(
                "CB0816", f"no convention says what to feed to input {name!r}", help="use run with --inputs"
            )
    return feeds


def _bits(logits: NDArray[Any], targets: Tokens) -> float:
    """Sum of -log2 p(target) over logits (batch, tokens, vocabulary) and targets (batch, tokens)."""
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    log_sum = np.log(np.exp(wide).sum(-1))
    chosen = np.take_along_axis(wide, targets[:, :, None], -1)[..., 0]
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
    run: Callable[[dict[str, NDArray[Any]]], NDArray[Any]],
    prompts: Tokens,
    targets: Tokens,
    inputs: Mapping[str, tuple[str, tuple[Any, ...]]],
    batch: int,
    moved: Callable[[float], None] = lambda _: None,
) -> float:
    """Mean bits per byte of `targets` after `prompts`, `batch` windows at a time; `moved` hears the share done."""
    bits = 0.0
    for start in range(0, len(prompts), batch):
        logits = run(feeds_for(prompts[start : start + batch], inputs))
        if logits.ndim != 3 or logits.shape[2] <= int(targets.max()):
            raise ProgramError(
                "CB0816", f"{logits.shape[-1]} tokens don't cover byte {targets.max()}", help="use a byte-level model"
            )
        bits += _bits(logits, targets[start : start + batch])
        moved(min(start + batch, len(prompts)) / len(prompts))
    return bits / targets.size


_ORT_TYPES = {
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
}


def evaluate(
    program: Program,
    model: str | Path,
    text: str | Path,
    *,
    seeds: int = 5,
    max_bytes: int | None = None,
    time_s: float = 0.0,
    noise: bool = True,
    ideal: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Bits per byte of a text on the device and in onnxruntime, with perplexity per byte and their difference.

    `seeds` devices are drawn where noise makes them differ, else one. Intervals are 95 % of the mean over devices,
    Student's t; None where a single noisy device was asked for. ProgramError CB0815 the text, CB0816 the model.
    """
    model, text, limits = Path(model), Path(text), program.code.limits
    length = min(WINDOW_TOKENS, int(limits.get("context", WINDOW_TOKENS)))
    prompts, targets = text_windows(text, length, max_bytes)
    batch = min(int(limits.get("max_batch", 1)), 4)
    reference = reference_session(model)
    inputs = {i.name: (_ORT_TYPES.get(i.type, "float32"), tuple(i.shape)) for i in reference.get_inputs()}
    logits = reference.get_outputs()[0].name

    def reporting(what: str, first: float, last: float) -> Callable[[float], None]:
        return lambda share: progress(what, first + share * (last - first)) if progress else None

    def device(seed: int) -> Callable[[dict[str, NDArray[Any]]], NDArray[Any]]:
        session = program.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal)
        return lambda feeds: session.run([logits], feeds)[0]

    with onnxruntime_errors(model):
        expected = bits_per_byte(
            lambda feeds: reference.run([logits], feeds)[0], prompts, targets, inputs, batch,
            reporting("reference", 0.0, 0.1),
        )  # fmt: skip
    sample = feeds_for(prompts[:1, :MIN_TOKENS], inputs)
    differ = noise and not ideal and not np.array_equal(device(0)(sample), device(1)(sample))
    count = max(seeds, 1) if differ else 1
    found = [
        bits_per_byte(
            device(seed), prompts, targets, inputs, batch,
            reporting(f"device {seed}", 0.1 + 0.9 * seed / count, 0.1 + 0.9 * (seed + 1) / count),
        )
        for seed in range(count)
    ]  # fmt: skip
    mean = float(np.mean(found))
    half: float | None = None if differ else 0.0
    if len(found) > 1:
        quantile = T_95[len(found) - 2] if len(found) - 2 < len(T_95) else NORMAL_95
        half = quantile * float(np.std(found, ddof=1)) / len(found) ** 0.5
    return {
        "target": program.code.target,
        "bytes": int(targets.size),
        "reference_bits_per_byte": expected,
        "reference_perplexity": 2**expected,
        "bits_per_byte": mean,
        "perplexity": 2**mean,
        "interval_95": _around(mean, half),
        "difference": mean - expected,
        "difference_interval_95": _around(mean - expected, half),
        "relative_difference": mean / expected - 1,
        "seeds": len(found),
        "each": found,
        "time_s": time_s,
        "noise": noise,
        "ideal": ideal,
    }


def _around(value: float, half: float | None) -> list[float] | None:
    return None if half is None else [value - half, value + half]
