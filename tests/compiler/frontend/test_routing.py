"""Experts whose tokens are picked by NonZero, as exporters write them, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import crossbank
from tests.zoo import error

EXPERTS, HIDDEN, INNER = 4, 20, 24


def normal(*shape: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


class Graph:
    """Nodes and initializers in the order in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.kept: dict[str, NDArray[Any]] = {}

    def __call__(self, kind: str, *inputs: str | NDArray[Any] | int, outputs: int = 1, **attributes: Any) -> Any:
        names: list[str] = []
        for given in inputs:
            if not isinstance(given, str):
                self.kept[f"c{len(self.kept)}"] = np.asarray(given)
                given = f"c{len(self.kept) - 1}"
            names.append(given)
        results = [f"{kind}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, results, f"{kind}{len(self.nodes)}", **attributes))
        return results[0] if outputs == 1 else results

    def model(self, opset: int) -> onnx.ModelProto:
        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", HIDDEN])

        kept = [numpy_helper.from_array(array, name) for name, array in self.kept.items()]
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(self.nodes, "experts", [info("x")], [info("y")], kept)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def softmax_router(make: Graph) -> tuple[str, str]:
    probabilities = make("Softmax", make("MatMul", "x", normal(HIDDEN, EXPERTS, seed=0)), axis=1)
    top, chosen = make("TopK", probabilities, ints(2), axis=-1, outputs=2)
    return chosen, make("Div", top, make("ReduceSum", top, ints(-1), keepdims=1))


def biased_router(make: Graph) -> tuple[str, str]:
    """Chooses by biased scores and takes the others, times a number: DeepSeek-V3, GLM-4 MoE."""
    scores = make("Sigmoid", make("MatMul", "x", normal(HIDDEN, EXPERTS, seed=0)))
    _, chosen = make("TopK", make("Add", scores, normal(1, EXPERTS, seed=5)), ints(2), axis=-1, sorted=0, outputs=2)
    top = make("GatherElements", scores, chosen, axis=1)
    total = make("Add", make("ReduceSum", top, ints(-1), keepdims=1), np.float32(1e-20))
    return chosen, make("Mul", make("Div", top, total), np.float32(2.5))


def one_after_the_other(make: Graph) -> tuple[str, str]:
    """Chooses the largest, then the largest of the others: PhiMoE."""
    scores = make("MatMul", "x", normal(HIDDEN, EXPERTS, seed=0))
    first = make("ArgMax", scores, axis=-1, keepdims=1)
    never = make("Expand", np.float32(-np.inf), make("Shape", first))
    others = make("ScatterElements", scores, first, never, axis=-1)
    second = make("ArgMax", others, axis=-1, keepdims=1)
    places = ((scores, first), (others, second))
    weights = [make("GatherElements", make("Softmax", given, axis=-1), place, axis=-1) for given, place in places]
    return make("Concat", first, second, axis=-1), make("Concat", *weights, axis=-1)


ROUTERS = {"biased": biased_router, "one by one": one_after_the_other}


def experts(opset: int, form: str, hit: bool) -> onnx.ModelProto:
    """A mixture as `form`, TorchScript or dynamo, writes it; `hit` asks first which experts are chosen at all.

    The form may also say how a router chooses: by scores of their own, or one expert after the other.
    """
    make = Graph()
    chosen, weights = ROUTERS.get(form, softmax_router)(make)
    if form == "dynamo":
        compared = make("Equal", make("Unsqueeze", chosen, ints(-1)), np.arange(EXPERTS))
        mask = make("Transpose", make("Cast", compared, to=TensorProto.INT64), perm=[2, 1, 0])
    else:
        mask = make("Transpose", make("OneHot", chosen, np.array(EXPERTS), ints(0, 1), axis=-1), perm=[2, 1, 0])
    numbers: list[Any] = [np.array(e) for e in range(EXPERTS)]
    if hit:
        some = make("NonZero", make("Greater", make("ReduceSum", mask, ints(-1, -2), keepdims=0), np.array(0)))
        split = make("Split", make("Transpose", some, perm=[1, 0]), ints(*[1] * EXPERTS), axis=0, outputs=EXPERTS)
        numbers = [make("Squeeze", part, ints(0)) for part in split]
    total = make("Expand", np.zeros((), np.float32), make("Shape", "x"))
    for e, number in enumerate(numbers):
        mine = make("Gather", mask, number, axis=0)
        mine = make("Squeeze", mine, ints(0)) if hit else mine
        places = make("Transpose", make("NonZero", make("Cast", mine, to=TensorProto.BOOL)), perm=[1, 0])
        choice, token = make("Split", places, ints(1, 1), axis=1, outputs=2)
        flat = make("Squeeze", token, ints(1))
        rows = make("Reshape", make("Gather", make("Unsqueeze", "x", ints(0)), flat, axis=1), ints(-1, HIDDEN))
        inner = make("Relu", make("MatMul", rows, normal(HIDDEN, INNER, seed=e + 1)))
        results = make("MatMul", inner, normal(INNER, HIDDEN, seed=e + 9))
        if form == "dynamo":
            share = make("GatherND", make("Unsqueeze", weights, ints(2)), make("Concat", token, choice, axis=-1))
            total = make("ScatterND", total, token, make("Mul", results, share), reduction="add")
            continue
        place = make("Add", make("Squeeze", choice, ints(1)), make("Mul", flat, np.array(2)))
        share = make("Gather", make("Flatten", make("Unsqueeze", weights, ints(2)), axis=2), place, axis=0)
        scaled = make("Mul", results, share)
        where = make("Expand", make("Unsqueeze", flat, ints(1)), make("Shape", scaled))
        empty = make("ConstantOfShape", make("Shape", total))
        total = make("Add", total, make("ScatterElements", empty, where, scaled, axis=0))
    make("Identity", total)
    return make.model(opset)


@pytest.mark.parametrize(
    ("opset", "form", "hit"),
    [
        (14, "TorchScript", False),
        (17, "TorchScript", False),
        (17, "TorchScript", True),
        (18, "dynamo", False),
        (17, "biased", False),
        (17, "one by one", False),
    ],
)
@pytest.mark.parametrize("target", ["ideal", "hermes"])
def test_experts_get_all_tokens(opset: int, form: str, hit: bool, target: str, tmp_path: Path) -> None:
    path = tmp_path / "experts.onnx"
    onnx.save(experts(opset, form, hit), path)
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    program = crossbank.compile(path, target, context=64, quiet=True, host=False)
    session = program.session(ideal=True)
    for tokens in (40, 64) if hit else (1, 2, 40):
        x = normal(tokens, HIDDEN, seed=tokens)
        (expected,) = reference.run(None, {"x": x})
        (found,) = session.run(None, {"x": x})
        assert error(found, expected) < 1e-5
    summary = program.summary()
    assert summary["recognised"]["linear"] == 1 + 2 * EXPERTS
    assert summary["engines"]["host"]["nodes"] == 0
    assert not summary["unrecognised"]


def test_choices_that_may_be_equal_are_refused(tmp_path: Path) -> None:
    """Two ArgMax over the same scores choose one expert twice, which adds its results twice."""
    model = experts(17, "one by one", False)
    second = [node for node in model.graph.node if node.op_type == "ArgMax"][1]
    second.input[0] = next(node.output[0] for node in model.graph.node if node.op_type == "MatMul")
    path = tmp_path / "experts.onnx"
    onnx.save(model, path)
    with pytest.raises(crossbank.ProgramError, match="NonZero"):
        crossbank.compile(path, quiet=True)


def test_other_uses_of_nonzero_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"], "where")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "m"])],
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(crossbank.ProgramError, match="where"):
        crossbank.compile(path, quiet=True)


@pytest.mark.parametrize("fault", ["no output", "no input", "waits for itself", "no count of experts"])
def test_what_is_no_routing_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    model = experts(17, "TorchScript", hit=True)
    place = next(node for node in model.graph.node if node.op_type == "NonZero")
    hot = next(node for node in model.graph.node if node.op_type == "OneHot")
    match fault:
        case "no output":
            del place.output[:]
        case "no input":
            del place.input[:]
        case "waits for itself":
            place.input[0] = place.output[0]
        case _:
            depth = next(tensor for tensor in model.graph.initializer if tensor.name == hot.input[1])
            depth.CopyFrom(numpy_helper.from_array(np.zeros(0, np.int64), depth.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(crossbank.ProgramError) as caught:
        crossbank.compile(tmp_path / "model.onnx", quiet=True)
    assert caught.value.code.startswith("CB01")
