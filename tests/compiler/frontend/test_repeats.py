"""Equal layers become one function, unequal ones don't, and the meaning stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.dialects.location import node_names
from tests.compiler.frontend.models import FLOAT, imported, model, node
from tests.interpreter import Interpreter
from tests.zoo import error

SIZE = 4
RNG = np.random.default_rng(0)


class Stack:
    """A model of layers, each a list of steps on the residual stream."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {"input_ids": (FLOAT, ["n", SIZE]), "shared": (FLOAT, ["n", SIZE])}
        self.outputs: list[str] = []
        self.stream = "input_ids"
        self.history: list[str] = []

    def add(self, op: str, *inputs: str, name: str = "") -> str:
        out = name or f"v{len(self.nodes)}"
        self.nodes.append(node(op, list(inputs), [out]))
        return out

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors[name] = RNG.standard_normal(shape).astype(np.float32)
        return name

    def layer(self, i: int, steps: list[str]) -> None:
        x = self.stream
        for step in steps:
            match step:
                case "linear":
                    x = self.add("MatMul", x, self.weight(SIZE, SIZE))
                case "scale":
                    x = self.add("Mul", x, self.weight())
                case "shared":
                    x = self.add("Add", x, self.add("Tanh", "shared"))
                case "cache":
                    self.inputs[f"past.{i}"] = (FLOAT, ["n", SIZE])
                    x = self.add("Add", x, self.add("Neg", f"past.{i}"))
                    self.outputs.append(self.add("Relu", x, name=f"present.{i}"))
                case "skip":
                    x = self.add("Add", x, self.history[-2] if len(self.history) > 1 else "shared")
                case _:
                    x = self.add(step, x)
        self.history.append(self.stream)
        self.stream = self.add("Add", self.stream, self.add("Tanh", x))

    def build(self) -> onnx.ModelProto:
        return model(self.nodes, self.inputs, [self.add("Tanh", self.stream, name="y"), *self.outputs], self.tensors)


LAYER = ["linear", "Sigmoid", "shared", "cache", "scale", "linear", "Relu"]
OTHER = ["linear", "Tanh", "cache", "linear", "Neg", "scale", "Sigmoid"]


def stack(*layers: list[str]) -> onnx.ModelProto:
    made = Stack()
    for i, steps in enumerate(layers):
        made.layer(i, steps)
    return made.build()


def repeats(module: ModuleOp) -> list[RepeatOp]:
    return [op for op in module.walk() if isinstance(op, RepeatOp)]


def same_meaning(proto: onnx.ModelProto, folder: Path) -> ModuleOp:
    module, ctx = imported(proto, folder)
    feeds = {v.name: RNG.standard_normal((3, SIZE)).astype(np.float32) for v in proto.graph.input}
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    found = Interpreter(module, ctx.tensors).run(feeds)
    for output, value in zip(proto.graph.output, expected, strict=True):
        assert error(found[output.name], value) < 1e-5
    reached = [n for op in module.walk() for n in node_names(op) if op.name.startswith("onnx.") and n]
    assert sorted(reached) == sorted(set(ctx.notes["nodes"]) - set(ctx.notes["folded"]))
    return module


def test_five_equal_layers(tmp_path: Path):
    module = same_meaning(stack(*[LAYER] * 5), tmp_path)
    found = repeats(module)
    assert [op.count.value.data for op in found] == [5]
    assert (len(found[0].carried), len(found[0].shared)) == (1, 1)
    assert (len(found[0].each), len(found[0].each_out)) == (5, 5)
    tensors = [len(op.tensors) for op in module.ops if isinstance(op, WeightOp)]
    assert tensors == [5, 5, 5]


def test_what_layers_share_is_computed_before_them(tmp_path: Path):
    module = same_meaning(stack(*[LAYER] * 3), tmp_path)
    main = next(iter(op for op in module.ops if op.name == "func.func"))
    names = [op.name for op in main.walk()]
    assert names.index("onnx.Tanh") < names.index("imc.repeat")


def test_alternating_layers_repeat_in_pairs(tmp_path: Path):
    found = repeats(same_meaning(stack(*[LAYER, OTHER] * 3), tmp_path))
    assert [op.count.value.data for op in found] == [3]
    assert len(found[0].each) == 6


def test_two_kinds_of_layers_are_two_functions(tmp_path: Path):
    found = repeats(same_meaning(stack(*[LAYER] * 3, *[OTHER] * 4), tmp_path))
    assert [op.count.value.data for op in found] == [3, 4]


def test_first_layer_may_differ(tmp_path: Path):
    found = repeats(same_meaning(stack(OTHER, *[LAYER] * 4), tmp_path))
    assert [op.count.value.data for op in found] == [4]


def test_different_layers_are_not_outlined(tmp_path: Path):
    layers = [["linear", *["Relu", "Tanh", "Sigmoid", "Neg"][:i], "scale"] for i in range(1, 5)]
    assert not repeats(same_meaning(stack(*layers), tmp_path))


def test_wiring_across_two_layers_is_not_outlined(tmp_path: Path):
    layers = [[*LAYER, "skip"]] * 4
    for op in repeats(same_meaning(stack(*layers), tmp_path)):
        assert op.count.value.data < 4


def test_one_tensor_for_all_layers(tmp_path: Path):
    made = Stack()
    shared = made.weight(SIZE, SIZE * 8)
    back = made.weight(SIZE * 8, SIZE)
    for i in range(3):
        made.layer(i, LAYER)
        up = made.add("MatMul", made.stream, shared)
        made.stream = made.add("MatMul", made.add("Relu", up), back)
    module = same_meaning(made.build(), tmp_path)
    assert [op.count.value.data for op in repeats(module)] == [3]
    names = [[name.data for name in op.tensors] for op in module.ops if isinstance(op, WeightOp)]
    assert [shared] * 3 in names


def test_small_constants_that_differ_are_weights(tmp_path: Path):
    module = same_meaning(stack(*[LAYER] * 3), tmp_path)
    uses = [op for op in module.walk() if isinstance(op, UseOp) and not op.result_types[0].get_shape()]  # pyright: ignore
    assert len(uses) == 1


STEP = st.sampled_from(["linear", "scale", "shared", "cache", "skip", "Relu", "Tanh", "Neg"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(STEP, min_size=3, max_size=8), st.lists(STEP, max_size=3), st.lists(st.booleans(), min_size=2, max_size=6)
)
def test_any_stack_keeps_its_meaning(tmp_path_factory: Any, usual: list[str], extra: list[str], plain: list[bool]):
    layers = [usual if normal else [*usual, *extra] for normal in plain]
    unique = [list(dict.fromkeys(steps)) if steps.count("cache") > 1 else steps for steps in layers]
    same_meaning(stack(*unique), tmp_path_factory.mktemp("stack"))
