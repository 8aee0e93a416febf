"""After each phase the sample still computes what onnxruntime computes: the IR by its numpy meaning, the program by
its records, and the program without the schedule's optional passes as well."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from xdsl.dialects.builtin import ModuleOp

from crossbank.compiler.driver import Compilation, compile_to_module, finish
from crossbank.compiler.phases import PHASES, passes_of
from crossbank.dialects.imc import WeightOp
from crossbank.dialects.llm import CacheOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.place.mappings import mapping_of, placement_of
from crossbank.passes.schedule.allocate_buffers import AllocateBuffersPass
from crossbank.passes.schedule.forward_copies import ForwardCopiesPass
from crossbank.passes.schedule.insert_tokens import InsertTokensPass
from crossbank.runtime.compiled import Program
from tests.interpreter_llm import Array, RaisedInterpreter
from tests.zoo import error

MODEL = Path(__file__).parents[1] / "samples" / "tiny_llama" / "tiny_llama.onnx"
VALUE_FORM = ("raise", "assign", "split", "tile", "place")
TOLERANCE = 1e-4
Case = tuple[dict[str, Array], dict[str, Array]]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Feeds and onnxruntime's outputs of a prompt of two sequences and of a step after it."""
    session: Any = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    rng, found, past = np.random.default_rng(5), list[Case](), dict[str, Array]()
    for size in (6, 1):
        before = past["past_key_values.0.key"].shape[2] if past else 0
        feeds = {
            "input_ids": rng.integers(0, 256, (2, size)),
            "attention_mask": np.ones((2, before + size), np.int64),
            "position_ids": np.tile(np.arange(before, before + size), (2, 1)),
        }
        for port in session.get_inputs():
            if port.name.startswith("past"):
                feeds[port.name] = past.get(port.name, np.zeros((2, port.shape[1], 0, port.shape[3]), np.float32))
        expected = dict(zip(names, session.run(None, feeds), strict=True))
        found.append((feeds, expected))
        past = {name.replace("present", "past_key_values"): array for name, array in expected.items()}
    return found


def compiled(phase: str, target: str = "ideal") -> tuple[ModuleOp, Compilation]:
    return compile_to_module(MODEL, target, context=32, max_batch=2, stop_after=phase, quiet=True)


@pytest.mark.parametrize("target", ["ideal", "hermes", "aim"])
def test_value_form_keeps_its_meaning(cases: list[Case], target: str) -> None:
    module, job = compiled("raise", target)
    for phase in VALUE_FORM:
        if phase != "raise":
            job.run_passes(module, phase)
        for feeds, expected in cases[-1:] if phase != "place" else cases:
            found = RaisedInterpreter(module, job.ctx.tensors).run(feeds)
            assert found.keys() == expected.keys()
            assert max(error(found[name], array) for name, array in expected.items()) <= TOLERANCE, phase


def outputs(program: Program, feeds: dict[str, Array], names: list[str]) -> dict[str, Array]:
    return dict(zip(names, program.session(ideal=True).run(names, feeds), strict=True))


@pytest.mark.parametrize("target", ["ideal", "hermes", "aim"])
def test_the_emitted_program_computes_it_too(cases: list[Case], target: str) -> None:
    program = finish(*compiled("schedule", target))
    for feeds, expected in cases:
        found = outputs(program, feeds, list(expected))
        assert max(error(found[name], array) for name, array in expected.items()) <= TOLERANCE


def test_forwarding_copies_changes_no_value(cases: list[Case]) -> None:
    module, job = compiled("lower")
    assert {type(item) for item in passes_of("schedule")} == {
        ForwardCopiesPass,
        AllocateBuffersPass,
        InsertTokensPass,
    }
    for item in (AllocateBuffersPass(), InsertTokensPass()):
        item.apply(job.ctx, module)
    copied, forwarded = finish(module, job), finish(*compiled("schedule"))
    assert len(list(copied.commands("main"))) >= len(list(forwarded.commands("main")))
    for feeds, expected in cases:
        names = list(expected)
        one, other = outputs(copied, feeds, names), outputs(forwarded, feeds, names)
        assert all((one[name] == other[name]).all() for name in names)


@pytest.mark.parametrize("target", ["hermes", "aim"])
def test_no_two_weights_share_a_unit_and_none_lies_beyond_the_chips(target: str) -> None:
    module, job = compiled("place", target)
    taken: dict[str, set[int]] = {}
    for op in module.ops:
        placement = placement_of(op, job.ctx) if isinstance(op, WeightOp | CacheOp) else None
        if placement is None:
            continue
        tiling, units = placement.tiling, taken.setdefault(str(mapping_of(op)["engine"]), set())
        if isinstance(op, WeightOp):
            rows, columns = (count * size for count, size in zip(tiling.grid, tiling.tile, strict=True))
            assert rows * columns >= math.prod(dim.constant for dim in shape_of(op.type))
            assert len(placement.first_unit) == len(op.tensors)
        for first in placement.first_unit.tolist():
            mine = set(range(first, first + tiling.units))
            assert not units & mine
            units |= mine
            assert max(mine) < job.ctx.notes["groups"] * tiling.units_per_group
            if tiling.within_group:
                assert first // tiling.units_per_group == max(mine) // tiling.units_per_group
    assert taken


def test_phases_are_those_of_the_design() -> None:
    assert PHASES == ("import", "raise", "assign", "split", "tile", "place", "lower", "schedule", "emit")
