"""What a generation costs is the sum of its steps, whichever way the model keeps its tokens."""

from __future__ import annotations

from typing import Any

import pytest

from crossbank.runtime.cost import generation_cost
from crossbank.runtime.program import Code, Engine, ProgramError
from crossbank.runtime.registry import extra_sets
from tests.runtime.toy import IO, MEMORY, Builder, at, port
from tests.runtime.toy_model import CONTEXT, MODEL, VOCABULARY, program

PS = 1e-12


def fixed(batch: int, tokens: int) -> Code:
    """The toy model with a fed-back cache of 3 tokens, exported for one shape."""
    i64: dict[str, Any] = {"dtype": "int64"}
    ids = [batch, tokens]
    inputs = [port("input_ids", ids, 0, **i64), port("past_key_values.0.key", [batch, 1, 3], 8192, **i64)]
    b = Builder()
    with extra_sets(MODEL):
        score = b.op(
            "model.score",
            dst=at(IO, 4096, [*ids, VOCABULARY]),
            history=at(MEMORY, 0, [batch, 3 + tokens], [CONTEXT, 1], **i64),
            mask=at(MEMORY, 0, [batch, 3 + tokens], [CONTEXT, 1], **i64),
            positions=at(IO, 0, ids, **i64),
        )
    b.block("main", {"e0": [score]})
    present = port("present.0.key", [batch, 1, 3 + tokens], 9216, **i64)
    b.function("main", "main", inputs, [port("logits", [*ids, VOCABULARY], 4096), present])
    return b.code(engines={"e0": Engine("e0", "simd", "model", {})}, limits={"context": CONTEXT})


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("cache", "prefill", "decode"),
    [("device", 2 * 3 * 3, 2 * (4 + 5)), ("fed", 2 * 3 * 3, 2 * (4 + 5)), ("none", 2 * 3 * 3, 2 * (4 * 4 + 5 * 5))],
)
def test_a_generation_costs_its_steps(cache: str, prefill: int, decode: int, exact: bool) -> None:
    """Two sequences of 3 tokens, then 2 steps: with a cache one token each, without one all tokens again."""
    with extra_sets(MODEL):
        cost = generation_cost(program(cache), prompt=3, generate=3, batch=2, exact=exact)
    assert cost.ttft_s == prefill * PS
    assert cost.tpot_s == decode * PS / 2
    assert cost.macs == prefill + decode
    assert cost.energy_j == pytest.approx((prefill + decode) * PS)
    assert cost.breakdown["phase"]["decode"]["time_s"] == decode * PS


@pytest.mark.parametrize("exact", [False, True])
def test_a_model_of_fixed_shape_takes_its_shape_each_step(exact: bool) -> None:
    """Steps of 2 tokens over 5: a prompt of 5 takes 3 of them, each further token one."""
    with extra_sets(MODEL):
        cost = generation_cost(fixed(2, 2), prompt=5, generate=3, exact=exact)
    assert cost.macs == (3 + 2) * 2 * 2 * 5
    assert cost.ttft_s == 3 * 2 * 2 * 5 * PS
    assert cost.tpot_s == 2 * 2 * 5 * PS


def test_more_sequences_than_a_model_fixes_are_refused() -> None:
    with extra_sets(MODEL), pytest.raises(ProgramError, match="batch 3 exceeds the 2 that the model fixes"):
        generation_cost(fixed(2, 2), prompt=5, batch=3)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((0, 1, 1), "CB0704", "prompt 0"),
        ((1.5, 1, 1), "CB0704", "prompt 1.5"),
        ((1, -1, 1), "CB0704", "generate -1"),
        ((1, 1, 0), "CB0704", "batch 0"),
        ((CONTEXT, 2, 1), "CB0705", f"--context {CONTEXT + 1}"),
        ((1, 1, 3), "CB0706", "--max-batch 3"),
    ],
)
def test_sizes_that_no_generation_has_are_refused(arguments: Any, code: str, text: str) -> None:
    with extra_sets(MODEL), pytest.raises(ProgramError) as caught:
        generation_cost(program("device"), *arguments)
    assert caught.value.code == code
    assert text in str(caught.value)
