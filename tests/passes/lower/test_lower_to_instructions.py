"""lower-to-instructions turns functions into blocks, repeats into calls and arguments into ports."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from crossbank.dialects.imc import ParamOp, PortOp, StateOp
from crossbank.passes.assign.assign_engines import AssignEnginesPass
from crossbank.passes.context import CompileContext
from crossbank.passes.lower.lower_to_instructions import LowerToInstructionsPass
from crossbank.passes.place.place_weights import PlaceWeightsPass
from crossbank.passes.split.split_weights import SplitWeightsPass
from crossbank.passes.tile.tile_weights import TileWeightsPass
from tests.passes import toy

PASSES = (AssignEnginesPass(), SplitWeightsPass(), TileWeightsPass(), PlaceWeightsPass(), LowerToInstructionsPass())


def lowered(ctx: CompileContext) -> ModuleOp:
    return toy.run(ctx, toy.layers(ctx), *PASSES)


def test_a_repeat_becomes_a_call_with_a_carried_buffer() -> None:
    assert toy.outline(lowered(toy.context())) == {
        "main": [
            "v act main_activation <- x",
            "v copy layer_carried <- main_activation",
            "call layer 3",
            "m mul y <- layer_carried",
        ],
        "setup": ["call setup_layer 3", "m load  <- head"],
        "layer": [
            "m mul layer_linear <- layer_carried",
            "v act layer_activation <- layer_linear",
            "v add layer_add <- layer_carried, layer_activation",
            "v copy layer_carried <- layer_add",
        ],
        "setup_layer": ["m load  <- w"],
    }


def test_what_differs_per_call_is_a_parameter_of_the_block() -> None:
    params = {
        (op.block.data, tuple(op.values.get_values()))
        for op in lowered(toy.context()).body.block.ops
        if isinstance(op, ParamOp)
    }
    assert params == {("layer", (0, 1, 2)), ("setup_layer", (0, 1, 2))}


def test_ports_keep_the_names_of_the_file() -> None:
    ports = [op for op in lowered(toy.context()).body.block.ops if isinstance(op, PortOp)]
    assert [(op.function.data, op.port.data, bool(op.output.value.data)) for op in ports] == [
        ("main", "x", False),
        ("main", "y", True),
    ]


def test_every_instruction_knows_its_nodes() -> None:
    module = lowered(toy.context())
    nodes = {
        str(op.attributes["nodes"]) for op in module.walk() if "engine" in op.attributes and "nodes" in op.attributes
    }
    assert '["mul.0", "mul.1", "mul.2"]' in nodes and '["head"]' in nodes


def test_lowered_ir_parses_back() -> None:
    ctx = toy.context()
    module = lowered(ctx)
    assert toy.parse(ctx, str(module)).is_structurally_equivalent(module)


EACH = """
func.func @main(%a : tensor<4xf32>, %b : tensor<4xf32>, %c : tensor<4xf32>)
    -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
    attributes {input_names = ["a", "b", "c"], output_names = ["last", "p", "q"]} {
  %0, %1, %2 = "imc.repeat"(%a, %b, %c) <{callee = @layer, count = 2 : i64, operandSegmentSizes = array<i32: 1, 0, 2>,
    resultSegmentSizes = array<i32: 1, 2>}>
    : (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>)
  func.return %0, %1, %2 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
func.func @layer(%x : tensor<4xf32>, %e : tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %y = "onnx.Add"(%x, %e) {version = 18 : i64} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %z = "llm.activation"(%y) <{activation = "silu"}> : (tensor<4xf32>) -> tensor<4xf32>
  func.return %y, %z : tensor<4xf32>, tensor<4xf32>
}
"""


def test_tensors_of_each_call_lie_one_after_another_in_the_ports() -> None:
    ctx = toy.context()
    module = toy.run(ctx, toy.parse(ctx, EACH), AssignEnginesPass(), LowerToInstructionsPass())
    assert toy.outline(module) == {
        "main": ["v copy layer_carried <- a", "call layer 2", "v copy last <- layer_carried"],
        "layer": [
            "v add layer_add <- layer_carried, layer_each0",
            "v act layer_each_out0 <- layer_add",
            "v copy layer_carried <- layer_add",
        ],
    }
    ports = {op.port.data: op.view for op in module.body.block.ops if isinstance(op, PortOp)}
    assert [(ports[name].buffer.data, ports[name].offset.data) for name in ("b", "c", "p", "q")] == [
        ("layer_each0", "0"),
        ("layer_each0", "64"),
        ("layer_each_out0", "0"),
        ("layer_each_out0", "64"),
    ]


CACHED = """
builtin.module {
  "llm.cache"() <{sym_name = "kv", key_value_heads = 2 : i64, head_dim = 8 : i64, dtype = "float32",
    batch = "batch", past = "past", new = "seq", keys_in = ["k0", "k1"], keys_out = ["k0'", "k1'"],
    values_in = ["v0", "v1"], values_out = ["v0'", "v1'"]}> : () -> ()
  func.func @main(%x : tensor<4xf32>) -> tensor<4xf32> {
    %y = "llm.activation"(%x) <{activation = "silu"}> : (tensor<4xf32>) -> tensor<4xf32>
    func.return %y : tensor<4xf32>
  }
}
"""


def test_caches_have_states_and_functions_that_move_them() -> None:
    ctx = toy.context()
    module = toy.run(ctx, toy.parse(ctx, CACHED), AssignEnginesPass(), LowerToInstructionsPass())
    outline = toy.outline(module)
    assert outline["import_cache"] == ["call import_cache_kv 2"]
    assert outline["import_cache_kv"] == [
        "v copy kv_keys <- import_cache_kv_keys",
        "v copy kv_values <- import_cache_kv_values",
    ]
    assert outline["export_cache_kv"] == [
        "v copy export_cache_kv_keys <- kv_keys",
        "v copy export_cache_kv_values <- kv_values",
    ]
    states = [op for op in module.body.block.ops if isinstance(op, StateOp)]
    assert [(op.input.data, op.output.data) for op in states if op.input and op.output] == [
        ("k0", "k0'"),
        ("v0", "v0'"),
        ("k1", "k1'"),
        ("v1", "v1'"),
    ]
    copy = next(op for op in module.walk() if op.name == "toyvec.copy")
    # 2 sequences, 2 groups, 16 tokens, 8 features at capacity; the past of this step is copied
    assert [dim.data for dim in copy.properties["dst"].shape] == ["batch", "2", "past", "8"]
    assert [stride.data for stride in copy.properties["dst"].strides] == ["256", "128", "8", "1"]
