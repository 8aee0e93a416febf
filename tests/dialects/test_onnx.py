"""The onnx dialect: classes from schemas, round trip through text, verifier errors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import defs
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp, StringAttr
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.utils.exceptions import VerifyException

from crossbank.dialects.location import locate, node_name, node_names, set_node_names
from crossbank.dialects.onnx import (
    ONNX,
    DimsValueOp,
    array_of,
    attribute,
    attributes,
    build,
    constant,
    dense,
    encode,
    inputs,
    op_class,
    op_type,
    outputs,
    schema_of,
    version_of,
)
from crossbank.dialects.shape import shape_of, tensor
from crossbank.runtime.expr import Expr


def parsed(module: ModuleOp) -> ModuleOp:
    context = Context()
    context.load_dialect(Builtin)
    context.register_dialect("onnx", lambda: ONNX)
    return Parser(context, str(module)).parse_module()


def round_trip(*ops: Operation) -> list[Operation]:
    module = ModuleOp(list(ops))
    module.verify()
    again = parsed(module)
    again.verify()
    assert str(again) == str(module)
    assert again.is_structurally_equivalent(module)
    return list(again.ops)


def test_every_operator_without_subgraphs_has_a_class():
    names = {schema.name for schema in defs.get_all_schemas_with_history() if schema.domain == ""}
    assert {op.name.removeprefix("onnx.") for op in ONNX.operations} >= names


def test_classes_are_made_once():
    assert op_class("MatMul") is op_class("MatMul")


def test_schema_of_an_old_opset():
    assert schema_of("Slice", 9).since_version == 1
    assert schema_of("Slice", 18).since_version == 13
    assert schema_of("RMSNormalization", 22) is None
    assert schema_of("NoSuchOperator", 18) is None


def test_node_with_left_out_input():
    x = constant(np.arange(6), 18)
    index = constant(np.array([0]), 18)
    x_, i = x.results[0], index.results[0]
    slice_ = build("Slice", [x_, i, i, None, i], [tensor("int64", ["n"])], {}, 18)
    again = round_trip(x, index, slice_)[-1]
    assert op_type(again) == "Slice"
    assert version_of(again) == 18
    assert [value is None for value in inputs(again)] == [False, False, False, True, False]
    assert shape_of(again.results[0]) == (Expr.of("n"),)


def test_custom_node_keeps_positions_and_attributes():
    x = constant(np.zeros((2, 2), np.float32), 18)
    given_ = {"num_heads": 4, "scale": 0.5, "mode": "plain", "sizes": [1, 2], "table": np.array([[1, 2]], np.uint8)}
    types = [tensor("float32", ["batch", "past + seq"]), None, tensor("float32", [2])]
    node = build("Attention", [None, x.results[0], None], types, given_, 1, "com.microsoft")
    again = round_trip(x, node)[-1]
    assert op_type(again) == "com.microsoft:Attention"
    assert [value is None for value in inputs(again)] == [True, False]
    assert [value is None for value in outputs(again)] == [False, True, False]
    found = attributes(again)
    assert found.pop("table").tolist() == [[1, 2]]
    assert found == {key: value for key, value in given_.items() if key != "table"}
    assert attribute(again, "absent", 7) == 7


def test_attributes_of_schema_nodes():
    x = constant(np.zeros((2, 2), np.float32), 17)
    node = build("ReduceMean", [x.results[0]], [tensor("float32", [2, 1])], {"axes": [-1], "keepdims": 1}, 17)
    assert attributes(round_trip(x, node)[-1]) == {"axes": [-1], "keepdims": 1}


def test_unknown_attribute_is_refused():
    x = constant(np.zeros(2, np.float32), 18)
    with pytest.raises(ValueError, match="Relu has no attribute alpha"):
        build("Relu", [x.results[0]], [tensor("float32", [2])], {"alpha": 1.0}, 18)


def test_too_many_inputs_are_refused():
    x = constant(np.zeros(2, np.float32), 18).results[0]
    with pytest.raises(ValueError, match="Relu takes 1 values, not 2"):
        build("Relu", [x, x], [tensor("float32", [2])], {}, 18)


@pytest.mark.parametrize(
    ("operator", "name", "wrong"),
    [
        ("Concat", "axis", "first"),
        ("Gelu", "approximate", 1),
        ("LeakyRelu", "alpha", 1),
        ("Transpose", "perm", 0),
        ("Transpose", "perm", ["a"]),
        ("Constant", "value", 3),
    ],
)
def test_verifier_refuses_wrong_attribute_kinds(operator: str, name: str, wrong: Any):
    operands = [] if operator == "Constant" else [constant(np.zeros(2, np.float32), 20).results[0]]
    op = build(operator, operands, [tensor("float32", [2])], {name: wrong}, 20)
    with pytest.raises(VerifyException):
        op.verify()


def test_dims_value_round_trip():
    op = DimsValueOp(properties={"value": encode(["batch", "past + seq"])}, result_types=[tensor("int64", [2])])
    again = round_trip(op)[0]
    assert isinstance(again, DimsValueOp)
    assert again.exprs == (Expr.of("batch"), Expr.of("seq + past"))


@pytest.mark.parametrize(
    ("texts", "shape", "message"),
    [
        (["batch"], [2], "1 expressions for 2 elements"),
        (["batch +"], [1], "not an expression"),
        (["batch"], ["n"], "symbolic shape"),
    ],
)
def test_dims_value_verifier(texts: list[str], shape: list[int | str], message: str):
    op = DimsValueOp(properties={"value": encode(texts)}, result_types=[tensor("int64", shape)])
    with pytest.raises(VerifyException, match=message):
        op.verify()


def test_custom_verifier_refuses_wrong_positions():
    x = constant(np.zeros(2, np.float32), 18)
    op = build("Gelu", [x.results[0]], [tensor("float32", [2])], {}, 1, "com.microsoft")
    op.properties["positions"] = encode([0, 1])
    with pytest.raises(VerifyException, match="2 positions for 1 operands"):
        op.verify()


def test_blob_verifier_refuses_wrong_sizes():
    with pytest.raises(VerifyException):
        type(dense(np.array([np.inf], np.float32)))(StringAttr("float32"), encode([2]), StringAttr("0000807f"))


DTYPES = st.sampled_from(
    ["float32", "float16", "float64", "int64", "int32", "int8", "uint8", "uint64", "bool", "bfloat16", "int4", "uint4"]
)


@settings(deadline=None)
@given(st.data(), DTYPES)
def test_constants_keep_their_bits(data: st.DataObject, name: str):
    extended = {"bfloat16": (ml_dtypes.bfloat16, np.float32), "int4": (ml_dtypes.int4, np.int8)}
    extended["uint4"] = (ml_dtypes.uint4, np.uint8)
    target, drawn = extended.get(name, (np.dtype(name), np.dtype(name)))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    values = np.asarray(data.draw(hnp.arrays(drawn, shape)))
    values = np.asarray(values & 7 if name.endswith("int4") else values).astype(target)
    again = round_trip(constant(values, 21))[0]
    found = array_of(again.properties["value"])  # pyright: ignore[reportArgumentType]
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    assert found.tobytes() == values.tobytes()


def test_locations_name_nodes():
    op = constant(np.array(1), 18)
    assert node_name(op) == ""
    locate(op, "/model/layers.0/Constant")
    assert node_names(op) == ("/model/layers.0/Constant",)
    set_node_names(op, ("a", "b"))
    assert node_name(op) == "a"
    assert node_names(round_trip(op)[0]) == ("a", "b")
    assert node_name(op.clone()) == "a"


@settings(deadline=None)
@given(st.floats(width=32) | st.sampled_from([float("inf"), float("-inf"), 1000001.0, 0.1]))
def test_float_attributes_keep_their_value(value: float):
    x = constant(np.zeros(2, np.float32), 18)
    again = round_trip(x, build("Elu", [x.results[0]], [tensor("float32", [2])], {"alpha": value}, 18))[-1]
    assert np.float64(attribute(again, "alpha")).tobytes() == np.float64(value).tobytes() or value != value
