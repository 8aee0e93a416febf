"""Invariant 3 of the design: the MACs that a session executes are those of the `llm` module for its inputs.

What the module has is counted here on the arrays that its numpy meaning multiplies, not from expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import Operation

import crossbank
from crossbank.compiler.frontend.convert import import_model
from crossbank.passes.context import CompileContext
from crossbank.passes.raising import PASSES
from crossbank.runtime.compiled import Program
from crossbank.runtime.counters import Counters, Tally
from tests.compiler.frontend import models
from tests.interpreter_llm import Array, RaisedInterpreter
from tests.test_end_to_end_ideal import SAMPLE, feeds

TARGETS = ("ideal", "aim", "hermes")
SIZES = ((1, 1, 0), (1, 7, 0), (3, 5, 0), (1, 1, 20), (2, 3, 9), (1, 17, 0))
"""Batch, new tokens, past tokens."""


class Multiplying(RaisedInterpreter):
    """Counts the products of the arrays that operations multiply, and the scores of attention."""

    macs = scores = 0

    def operation(self, op: Operation, operands: list[Array]) -> list[Array]:
        found = super().operation(op, operands)
        if op.name == "llm.linear" or op.name.startswith(("onnx.MatMul", "onnx.Gemm")):
            self.macs += operands[0].size * found[0].shape[-1]
        elif op.name == "llm.attention":
            keys = operands[1].shape[2]
            if "cache" in op.properties:
                keys = next(iter(self.presents.values())).shape[2]
            batch, heads, rows, width = operands[0].shape
            self.scores += batch * heads * rows * keys
            self.macs += batch * heads * rows * keys * (width + found[0].shape[-1])
        return found


def raised(model: Path) -> Multiplying:
    """The model's `llm` module, to be interpreted."""
    ctx = CompileContext()
    module = import_model(model, ctx)
    for kind in PASSES:
        kind().apply(ctx, module)
    return Multiplying(module, ctx.tensors)


class Executing:
    """Runs a program and tells what each run did."""

    def __init__(self, program: Program) -> None:
        self.counters = Counters(program.code)
        self.session = program.session(listeners=[self.counters])

    def run(self, given: Mapping[str, Array]) -> Tally:
        """What one run does."""
        self.counters.tallies.clear()
        self.session.run(None, given)
        return self.counters.total(["main"])


@pytest.fixture(scope="module")
def module() -> Multiplying:
    return raised(SAMPLE)


@pytest.mark.parametrize("target", TARGETS)
def test_the_samples_macs_are_executed(target: str, module: Multiplying) -> None:
    executing = Executing(crossbank.compile(SAMPLE, target, context=64, max_batch=4, quiet=True))
    for batch, new, before in SIZES:
        rng = np.random.default_rng(new)
        past = [rng.standard_normal((batch, 2, before, 40), np.float32) for _ in range(12)] if before else []
        given = feeds(rng.integers(0, 256, (batch, new)), past)
        module.macs = module.scores = 0
        module.run(given)
        tally = executing.run(given)
        assert (tally.macs, tally.scores) == (module.macs, module.scores), (batch, new, before)
        assert tally.hidden.get("causal", 0) + tally.hidden.get("mask", 0) == 6 * 4 * batch * new * (new - 1) // 2
        assert all(amount >= 0 for amount in tally.padding.values())
        if target == "hermes":
            tiles = tally.others["array_mvms"]
            static = tally.macs - 6 * 4 * batch * new * (before + new) * 80 - batch * 20 * new
            assert tally.padding == {"cells without a weight": tiles * 256 * 256 - static}


def toy(layers: int, heads: int, groups: int, width: int, hidden: int, inner: int, causal: bool) -> onnx.ModelProto:
    """A decoder with a cache per layer and ai.onnx's own Attention, of drawn sizes."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Array] = {"table": rng.standard_normal((11, hidden)).astype(np.float32)}
    nodes = [models.node("Gather", ["table", "ids"], ["x0"])]
    inputs: dict[str, tuple[int, models.Dims]] = {"ids": (models.INT64, ["batch", "seq"])}
    outputs: list[str] = []

    def linear(x: str, y: str, rows: int, columns: int) -> None:
        tensors[f"{y}.w"] = rng.standard_normal((rows, columns)).astype(np.float32)
        nodes.append(models.node("MatMul", [x, f"{y}.w"], [y]))

    for i in range(layers):
        for part, count in (("q", heads), ("k", groups), ("v", groups)):
            linear(f"x{i}", f"{part}{i}", hidden, count * width)
        for part in ("k", "v"):
            inputs[f"past_{part}{i}"] = (models.FLOAT, ["batch", groups, "past", width])
            outputs.append(f"present_{part}{i}")
        nodes.append(
            models.node(
                "Attention", [f"q{i}", f"k{i}", f"v{i}", "", f"past_k{i}", f"past_v{i}"],
                [f"a{i}", f"present_k{i}", f"present_v{i}"], q_num_heads=heads, kv_num_heads=groups,
                is_causal=int(causal),
            )
        )  # fmt: skip
        linear(f"a{i}", f"o{i}", heads * width, hidden)
        linear(f"o{i}", f"up{i}", hidden, inner)
        nodes.append(models.node("Relu", [f"up{i}"], [f"act{i}"]))
        linear(f"act{i}", f"down{i}", inner, hidden)
        nodes.append(models.node("Add", [f"o{i}", f"down{i}"], [f"x{i + 1}"]))
    linear(f"x{layers}", "logits", hidden, 11)
    return models.model(nodes, inputs, ["logits", *outputs], tensors, opset=23)


@settings(max_examples=12)
@given(
    layers=st.integers(1, 3), groups=st.integers(1, 2), ratio=st.integers(1, 3), width=st.sampled_from([4, 16, 24]),
    hidden=st.integers(3, 40), inner=st.integers(1, 300), causal=st.booleans(), target=st.sampled_from(TARGETS),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=3),
)  # fmt: skip
def test_a_drawn_models_macs_are_executed(
    layers: int, groups: int, ratio: int, width: int, hidden: int, inner: int, causal: bool, target: str,
    sizes: list[tuple[int, int, int]],
) -> None:  # fmt: skip
    heads = groups * ratio
    with TemporaryDirectory() as folder:
        path = Path(folder) / "toy.onnx"
        onnx.save(toy(layers, heads, groups, width, hidden, inner, causal), path)
        program, module = crossbank.compile(path, target, context=16, max_batch=3, quiet=True), raised(path)
        executing = Executing(program)
        for batch, new, before in sizes:
            rng = np.random.default_rng(0)
            given = {"ids": rng.integers(0, 11, (batch, new))}
            for name in (f"past_{part}{i}" for i in range(layers) for part in ("k", "v")):
                given[name] = rng.standard_normal((batch, groups, before, width)).astype(np.float32)
            module.macs = module.scores = 0
            module.run(given)
            tally = executing.run(given)
            assert tally.macs == module.macs
            by_hand = layers * batch * new * (hidden * (heads + 2 * groups) * width + heads * width * hidden)
            by_hand += layers * batch * new * (2 * hidden * inner + heads * (before + new) * 2 * width)
            assert tally.macs == by_hand + batch * new * hidden * 11
            assert tally.scores in (0, layers * batch * heads * new * (before + new))
            cost = program.cost(new, 1, batch) if not before else None
            assert cost is None or cost.macs == tally.macs
