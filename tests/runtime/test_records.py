"""Records: encode and decode are inverse, and what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossbank.runtime.core_isa import ISA as CORE
from crossbank.runtime.core_isa import LOOP, LoopKind
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Field, Instruction, InstructionSet, Kind
from crossbank.runtime.program import Code, Layout, ProgramError
from crossbank.runtime.records import Decoder, Operand, Pools, Tensor, decode, encode
from crossbank.runtime.registry import extra_sets, instruction_set
from tests.runtime.toy import TOY, Builder, Way, at

NAMES = ["past", "seq", "row"]
EXPRESSIONS = st.one_of(
    st.integers(0, (1 << 31) - 1).map(Expr.of),
    st.tuples(st.sampled_from(NAMES), st.integers(1, 9), st.integers(0, 99)).map(
        lambda t: Expr.symbol(t[0]) * t[1] + t[2]
    ),
)
LAYOUTS = st.integers(0, 3).flatmap(
    lambda n: st.builds(
        lambda d, a, b: Layout(d, tuple(a), tuple(b)),
        st.sampled_from(["float32", "bfloat16", "int64", "bool"]),
        st.lists(EXPRESSIONS, min_size=n, max_size=n),
        st.lists(EXPRESSIONS, min_size=n, max_size=n),
    )
)
TENSORS = st.builds(Tensor, EXPRESSIONS, LAYOUTS)


def _operand(entry: Field) -> st.SearchStrategy[Any]:
    match entry.kind:
        case Kind.ADDRESS:
            return st.one_of(st.none(), TENSORS) if entry.optional else TENSORS
        case Kind.COUNT:
            return EXPRESSIONS.filter(lambda e: not e.is_constant or entry.low <= e.constant < 1 << entry.bits)
        case Kind.ENUM:
            return st.sampled_from(list(entry.members or Way))
        case Kind.FLOAT:
            return st.floats(allow_nan=False)
        case Kind.TOKEN:
            return st.integers(0, 7)
        case _:
            return st.sampled_from(NAMES)


INSTRUCTIONS = [(isa, i) for isa in (TOY, CORE) for i in isa.instructions.values()]


@st.composite
def instructions(draw: st.DrawFn) -> tuple[InstructionSet, Instruction, dict[str, Operand]]:
    isa, instruction = draw(st.sampled_from(INSTRUCTIONS))
    return isa, instruction, {entry.name: draw(_operand(entry)) for entry in instruction.fields}


def _code(pools: Pools) -> Code:
    builder = Builder()
    builder.block("main", {})
    code = builder.code(expressions=pools.expressions, layouts=pools.layouts)
    code.registers = {name: (0, 9) for name in pools.registers}
    code.blocks = {name: code.blocks["main"] for name in pools.blocks}
    code.tables = {name: None for name in pools.tables}  # type: ignore[misc]
    return code


@given(instructions(), st.integers(0, 65535))
def test_decode_inverts_encode(case: tuple[InstructionSet, Instruction, dict[str, Operand]], node: int) -> None:
    isa, instruction, operands = case
    pools = Pools()
    record = encode(isa, instruction, operands, node, pools)
    with extra_sets(TOY):
        decoded = decode(record, _code(pools))
    assert (decoded.isa, decoded.instruction, decoded.operands, decoded.node) == (isa, instruction, operands, node)
    assert encode(isa, instruction, decoded.operands, node, pools).tobytes() == record.tobytes()


@pytest.mark.parametrize(
    ("operands", "problem"),
    [
        ({"dst": at(1, 0, [2]), "way": "copy"}, "operand src is missing"),
        ({"dst": at(1, 0, [2]), "src": at(1, 0, [2]), "way": "cube"}, "not one of copy, negate, square"),
        ({"dst": at(1, 0, [2]), "src": at(1, 0, [2]), "way": "copy", "x": 1}, "has no operand x"),
        ({"dst": at(1, 0, [2]), "src": 3, "way": "copy"}, "not a tensor"),
    ],
)
def test_unfit_operands_are_refused(operands: dict[str, Operand], problem: str) -> None:
    with pytest.raises(ProgramError, match=problem) as caught:
        encode(TOY, TOY.instructions["unary"], operands, 0, Pools())
    assert caught.value.code == "CB0522"


def test_a_count_outside_its_width_is_refused() -> None:
    with pytest.raises(ProgramError, match="outside 0 to 4294967295"):
        encode(CORE, LOOP, {"counter": "i", "trips": 1 << 32, "kind": LoopKind.PARALLEL}, 0, Pools())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"opcode": 200 << 8 | 99}, "CB0521"),
        ({"opcode": 99 << 8 | 1}, "CB0521"),
        ({"args": (1, 7)}, "CB0522"),
        ({"args": (1, -1)}, "CB0522"),
        ({"args": (0, -1)}, "CB0522"),
        ({"args": (4, 3)}, "CB0522"),
        ({"args": (0, -5)}, "CB0522"),
        ({"args": (9, 1)}, "CB0522"),
    ],
)
def test_damaged_records_are_refused(change: dict[str, Any], code: str) -> None:
    builder = Builder()
    record = builder.op("toy.unary", dst=at(1, 0, [2]), src=at(1, 0, [2]), way="negate")
    for key, value in change.items():
        if key == "args":
            record["args"][value[0]] = value[1]
        else:
            record[key] = value
    builder.block("main", {"e0": [record]})
    with extra_sets(TOY), pytest.raises(ProgramError) as caught:
        list(Decoder(builder.code()).stream("main", "e0"))
    assert caught.value.code == code
    assert "block main, e0, record 0" in str(caught.value)


def test_an_unknown_set_suggests_a_name() -> None:
    with pytest.raises(ProgramError, match="no instruction set 'cores' is installed") as caught:
        instruction_set("cores")
    assert caught.value.help == "did you mean 'core'?"


def test_equal_layouts_and_expressions_are_pooled() -> None:
    pools = Pools()
    for offset in ("past*4 + 8", "8 + 4*past"):
        encode(TOY, TOY.instructions["load"], {"src": at(1, offset, ["past", 3])}, 0, pools)
    assert len(pools.expressions) == len(pools.layouts) == 1
    assert np.asarray(pools.layout(at(1, 0, ["past", 3]).layout)) == 0
