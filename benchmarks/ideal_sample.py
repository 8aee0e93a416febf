"""`ideal` against onnxruntime fp32 on the sample: prompts of 1, 7 and 128 tokens, 16 decode steps, batch 1 and 4."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime

import crossbank
from benchmarks.bars import SAMPLE, Options, Row, within
from benchmarks.feeding import Array, next_past, relative_error, step_feeds

TOLERANCE = 1e-4
STEPS = 16
GREEDY_TOKENS = 64


def run(options: Options) -> Iterator[Row]:
    """A row per prompt and batch, and one for greedy tokens."""
    program = crossbank.compile(SAMPLE, quiet=True)
    reference = onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"])
    inputs, names = reference.get_inputs(), [o.name for o in reference.get_outputs()]
    for batch in (1, 4):
        for prompt in (1, 7, 128):
            rng, session = np.random.default_rng(prompt), program.session()
            worst, past = 0.0, dict[str, Array]()
            for step in range(STEPS + 1):
                feeds = step_feeds(inputs, rng.integers(0, 256, (batch, 1 if step else prompt)), past)
                expected = dict(zip(names, reference.run(names, feeds), strict=True))
                found = session.run(names, feeds)
                worst = max(worst, *(relative_error(f, expected[n]) for n, f in zip(names, found, strict=True)))
                past = next_past(expected)
            yield within(f"all outputs, batch {batch}, prompt {prompt} and {STEPS} steps", worst, TOLERANCE)
    prompt_ids = np.frombuffer(b"def main(", np.uint8).astype(np.int64)
    found_tokens = program.session().generate(prompt_ids, GREEDY_TOKENS).tolist()
    expected_tokens, ids, past = list[int](), prompt_ids[None], dict[str, Array]()
    while len(expected_tokens) < GREEDY_TOKENS:
        outputs = dict(zip(names, reference.run(names, step_feeds(inputs, ids, past)), strict=True))
        expected_tokens.append(int(outputs["logits"][0, -1].argmax()))
        ids, past = np.array([[expected_tokens[-1]]]), next_past(outputs)
    equal = sum(a == b for a, b in zip(found_tokens, expected_tokens, strict=True))
    yield Row("greedy tokens", f"{GREEDY_TOKENS} identical", f"{equal} identical", equal == GREEDY_TOKENS)
