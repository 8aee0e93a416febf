"""What every target keeps, in-tree or not: pytest tests/conformance [--target NAME_OR_TOML].

Each test compiles the sample for the target and holds it against onnxruntime, against its own system file, or one way
of asking against another.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import crossbank
from crossbank import Program, ProgramError
from crossbank.backends.system import System
from crossbank.runtime.assembly.assembler import assemble
from crossbank.runtime.assembly.disassembler import disassemble
from crossbank.runtime.cost import generation_cost
from crossbank.runtime.expr import Expr
from tests import zoo
from tests.conformance.conftest import CONTEXT, MAX_BATCH, SAMPLE, feeds, prompt

TOLERANCE = 1e-4
TOKENS = tuple(b"def main(")

# ---------------------------------------------------------------- the system file


def test_every_number_has_a_unit_and_an_origin(system: System) -> None:
    for quantity in system.quantities.values():
        assert quantity.unit, quantity.path
        assert len(quantity.origin) > 5, quantity.path


def test_a_system_says_what_it_is(system: System) -> None:
    assert system.title
    assert system.engines
    assert system.description


# -------------------------------------------------------------------- compilation


def test_the_sample_compiles_and_verifies(program: Program) -> None:
    program.verify()
    assert "main" in program.functions
    assert [command.name for command in program.commands("main")]


def test_the_summary_accounts_for_the_model(program: Program) -> None:
    summary = program.summary()
    assert summary["nodes"] == len(onnx.load(SAMPLE).graph.node)
    assert set(summary["engines"]) >= {"xbar", "pim", "matrix", "simd", "host"}
    assert summary["recognised"]["attention"] == summary["recognised"]["kv_cache"] == 6
    assert not summary["unrecognised"]
    assert summary["instructions"] == sum(len(s) for b in program.code.blocks.values() for s in b.streams.values())
    assert summary["live_ops_max"] <= 5000
    assert set(summary["phases"]) == {
        "import", "raise", "assign", "split", "tile", "place", "lower", "schedule", "emit",
    }  # fmt: skip


def test_every_instruction_knows_its_nodes(program: Program) -> None:
    nodes = {node.name for node in onnx.load(SAMPLE).graph.node}
    for function in program.functions:
        for command in program.commands(function):
            assert command.nodes, command
            assert set(command.nodes) <= nodes, command


def test_every_node_is_in_one_place(program: Program) -> None:
    summary, graph = program.summary(), onnx.load(SAMPLE).graph
    within = [name for others in summary["absorbed"].values() for name in others]
    places = [*summary["executed"], *within, *summary["views"], *summary["folded"]]
    assert sorted(places) == sorted(node.name for node in graph.node)
    assert set(summary["absorbed"]) <= set(summary["executed"])
    named = {node for name in program.functions for command in program.commands(name) for node in command.nodes}
    assert set(summary["executed"]) == named
    kinds = {node.name: node.op_type for node in graph.node}
    assert {kinds[name] for name in summary["views"]} <= {"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand"}


def test_equal_inputs_give_equal_bytes(target: str, program: Program, tmp_path: Path) -> None:
    again = crossbank.compile(SAMPLE, target, context=CONTEXT, max_batch=MAX_BATCH, quiet=True)
    program.save(tmp_path / "one.cbk")
    again.save(tmp_path / "two.cbk")
    assert (tmp_path / "one.cbk").read_bytes() == (tmp_path / "two.cbk").read_bytes()


def test_too_few_chips_are_refused(target: str, large: Path) -> None:
    options = {"context": 4096, "weights": "shape-only", "quiet": True}
    groups = crossbank.compile(large, target, **options).summary()["groups"]
    if groups == 1:
        assert crossbank.compile(large, target, chips=1, **options).summary()["groups"] == 1
        return
    for chips in {1, groups - 1}:
        with pytest.raises(ProgramError) as caught:
            crossbank.compile(large, target, chips=chips, **options)
        text = str(caught.value)
        assert caught.value.code.startswith("CB03")
        assert f"--chips {chips}" in text
        assert "--chips auto" in text
        assert re.search(r"--chips auto\W+\d", text)


# -------------------------------------------------------------- values, and sessions


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 7), (MAX_BATCH, 5), (2, CONTEXT)])
def test_ideal_mode_equals_onnxruntime(
    program: Program, reference: onnxruntime.InferenceSession, batch: int, tokens: int
) -> None:
    given = feeds(prompt(batch, tokens))
    expected = reference.run(None, given)
    for got, wanted in zip(program.session(ideal=True).run(None, given), expected, strict=True):
        assert got.dtype == wanted.dtype
        assert zoo.error(got, wanted) <= TOLERANCE


def test_ideal_mode_goes_on_from_any_past(program: Program, reference: onnxruntime.InferenceSession) -> None:
    session = program.session(ideal=True)
    past = None
    for i, tokens in enumerate((5, 1, 3, CONTEXT - 10, 1)):
        given = feeds(prompt(2, tokens, seed=i), past)
        expected = reference.run(None, given)
        for got, wanted in zip(session.run(None, given), expected, strict=True):
            assert zoo.error(got, wanted) <= TOLERANCE
        past = expected[1:]


def test_ideal_mode_takes_calls_in_any_order(program: Program, reference: onnxruntime.InferenceSession) -> None:
    session = program.session(ideal=True)
    first = feeds(prompt(1, 9))
    past = reference.run(None, first)[1:]
    second = feeds(prompt(1, 2, seed=1), past)
    for given in (second, first, second):
        assert zoo.error(session.run(["logits"], given)[0], reference.run(["logits"], given)[0]) <= TOLERANCE


def test_a_session_has_the_inputs_and_outputs_of_the_file(
    program: Program, reference: onnxruntime.InferenceSession
) -> None:
    session = program.session(ideal=True)
    for ours, theirs in (
        (session.get_inputs(), reference.get_inputs()),
        (session.get_outputs(), reference.get_outputs()),
    ):
        assert [port.name for port in ours] == [port.name for port in theirs]
        assert [port.type for port in ours] == [port.type for port in theirs]
        assert [len(port.shape) for port in ours] == [len(port.shape) for port in theirs]


def test_outputs_come_by_name_in_the_order_asked(program: Program) -> None:
    session = program.session(noise=False)
    given = feeds(prompt(1, 4))
    everything = dict(zip((port.name for port in session.get_outputs()), session.run(None, given), strict=True))
    names = ["present.3.value", "logits", "present.0.key"]
    for name, got in zip(names, session.run(names, dict(reversed(given.items()))), strict=True):
        np.testing.assert_array_equal(got, everything[name])


def test_presents_begin_with_the_past(program: Program) -> None:
    session = program.session(noise=False)
    past = session.run(None, feeds(prompt(2, 6)))[1:]
    after = session.run(None, feeds(prompt(2, 3, seed=1), past))[1:]
    for before, now in zip(past, after, strict=True):
        assert now.shape == (2, 2, 9, 40)
        np.testing.assert_array_equal(now[:, :, :6], before)


def test_generation_equals_steps_of_run(program: Program) -> None:
    session, new = program.session(noise=False), 6
    expected: list[int] = []
    ids, past = np.array([TOKENS]), None
    for _ in range(new):
        logits, *past = session.run(None, feeds(ids, past))
        expected.append(int(logits[0, -1].argmax()))
        ids = np.array([expected[-1:]])
    assert program.session(noise=False).generate(TOKENS, new).tolist() == expected


def test_generation_takes_a_batch(program: Program) -> None:
    session = program.session(noise=False)
    prompts = prompt(2, 5)
    rows = session.generate(prompts, 4)
    assert rows.shape == (2, 4)
    for row, one in zip(rows, prompts, strict=True):
        assert program.session(noise=False).generate(one, 4).tolist() == row.tolist()


def test_a_seed_names_a_device(program: Program) -> None:
    given = feeds(prompt(1, 5))
    one, same = (program.session(seed=3).run(["logits"], given)[0] for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert np.isfinite(one).all()


def test_noise_off_is_the_same_for_all_seeds(program: Program) -> None:
    given = feeds(prompt(1, 5))
    one, other = (program.session(seed=seed, noise=False).run(["logits"], given)[0] for seed in (0, 1))
    np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------- capacity


@pytest.mark.parametrize("tokens", [1, CONTEXT])
def test_the_whole_capacity_works(program: Program, tokens: int) -> None:
    for batch in (1, MAX_BATCH):
        logits, *caches = program.session(noise=False).run(None, feeds(prompt(batch, tokens)))
        assert logits.shape == (batch, tokens, 256)
        assert np.isfinite(logits).all()
        assert caches[0].shape == (batch, 2, tokens, 40)


def test_generation_fills_the_context(program: Program) -> None:
    assert len(program.session(noise=False).generate(prompt(1, CONTEXT - 3)[0], 4)) == 4


def test_beyond_capacity_is_refused(program: Program) -> None:
    session = program.session(noise=False)
    for batch, tokens, numbers in ((1, CONTEXT + 1, (CONTEXT + 1, CONTEXT)), (MAX_BATCH + 1, 1, (MAX_BATCH + 1,))):
        with pytest.raises(ProgramError, match=r"CB060[56]") as caught:
            session.run(None, feeds(prompt(batch, tokens)))
        assert all(str(number) in str(caught.value) for number in numbers)
    with pytest.raises(ProgramError, match="CB0605"):
        session.generate(prompt(1, CONTEXT)[0], 2)
    assert np.isfinite(session.run(["logits"], feeds(prompt(1, 2)))[0]).all()


# -------------------------------------------------------------------------- cost


def test_macs_executed_are_the_models(program: Program) -> None:
    roles = program.code.context_of
    for batch, tokens in ((1, 1), (1, 7), (3, 12)):
        values = {roles["batch"]: batch, roles["sequence"]: tokens, roles["past"]: 0}
        engines = program.summary()["engines"].values()
        expected = sum(int(Expr.of(engine["macs_expression"]).evaluate(values)) for engine in engines)
        assert program.cost(tokens, 1, batch).macs == expected


def test_energy_is_the_sum_of_its_parts(program: Program) -> None:
    cost = program.cost(5, 4, 2)
    for view in ("phase", "engine", "component", "node"):
        assert math.isclose(sum(part["energy_j"] for part in cost.breakdown[view].values()), cost.energy_j), view


def test_time_is_attributed_without_remainder(program: Program) -> None:
    cost = program.cost(5, 4, 2)
    assert math.isclose(cost.time_s, cost.ttft_s + 3 * cost.tpot_s)
    for view in ("phase", "engine", "component", "node"):
        assert math.isclose(sum(part["time_s"] for part in cost.breakdown[view].values()), cost.time_s), view
    for engine, part in cost.breakdown["busy"].items():
        assert math.isclose(part["busy_s"] + part["idle_s"], cost.time_s), engine


@pytest.mark.parametrize(("points", "most"), [(2, 6), pytest.param(10, CONTEXT - 4, marks=pytest.mark.slow)])
def test_the_short_cost_equals_the_event_by_event_cost(program: Program, points: int, most: int) -> None:
    random = np.random.default_rng(5)
    for _ in range(points):
        tokens = int(random.integers(1, most + 1))
        generated = int(random.integers(1, 4))
        batch = int(random.integers(1, MAX_BATCH + 1))
        short = generation_cost(program.code, tokens, generated, batch)
        exact = generation_cost(program.code, tokens, generated, batch, exact=True)
        assert (short.ttft_s, short.tpot_s) == (exact.ttft_s, exact.tpot_s)
        assert math.isclose(short.energy_j, exact.energy_j, rel_tol=1e-9)


def test_more_work_costs_no_less(program: Program) -> None:
    small, long, wide = program.cost(4, 4), program.cost(40, 4), program.cost(4, 4, MAX_BATCH)
    for cost in (long, wide):
        assert cost.ttft_s >= small.ttft_s
        assert cost.energy_j >= small.energy_j
        assert cost.macs > small.macs


# -------------------------------------------------------------- files and assembly


def test_save_and_load_keep_all_bytes(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "one.cbk")
    loaded = crossbank.load(tmp_path / "one.cbk")
    loaded.save(tmp_path / "two.cbk")
    assert (tmp_path / "one.cbk").read_bytes() == (tmp_path / "two.cbk").read_bytes()
    given = feeds(prompt(1, 3))
    sessions = (p.session(noise=False).run(None, given) for p in (loaded, program))
    for got, wanted in zip(*sessions, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert loaded.cost(5, 3).to_dict() == program.cost(5, 3).to_dict()


def test_assembly_keeps_all_bytes(program: Program, tmp_path: Path) -> None:
    text = disassemble(program.code)
    again = assemble(text)
    assert disassemble(again) == text
    program.save(tmp_path / "one.cbk")
    Program(again, program.tensors).save(tmp_path / "two.cbk")
    assert (tmp_path / "one.cbk").read_bytes() == (tmp_path / "two.cbk").read_bytes()
