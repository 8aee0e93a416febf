"""ONNX files compiled for `aim` and run: exact where rounding is off, close where it is on; costed both ways alike."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import crossbank
from crossbank.runtime.compiled import Program
from crossbank.runtime.cost import dimensions_of, generation_cost
from crossbank.runtime.coster import Coster
from crossbank.runtime.expr import Expr
from tests import zoo
from tests.test_end_to_end_ideal import SAMPLE, TOLERANCE, VOCABULARY, feeds
from tests.test_executed_macs import toy

BF16_TOLERANCE = 3e-2
"""Logits and caches of six layers, each value rounded to 8 bits several times."""


@pytest.fixture(scope="module")
def program() -> Program:
    return crossbank.compile(SAMPLE, "aim", context=512, quiet=True)


@pytest.fixture(scope="module")
def reference() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SAMPLE)


@pytest.mark.parametrize("ideal", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("prompt", [1, 7, 40])
def test_prompt_and_decode_equal_onnxruntime(
    program: Program, reference: onnxruntime.InferenceSession, batch: int, prompt: int, ideal: bool
) -> None:
    rng = np.random.default_rng(prompt)
    session, past = program.session(ideal=ideal), list[np.ndarray]()
    for step in range(4):
        ids = rng.integers(0, VOCABULARY, (batch, 1 if step else prompt))
        given = feeds(ids, past)
        expected = reference.run(None, given)
        for got, wanted in zip(session.run(None, given), expected, strict=True):
            assert got.dtype == wanted.dtype
            assert zoo.error(got, wanted) <= (TOLERANCE if ideal else BF16_TOLERANCE)
        past = expected[1:]


@pytest.mark.parametrize("ideal", [True, False])
def test_left_padding_is_masked(program: Program, reference: onnxruntime.InferenceSession, ideal: bool) -> None:
    ids = np.random.default_rng(3).integers(0, VOCABULARY, (3, 12))
    given = feeds(ids, [])
    hidden = np.array([0, 5, 11])
    given["attention_mask"] = (np.arange(12) >= hidden[:, None]).astype(np.int64)
    given["position_ids"] = np.maximum(np.arange(12) - hidden[:, None], 0)
    got, wanted = program.session(ideal=ideal).run(["logits"], given)[0], reference.run(["logits"], given)[0]
    for row, first in enumerate(hidden):
        error = zoo.error(got[row, first:], wanted[row, first:])
        assert error <= (TOLERANCE if ideal else BF16_TOLERANCE)


def test_a_session_begins_anew_with_each_past(program: Program, reference: onnxruntime.InferenceSession) -> None:
    session, rng = program.session(ideal=True), np.random.default_rng(8)
    session.run(None, feeds(rng.integers(0, VOCABULARY, (4, 90)), []))
    given = feeds(rng.integers(0, VOCABULARY, (2, 3)), [])
    for got, wanted in zip(session.run(None, given), reference.run(None, given), strict=True):
        assert zoo.error(got, wanted) <= TOLERANCE


def test_greedy_tokens_equal_onnxruntime_without_rounding(
    program: Program, reference: onnxruntime.InferenceSession
) -> None:
    prompt, expected = list(b"def main("), list[int]()
    ids, past = np.array([prompt]), list[np.ndarray]()
    for _ in range(24):
        logits, *past = reference.run(None, feeds(ids, past))
        expected.append(int(logits[0, -1].argmax()))
        ids = np.array([[expected[-1]]])
    assert list(program.session(ideal=True).generate(prompt, 24)) == expected


def test_bits_per_byte_stay_within_half_a_percent(program: Program, reference: onnxruntime.InferenceSession) -> None:
    text = np.frombuffer((SAMPLE.parent / "heldout.txt").read_bytes(), np.uint8)[: 4 * 128].astype(np.int64)
    given = feeds(text.reshape(4, 128), [])

    def bits(logits: np.ndarray) -> float:
        rows = logits[:, :-1].astype(np.float64)
        rows -= rows.max(-1, keepdims=True)
        taken = np.take_along_axis(rows, given["input_ids"][:, 1:, None], -1)[..., 0]
        return float((np.log(np.exp(rows).sum(-1)) - taken).mean() / np.log(2))

    got, wanted = (bits(run.run(["logits"], given)[0]) for run in (program.session(), reference))
    assert abs(got / wanted - 1) <= 0.005


def test_attention_and_linears_run_in_banks(program: Program) -> None:
    engines = program.summary()["engines"]
    assert engines["pim"]["nodes"] == 6 * 8 + 1 and engines["host"]["nodes"] == 0
    names = {command.name for command in program.commands("main")}
    assert {"pim.wr_gb", "pim.mac_abk", "pim.rd_mac", "pim.wr_sbk", "pim.wr_abk"} <= names


@pytest.mark.parametrize(("prompt", "generate", "batch"), [(1, 1, 1), (7, 3, 1), (5, 2, 2), (20, 2, 1)])
def test_short_cost_equals_event_by_event(program: Program, prompt: int, generate: int, batch: int) -> None:
    short, exact = (generation_cost(program.code, prompt, generate, batch, exact=e) for e in (False, True))
    assert round(short.time_s * 1e12) == round(exact.time_s * 1e12)
    assert short.energy_j == pytest.approx(exact.energy_j, rel=1e-9)
    assert short.counters == pytest.approx(exact.counters)


def small_rows(folder: Path) -> Path:
    """AiM of 2 channels of 4 banks, whose rows have 4 columns: what is short on the real one crosses many rows."""
    text = (Path(crossbank.__file__).parent / "backends" / "targets" / "aim.toml").read_text()
    sizes = {"channels": 2, "banks": 4, "bank_groups": 2, "columns": 4, "row_bytes": 128, "global_buffer_bytes": 128}
    for name, value in sizes.items():
        text, found = re.subn(rf"(?m)^({name} = \{{ value = )[^,]+,", rf"\g<1>{value},", text)
        assert found, name
    path = folder / "small_rows.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("prompt", "generate", "batch"), [(61, 8, 1), (70, 2, 1), (33, 4, 2)])
def test_short_cost_holds_where_steps_cross_rows(tmp_path: Path, prompt: int, generate: int, batch: int) -> None:
    (model := tmp_path / "model.onnx").write_bytes(toy(1, 4, 2, 16, 16, 20, causal=True).SerializeToString())
    code = crossbank.compile(model, small_rows(tmp_path), context=160, max_batch=2, quiet=True).code
    short, exact = (generation_cost(code, prompt, generate, batch, exact=e) for e in (False, True))
    assert (short.ttft_s, short.tpot_s) == pytest.approx((exact.ttft_s, exact.tpot_s), rel=1e-12)
    assert short.energy_j == pytest.approx(exact.energy_j, rel=1e-9)
    assert short.counters == pytest.approx(exact.counters)


def test_macs_are_those_of_the_model(program: Program) -> None:
    dims = dimensions_of(program.code, 2, 5, np.array([9]))
    counted = Coster(program.code).cost("main", dims).counters["macs"][0]
    engines = program.summary()["engines"].values()
    values = {name: int(value[0]) for name, value in dims.items()}
    assert counted == sum(Expr.of(share["macs_expression"]).evaluate(values) for share in engines)


@pytest.mark.parametrize(
    ("model", "context", "past"),
    [
        (zoo.models("dynamo18_kv_llama")[0] / "model.onnx", 1200, [0, 510, 511, 512, 600, 1023, 1024, 1150]),
        (SAMPLE, 5200, [5118, 5119, 5120, 5121]),  # from 5120 on another row, which leaves another mode behind
    ],
)
def test_steps_of_any_context_cost_the_same_together_as_alone(model: Path, context: int, past: list[int]) -> None:
    code = crossbank.compile(model, "aim", context=context, max_batch=2, quiet=True).code
    coster, past = Coster(code), np.array(past)
    together = coster.cost("main", dimensions_of(code, 1, 1, past))
    for i in range(len(past)):
        alone = coster.cost("main", dimensions_of(code, 1, 1, past[i : i + 1]), exact=True)
        assert together.time_ps[i] == alone.time_ps[0]
        energies = [sum(float(e[j]) for e in c.energy_j.values()) for c, j in ((together, i), (alone, 0))]
        assert energies[0] == pytest.approx(energies[1], rel=1e-9)


@pytest.mark.parametrize(
    "folder",
    zoo.parameters("ts17_kv", "dynamo18_kv", "optimum_kv", where=lambda name: "float16" not in name),
)
def test_zoo_models_equal_their_recordings(folder: Path) -> None:
    session = crossbank.compile(folder / "model.onnx", "aim", quiet=True).session(ideal=True)
    for case, given, expected in zoo.cases(folder):
        for name, got in zip(expected, session.run(list(expected), given), strict=True):
            assert zoo.error(got, expected[name]) <= TOLERANCE, f"{case}: {name}"
