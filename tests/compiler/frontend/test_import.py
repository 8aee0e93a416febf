"""Imported modules compute what onnxruntime recorded, print and parse, and cost what one layer costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func, FuncOp
from xdsl.parser import Parser

from crossbank.compiler.frontend.convert import import_model
from crossbank.dialects import onnx as dialect
from crossbank.dialects.imc import IMC, RepeatOp, UseOp, WeightOp
from crossbank.dialects.location import node_names
from crossbank.passes.context import CompileContext
from tests.compiler.frontend.deep import deepen
from tests.compiler.frontend.models import FLOAT, imported, model, node
from tests.interpreter import Interpreter
from tests.zoo import HERE, cases, error, models, parameters

SAMPLE = Path(__file__).parents[3] / "samples" / "tiny_llama" / "tiny_llama.onnx"
ROUTES = (
    "ts",
    "dynamo",
    "hf5_dynamo",
    "optimum",
    "std",
    "genai_fp32",
    "ortopt_kv",
    "ortopt_gpt2",
    "quant_dyn",
    "quant_n4",
)
USUAL = frozenset({"hf5_dynamo23_kv_llama", "genai_fp32_llama", "quant_n4_qdq_llama", "quant_dyn_u8_llama"})
"""What every run imports besides the models kept here; long ones import all."""
HALF = "float16"
"""onnxruntime runs float16 graphs in float32 between nodes; node by node they round more often."""


def repeats(module: ModuleOp) -> list[RepeatOp]:
    return [op for op in module.walk() if isinstance(op, RepeatOp)]


@pytest.mark.parametrize("folder", parameters(*ROUTES, usual=USUAL, where=lambda name: HALF not in name))
def test_zoo_models_compute_the_recorded_outputs(folder: Path):
    ctx = CompileContext()
    module = import_model(folder / "model.onnx", ctx)
    module.verify()
    run = Interpreter(module, ctx.tensors)
    for case, feeds, expected in cases(folder):
        outputs = run.run(feeds)
        assert set(outputs) == set(expected)
        for name, value in expected.items():
            assert error(outputs[name], value) < 2e-6, f"{case} {name}"


@pytest.mark.parametrize("folder", parameters("ts17", "dynamo", "hf5", "optimum", "std", usual=USUAL))
def test_zoo_layers_are_one_function(folder: Path):
    module = import_model(folder / "model.onnx", CompileContext())
    found = repeats(module)
    assert [op.count.value.data for op in found] == [2]
    assert len(found[0].carried) == 1


def test_sample_computes_what_onnxruntime_does():
    ctx = CompileContext()
    module = import_model(SAMPLE, ctx)
    module.verify()
    assert [op.count.value.data for op in repeats(module)] == [6]
    run = Interpreter(module, ctx.tensors)
    session = ort.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for batch, past, new in ((1, 0, 7), (2, 5, 1), (1, 3, 4)):
        feeds = {
            "input_ids": rng.integers(0, 256, (batch, new)),
            "attention_mask": np.ones((batch, past + new), np.int64),
            "position_ids": np.tile(np.arange(past, past + new), (batch, 1)),
        }
        for value in session.get_inputs():
            if value.name.startswith("past"):
                shape = (batch, value.shape[1], past, value.shape[3])
                feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
        outputs = run.run(feeds)
        for output, expected in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            assert error(outputs[output.name], expected) < 5e-6, output.name


@pytest.mark.parametrize("folder", sorted(HERE.iterdir()), ids=lambda f: f.name)
def test_modules_print_and_parse(folder: Path):
    module = import_model(folder / "model.onnx", CompileContext())
    context = Context()
    for loaded in (Builtin, Func, IMC):
        context.load_dialect(loaded)
    context.register_dialect("onnx", lambda: dialect.ONNX)
    again = Parser(context, str(module)).parse_module()
    again.verify()
    assert again.is_structurally_equivalent(module)
    assert str(again) == str(module)


@pytest.mark.parametrize("folder", sorted(HERE.iterdir()), ids=lambda f: f.name)
def test_every_node_is_reached_or_folded(folder: Path):
    ctx = CompileContext()
    module = import_model(folder / "model.onnx", ctx)
    reached: list[str] = []
    for op in module.walk():
        if dialect.is_onnx(op) and dialect.op_type(op) != "Constant":
            assert all(node_names(op))
            reached += node_names(op)
    nodes, folded = ctx.notes["nodes"], ctx.notes["folded"]
    assert len(set(nodes)) == len(nodes)
    assert sorted(reached) == sorted(set(nodes) - set(folded))


def test_functions_keep_the_names_of_inputs_and_outputs():
    ctx = CompileContext()
    module = import_model(HERE / "dynamo18_kv_llama" / "model.onnx", ctx)
    main = next(op for op in module.ops if isinstance(op, FuncOp))
    assert main.sym_name.data == "main"
    assert [n.data for n in main.attributes["input_names"]] == ctx.notes["inputs"]  # pyright: ignore
    assert ctx.notes["outputs"] == [n.data for n in main.attributes["output_names"]]  # pyright: ignore
    assert ctx.notes["outputs"][:3] == ["logits", "present.0.key", "present.0.value"]


def test_dimensions_are_named():
    ctx = CompileContext()
    import_model(HERE / "dynamo18_kv_llama" / "model.onnx", ctx)
    dims = ctx.notes["dims"]
    assert dims["roles"] == {"batch": "batch", "sequence": "seq", "past": "past"}
    assert dims["equations"] == {"total": "past + seq"}
    assert dims["cache_inputs"][:2] == ["past_key_values.0.key", "past_key_values.0.value"]


def test_tables_limit_the_context():
    ctx = CompileContext()
    import_model(HERE / "ts17_kv_gpt2" / "model.onnx", ctx)
    assert ctx.notes["dims"]["limits"]["past + seq"] == 128


def test_weights_are_symbols_with_a_tensor_per_layer():
    ctx = CompileContext()
    module = import_model(HERE / "dynamo18_kv_llama" / "model.onnx", ctx)
    weights = {op.sym_name.data: op for op in module.ops if isinstance(op, WeightOp)}
    used = {op.weight.root_reference.data for op in module.walk() if isinstance(op, UseOp)}
    assert used == set(weights)
    norm = weights["m.model.layers.0.input_layernorm.weight"]
    assert [name.data for name in norm.tensors] == [f"m.model.layers.{i}.input_layernorm.weight" for i in range(2)]
    assert all(name.data in ctx.tensors for op in weights.values() for name in op.tensors)


@pytest.mark.parametrize("name", ["ts17_kv_llama", "optimum_kv_llama"])
def test_eighty_layers_cost_what_one_does(tmp_path: Path, name: str):
    folder = next((f for f in models(name)), HERE / "optimum_kv_llama")
    modules: list[ModuleOp] = []
    for layers in (3, 80):
        deepen(folder / "model.onnx", tmp_path / "deep.onnx", layers)
        start = time.process_time()
        modules.append(import_model(tmp_path / "deep.onnx", CompileContext(), "shape-only"))
        assert time.process_time() - start < 10
    sizes = [sum(1 for _ in module.walk()) for module in modules]
    assert sizes[0] == sizes[1]
    assert [op.count.value.data for op in repeats(modules[1])] == [80]
    weights = [len(op.tensors) for op in modules[1].ops if isinstance(op, WeightOp)]
    assert sorted(set(weights)) == [1, 80]


def layers_with_caches(lengths: Sequence[str]) -> onnx.ModelProto:
    """One layer per length, whose new keys are the input and whose past is that long."""
    nodes = [node("Concat", [f"past.{i}.key", "x"], [f"present.{i}.key"], axis=1) for i in range(len(lengths))]
    inputs = {"x": (FLOAT, ("batch", "seq", 2, 4))}
    inputs |= {f"past.{i}.key": (FLOAT, ("batch", n, 2, 4)) for i, n in enumerate(lengths)}
    return model(nodes, inputs, [f"present.{i}.key" for i in range(len(lengths))])


def test_lengths_of_caches_that_only_the_exporter_named_are_equal(tmp_path: Path):
    _, ctx = imported(layers_with_caches(["s59", "s5", "s44"]), tmp_path)
    assert ctx.notes["dims"]["equations"] == {"s5": "s59", "s44": "s59"}


def test_lengths_of_caches_that_a_person_named_may_differ(tmp_path: Path):
    _, ctx = imported(layers_with_caches(["past", "window", "past"]), tmp_path)
    assert ctx.notes["dims"]["equations"] == {}
