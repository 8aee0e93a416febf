"""Traces: the steps' times are the cost's, slices lie within them, and energies add up."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

import crossbank as package
from crossbank.runtime import trace
from crossbank.runtime.compiled import Program
from crossbank.runtime.program import ProgramError
from tests import zoo
from tests.command_line import crossbank

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"


@pytest.fixture(scope="module", params=["hermes", "aim"])
def program(request: pytest.FixtureRequest) -> Program:
    return package.compile(MODEL, request.param, context=32, max_batch=2, quiet=True)


def test_steps_and_slices_are_those_of_the_cost(program: Program) -> None:
    cost = program.cost(prompt=5, generate=3, batch=2)
    steps = list(trace.generation_slices(program.code, 5, 3, 2))
    assert [name for name, *_ in steps] == ["prefill", "decode", "decode"]
    assert steps[0][2] * 1e-12 == pytest.approx(cost.ttft_s, rel=1e-12)
    assert sum(duration_ps for _, _, duration_ps, _ in steps) * 1e-12 == pytest.approx(cost.time_s, rel=1e-12)
    assert [start_ps for _, start_ps, *_ in steps] == [0, steps[0][2], steps[0][2] + steps[1][2]]
    for _, _, duration_ps, slices in steps:
        assert all(0 <= part.start_ps <= part.end_ps <= duration_ps for part in slices)
        assert max(part.end_ps for part in slices) > 0.9 * duration_ps
    spent_j = sum(part.energy_j for *_, slices in steps for part in slices)
    around = ("static power", "pim: refresh")
    rest_j = sum(cost.breakdown["component"].get(name, {"energy_j": 0.0})["energy_j"] for name in around)
    assert spent_j + rest_j == pytest.approx(cost.energy_j, rel=1e-9)


def test_layers_are_told_apart(program: Program) -> None:
    """Calls of one block for several layers name the nodes of each."""
    (_, _, _, slices), *_ = trace.generation_slices(program.code, 1)
    matrices = {part.node for part in slices if part.name in ("xbar.mvm", "pim.mac_abk")}
    assert {"/m/transformer/h.0/attn/c_attn/Gemm", "/m/transformer/h.1/attn/c_attn/Gemm"} <= matrices


def test_the_file_has_a_track_per_engine_without_overlaps(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program.save("a.cbk")
    done = crossbank("cost", "a.cbk", "--prompt", 4, "--generate", 2, "--trace", "trace.json")
    assert done.code == 0, done.err
    events = json.loads(Path("trace.json").read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    slices = [e for e in events if e["ph"] == "X"]
    worked = {part.engine for *_, parts in trace.generation_slices(program.code, 4, 2) for part in parts}
    assert {name.split(" (")[0] for name in tracks.values()} == {"steps", *worked}
    for track in tracks:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in slices if e["tid"] == track)
        assert own
        assert all(end <= start + 1e-6 for (_, end), (start, _) in pairwise(own))


def test_a_trace_that_is_too_long_is_refused(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MOST_SLICES", 10)
    with pytest.raises(ProgramError, match=r"CB0707.*more than 10 slices"):
        list(trace.generation_slices(program.code, 4))
