"""Assembly: text and records are inverse for every instruction set, and errors name their line."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.runtime.assembly.assembler import assemble
from crossbank.runtime.assembly.disassembler import disassemble
from crossbank.runtime.expr import Expr, ceildiv, maximum, minimum
from crossbank.runtime.isa import Field, Instruction, InstructionSet, Kind
from crossbank.runtime.program import Code, Engine, Layout, ProgramError, State, Table
from crossbank.runtime.records import Operand, Pools, Tensor, encode, records
from crossbank.runtime.registry import extra_sets, instruction_set, set_names
from tests.runtime.toy import CONST, TOY, Builder, at
from tests.runtime.toy_model import MODEL, program

SETS = [instruction_set(name) for name in set_names()] + [TOY, MODEL]
REGISTERS = ["past", "seq", "row", "input", "min"]

atoms = st.one_of(st.integers(0, 1 << 40).map(Expr.of), st.sampled_from(REGISTERS).map(Expr.symbol))
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] - p[1]),
        st.tuples(inner, st.integers(-9, 9)).map(lambda p: p[0] * p[1]),
        st.tuples(inner, st.integers(1, 9)).map(lambda p: p[0] // p[1]),
        st.tuples(inner, st.integers(1, 9)).map(lambda p: p[0] % p[1]),
        st.tuples(inner, st.integers(1, 9)).map(lambda p: ceildiv(p[0], p[1])),
        st.tuples(inner, inner).map(lambda p: minimum(*p)),
        st.tuples(inner, inner).map(lambda p: maximum(*p)),
    ),
    max_leaves=5,
)


def layouts(dims: int) -> st.SearchStrategy[Layout]:
    part = st.lists(expressions, min_size=dims, max_size=dims).map(tuple)
    return st.builds(Layout, st.sampled_from(["float32", "bfloat16", "int4"]), part, part)


def fits(entry: Field) -> Any:
    return lambda e: not e.is_constant or entry.low <= e.constant < 1 << entry.bits


def operand(entry: Field) -> st.SearchStrategy[Any]:
    match entry.kind:
        case Kind.ADDRESS:
            address = st.tuples(st.integers(0, 9), expressions).map(lambda p: p[1] + (p[0] << 44)).filter(fits(entry))
            tensors = st.builds(Tensor, address, st.integers(0, 3).flatmap(layouts))
            return st.one_of(st.none(), tensors) if entry.optional else tensors
        case Kind.COUNT:
            return expressions.filter(fits(entry))
        case Kind.ENUM:
            assert entry.members is not None
            return st.sampled_from(list(entry.members))
        case Kind.FLOAT:
            return st.floats()
        case Kind.TOKEN:
            return st.integers(0, 7)
        case Kind.REGISTER:
            return st.sampled_from(REGISTERS)
        case _:
            return st.sampled_from(["main", "layer.0"])


@st.composite
def written(draw: st.DrawFn) -> tuple[InstructionSet, Instruction, dict[str, Operand], int]:
    isa = draw(st.sampled_from(SETS))
    instruction = draw(st.sampled_from([i for i in isa.instructions.values() if i.mnemonic not in ("loop", "end")]))
    operands = {entry.name: draw(operand(entry)) for entry in instruction.fields}
    return isa, instruction, operands, draw(st.integers(0, 65535))


def code_of(instructions: list[tuple[InstructionSet, Instruction, dict[str, Operand], int]]) -> Code:
    b = Builder({name: (0, 9) for name in REGISTERS})
    b.pools = Pools(registers=REGISTERS, blocks=["main", "layer.0"], tables=["main", "layer.0"])
    b.tables = {name: Table(name, ("row",), np.arange(3).reshape(-1, 1)) for name in b.pools.tables}
    b.block("main", {})
    b.block("layer.0", {}, ["row"])
    for isa, *rest in instructions:
        stream = [encode(isa, *rest, b.pools)]  # type: ignore[arg-type]
        streams = b.blocks["main"].streams
        streams[isa.name] = np.concatenate([streams.get(isa.name, records([])), records(stream)])
    engines = {isa.name: Engine(isa.name, "simd", isa.name, {}) for isa in SETS}
    return b.code(engines=engines)


def assert_same(first: Code, second: Code) -> None:
    for entry in fields(Code):
        if entry.name not in ("blocks", "tables"):
            assert getattr(first, entry.name) == getattr(second, entry.name), entry.name
    assert list(first.blocks) == list(second.blocks)
    for a, b in zip(first.blocks.values(), second.blocks.values(), strict=True):
        assert (a.name, a.parameters, list(a.streams)) == (b.name, b.parameters, list(b.streams))
        np.testing.assert_array_equal(a.nodes, b.nodes)
        for engine, stream in a.streams.items():
            assert stream.tobytes() == b.streams[engine].tobytes()
    assert list(first.tables) == list(second.tables)
    for a, b in zip(first.tables.values(), second.tables.values(), strict=True):
        assert a.columns == b.columns
        np.testing.assert_array_equal(a.values, b.values)
        assert a.values.shape == b.values.shape


@settings(deadline=None, max_examples=80)
@given(st.lists(written(), max_size=4))
def test_text_and_records_are_inverse(
    instructions: list[tuple[InstructionSet, Instruction, dict[str, Operand], int]],
) -> None:
    with extra_sets(TOY, MODEL):
        code = code_of(instructions)
        assert_same(code, assemble(disassemble(code)))


def test_a_whole_program_comes_back() -> None:
    b = Builder({"n": (0, 8), "low": (-3, 5)})
    b.constant('model."w";0', np.zeros((2, 3), np.float32), 64)
    b.tables["layer"] = Table("layer", (), np.zeros((2, 0), np.int64))
    body = [
        b.op("core.loop", counter="i", trips=Expr.of("n"), kind="parallel"),
        b.op("core.loop", counter="j", trips=3, kind="sequential"),
        b.op("toy.increase", dst=at(CONST, "i*4 + j", ["n"]), amount=0, factor=float("inf"), node=1),
        b.op("core.end"),
        b.op("core.end"),
        b.op("core.call", block="layer", table="layer", first=0, rows=2),
    ]
    b.block("main", {"e0": body, "e1": []})
    b.block("layer", {"e0": []})
    code = b.code(
        target="box",
        system={"engine": [{"name": "e0", "rate": 1.5, "note": "a } brace; and more"}]},
        summary={"nodes": 3},
        capacity={"n": Expr.of("low + 1")},
        nodes=["", '/layers.0/"x"; y'],
        states=(State("k", None, "out", 1, Expr.of("n")),),
        limits={"context": 8},
        context_of={"past": "n"},
    )
    code.blocks["main"].nodes = np.array([[0, 1], [1, 1]], np.int32)
    with extra_sets(TOY):
        text = disassemble(code)
        assert_same(code, assemble(text))
    assert (
        "    core.loop counter=i, trips=n, kind=parallel\n"
        "      core.loop counter=j, trips=3, kind=sequential\n"
        "        toy.increase dst=const[i*4 + j]:float32[n], amount=0, factor=bits(0x7ff0000000000000) !1"
        '  ; /layers.0/"x"; y\n'
        "      core.end\n"
    ) in text


GOOD = """target t
engine e0 kind=simd isa=toy config={}
space mem number=2 kind=memory used=64
register n [0, 4]
dimensions (n)
tokens 1
node a
block main () {
  nodes {(0)}
  stream e0 {
    toy.unary dst=mem[0x0]:float32[n], src=mem[4*n]:float32[n], way=square
  }
}
"""


def test_text_by_hand() -> None:
    with extra_sets(TOY):
        code = assemble(GOOD)
    assert code.blocks["main"].streams["e0"]["args"][0, :5].tolist() == [2 << 44, 0, -1, 0, 2]


@pytest.mark.parametrize(
    ("old", "new", "line", "code", "text"),
    [
        ("square", "cube", 11, "CB0522", "'cube', not one of copy, negate, square"),
        ("toy.unary", "toy.unarry", 11, "CB0581", "did you mean toy.unary?"),
        ("toy.unary", "toi.unary", 11, "CB0524", "did you mean 'toy'?"),
        ("src=", "scr=", 11, "CB0582", "did you mean 'src'?"),
        ("4*n", "4*m", 11, "CB0582", "declare it: register m [0, 1]"),
        ("mem[4", "men[4", 11, "CB0582", "no memory space 'men'"),
        ("way=square", "way=square, way=copy", 11, "CB0582", "operand way is given twice"),
        (", way=square", "", 11, "CB0522", "operand way is missing"),
        ("4*n", "4*", 11, "CB0580", "column 50: not understood"),
        ("4*n", "4//0", 11, "CB0580", "divided by zero"),
        ("4*n", "cube(4, n)", 11, "CB0581", "no function cube"),
        ("tokens 1", "tokens", 7, "CB0580", "not understood: node a"),
        ("}\n}\n", "}\n", 12, "CB0580", "the text ends too early"),
        ("tokens 1", "function main = maim {}", 6, "CB0582", "no block 'maim'"),
        ("tokens 1", "table t (n) { (1, 2) }", 6, "CB0582", "a row of table t has 2 values for 1 columns"),
        ("tokens 1", 'constant "w" float32[n] at mem[0]', 6, "CB0582", "constant w has no fixed shape"),
    ],
)
def test_errors_name_the_line(old: str, new: str, line: int, code: str, text: str) -> None:
    assert old in GOOD
    with extra_sets(TOY), pytest.raises(ProgramError) as caught:
        assemble(GOOD.replace(old, new))
    assert (caught.value.code, caught.value.where) == (code, f"line {line}")
    assert text in str(caught.value)


def test_the_toy_model_comes_back() -> None:
    with extra_sets(MODEL):
        for cache in ("device", "fed", "none"):
            assert_same(program(cache), assemble(disassemble(program(cache))))
