"""The dialect of an instruction set: round trips and verifier errors."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.utils.exceptions import VerifyException

from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.instructions import field_accesses, instruction_op, operand_values
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Access
from tests.passes import toy


def test_text_round_trip() -> None:
    ctx = toy.context()
    module = ModuleOp([toy.act("a", "x"), toy.mul("b", "a")])
    assert toy.parse(ctx, str(module)).is_structurally_equivalent(module)


def test_accesses_follow_the_declaration() -> None:
    found = [(entry.field, entry.view.buffer.data, entry.access) for entry in field_accesses(toy.add("a", "b", "c"))]
    assert found == [("dst", "a", Access.WRITE), ("a", "b", Access.READ), ("b", "c", Access.READ)]


def test_operands_come_back_as_values() -> None:
    op = instruction_op(toy.MATRIX, "mul", "m", dst=toy.view("a"), x=toy.view("b"), unit=Expr.of("row + 1"))
    assert operand_values(op) == {"dst": toy.view("a"), "x": toy.view("b"), "unit": Expr.of("row + 1"), "bias": None}


@pytest.mark.parametrize(
    ("mnemonic", "operands", "error"),
    [
        ("spin", {}, KeyError),
        ("copy", {"dst": toy.view("a")}, KeyError),
        ("copy", {"dst": toy.view("a"), "src": toy.view("b"), "speed": 3}, KeyError),
        ("copy", {"dst": toy.view("a"), "src": 3}, TypeError),
        ("act", {"dst": toy.view("a"), "src": toy.view("b"), "op": 2.5, "scale": 1.0}, TypeError),
    ],
)
def test_unfit_operands_are_refused(
    mnemonic: str, operands: dict[str, ViewAttr | float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        instruction_op(toy.VECTOR, mnemonic, "v", **operands)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("op", StringAttr("cube"), "'cube' is not one of silu, gelu"),
        ("src", ViewAttr.of("x", "float31", [4]), "'float31' is no number format"),
    ],
)
def test_the_verifier_follows_the_declaration(name: str, value: ViewAttr | StringAttr, message: str) -> None:
    op = toy.act("a", "x")
    op.properties[name] = value
    with pytest.raises(VerifyException, match=message):
        op.verify()


def test_counts_must_be_in_range() -> None:
    op = toy.mul("a", "x")
    op.properties["unit"] = StringAttr("-1")
    with pytest.raises(VerifyException, match="outside 0 to"):
        op.verify()
    op.properties["unit"] = StringAttr("((")
    with pytest.raises(VerifyException, match="is not an expression"):
        op.verify()
