"""From text to a program: the inverse of the disassembler, with errors that name their line."""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, NoReturn, cast

import numpy as np
from lark import Lark, Token, Transformer, Tree, UnexpectedInput
from lark import v_args as lark_v_args  # pyright: ignore[reportUnknownVariableType]
from lark.exceptions import VisitError
from lark.tree import Meta

from crossbank.runtime.expr import FUNCTIONS, Expr, ExprError, product
from crossbank.runtime.isa import Field, Instruction, InstructionSet, Kind
from crossbank.runtime.program import (
    SPACE_SHIFT,
    Block,
    Code,
    Constant,
    Engine,
    Function,
    Layout,
    NamedTensor,
    Port,
    ProgramError,
    Space,
    State,
    Table,
)
from crossbank.runtime.records import Operand, Pools, Tensor, encode, records
from crossbank.runtime.registry import instruction_set


@dataclass(frozen=True)
class Address:
    """An address as written: the name of its space (None: absolute) and the expression in it."""

    space: str | None
    offset: Expr


@dataclass(frozen=True)
class Place:
    """A tensor as written."""

    address: Address
    layout: Layout


@dataclass(frozen=True)
class Line:
    """An instruction as written."""

    mnemonic: str
    operands: Mapping[str, Any]
    node: int
    operation: int
    line: int


@dataclass(frozen=True)
class Named:
    """A tensor of the ONNX file as written."""

    operation: int
    names: tuple[str, ...]
    place: Place
    line: int


@dataclass
class Source:
    """The directives of a text by kind, each with its line."""

    parts: dict[str, list[tuple[int, list[Any]]]] = field(default_factory=dict[str, list[tuple[int, list[Any]]]])

    def all(self, kind: str) -> list[list[Any]]:
        """The arguments of every directive of a kind, in order."""
        return [arguments for _, arguments in self.parts.get(kind, [])]

    def made(self, kind: str, make: Callable[..., Any]) -> dict[str, Any]:
        """What `make(line, name, ...)` gives for every directive of a kind, by name."""
        return {str(arguments[0]): make(line, *arguments) for line, arguments in self.parts.get(kind, [])}

    def one(self, kind: str, default: Any) -> Any:
        """The argument of the last directive of a kind."""
        return self.parts[kind][-1][1][0] if kind in self.parts else default


v_args = cast("Callable[..., Callable[[Any], Any]]", lark_v_args)


def _fail(line: int, code: str, message: str, help: str = "") -> NoReturn:
    raise ProgramError(code, message, f"line {line}", help)


@v_args(inline=True)
class _Reader(Transformer[Token, Any]):
    """Turns the parse tree into directives; expressions become `Expr`s at once."""

    def number(self, text: Token) -> Expr:
        return Expr.of(int(text, 0))

    def symbol(self, text: Token) -> Expr:
        return Expr.symbol(str(text))

    def negative(self, value: Expr) -> Expr:
        return -value

    def add(self, left: Expr, right: Expr) -> Expr:
        return left + right

    def subtract(self, left: Expr, right: Expr) -> Expr:
        return left - right

    def multiply(self, left: Expr, right: Expr) -> Expr:
        return left * right

    def divide(self, left: Expr, right: Expr) -> Expr:
        return left // right

    def remainder(self, left: Expr, right: Expr) -> Expr:
        return left % right

    def apply(self, name: Token, left: Expr, right: Expr) -> Expr:
        if name not in FUNCTIONS:
            _fail(name.line or 0, "CB0581", f"no function {name}", f"there are {', '.join(FUNCTIONS)}")
        return FUNCTIONS[name](left, right)

    def real(self, text: Token) -> float:
        return float(text)

    def bits(self, text: Token) -> float:
        return struct.unpack(">d", bytes.fromhex(text[7:-1]))[0]

    def quoted(self, text: Token) -> str:
        return json.loads(text)

    def bare(self, text: Token) -> str:
        return str(text)

    def whole(self, text: Token) -> int:
        return int(text, 0)

    def minus(self, text: Token) -> int:
        return -int(text, 0)

    def exprs(self, *values: Expr) -> tuple[Expr, ...]:
        return values

    def names(self, *values: str | None) -> tuple[str, ...]:
        return tuple(v for v in values if v is not None)

    def row(self, *values: int | None) -> list[int]:
        return [v for v in values if v is not None]

    def form(self, dtype: Token, shape: tuple[Expr, ...] | None) -> Layout:
        dims = shape or ()
        return Layout(str(dtype), dims, tuple(product(dims[i + 1 :]) for i in range(len(dims))))

    def layout(self, form: Layout, strides: tuple[Expr, ...] | None = None) -> Layout:
        return form if strides is None else Layout(form.dtype, form.shape, strides)

    def address(self, space: Token | None, offset: Expr) -> Address:
        return Address(None if space is None else str(space), offset)

    def tensor(self, address: Address, layout: Layout) -> Place:
        return Place(address, layout)

    def operand(self, name: Token, value: Any) -> tuple[str, Any]:
        return str(name), value

    @v_args(inline=False, meta=True)
    def instruction(self, meta: Meta, children: list[Any]) -> Line:
        mnemonic, *operands, node, operation = children
        given: dict[str, Any] = {}
        for name, value in filter(None, operands):
            if name in given:
                _fail(meta.line, "CB0582", f"operand {name} is given twice")
            given[name] = value
        return Line(str(mnemonic), given, node or 0, operation or 0, meta.line)

    def port(self, direction: Token, name: str, form: Layout, address: Address) -> tuple[str, str, Layout, Address]:
        return str(direction), name, form, address

    @v_args(inline=False, meta=True)
    def named_tensor(self, meta: Meta, children: list[Any]) -> Named:
        operation, names, place = children
        return Named(operation, names, place, meta.line)

    def nodes(self, *rows: list[int]) -> list[list[int]]:
        return list(rows)

    def stream(self, name: str, *instructions: Line) -> tuple[str, tuple[Line, ...]]:
        return name, instructions

    @v_args(inline=False)
    def start(self, children: list[Any]) -> Source:
        source = Source()
        for child in children:
            source.parts.setdefault(str(child.data), []).append((child.meta.line, child.children))
        return source


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = (resources.files("crossbank.runtime.assembly") / "grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def parse(text: str) -> Source:
    """The directives of a text; ProgramError CB0580 names the line and column of what is not understood."""
    try:
        tree: Tree[Token] = _parser().parse(text)  # pyright: ignore[reportUnknownMemberType]
    except UnexpectedInput as error:
        written = text.splitlines() or [""]
        early = getattr(getattr(error, "token", None), "type", "") == "$END"
        line = len(written) if early else min(max(error.line, 1), len(written))
        shown = "the text ends too early: " if early else f"column {error.column}: not understood: "
        _fail(line, "CB0580", shown + written[line - 1].strip()[:100], "crossbank dis shows the form")
    try:
        return _Reader().transform(tree)  # pyright: ignore[reportUnknownMemberType]
    except VisitError as error:
        if isinstance(error.orig_exc, ProgramError):
            raise error.orig_exc from None
        if isinstance(error.orig_exc, ExprError | ValueError):
            place = cast("Any", error.obj)  # pyright: ignore[reportUnknownMemberType]
            _fail(place.meta.line if isinstance(place, Tree) else place.line, "CB0580", str(error.orig_exc))
        raise


def assemble(text: str) -> Code:
    """The program of a text; ProgramError CB058x names the line of what is wrong."""
    source = parse(text)
    spaces = {name: Space(name, n, kind, used, room) for name, n, kind, used, room in source.all("space")}
    pools = Pools(
        expressions=[e for (e,) in source.all("expression")],
        layouts=[layout for (layout,) in source.all("layout_entry")],
        registers=[name for name, _, _ in source.all("register")],
        blocks=[name for name, *_ in source.all("block")],
        tables=[name for name, *_ in source.all("table")],
    )
    builder = _Builder(spaces, pools)
    code = Code(
        target=source.one("target", ""),
        system=json.loads(source.one("system", "{}")),
        engines={name: Engine(name, kind, isa, json.loads(c)) for name, kind, isa, c in source.all("engine")},
        spaces=spaces,
        registers={name: (low, high) for name, low, high in source.all("register")},
        dimensions=source.one("dimensions", ()),
        capacity=dict(source.all("capacity")),  # pyright: ignore[reportArgumentType]
        expressions=pools.expressions,
        layouts=pools.layouts,
        functions=source.made("function", builder.function),
        blocks=source.made("block", builder.block),
        tables=source.made("table", _table),
        tokens=source.one("tokens", 0),
        nodes=[name for (name,) in source.all("node")],
        constants=source.made("constant", builder.constant),
        states=tuple(State(*arguments) for arguments in source.all("state")),
        limits=dict(source.all("limit")),  # pyright: ignore[reportArgumentType]
        context_of=dict(source.all("role")),  # pyright: ignore[reportArgumentType]
        summary=json.loads(source.one("summary", "{}")),
    )
    return code


def _table(line: int, name: str, columns: tuple[str, ...], *rows: list[int]) -> Table:
    for row in rows:
        if len(row) != len(columns):
            _fail(line, "CB0582", f"a row of table {name} has {len(row)} values for {len(columns)} columns")
    return Table(name, columns, np.array(rows, np.int64).reshape(len(rows), len(columns)))


class _Builder:
    """Encodes what refers to spaces and pools."""

    def __init__(self, spaces: Mapping[str, Space], pools: Pools) -> None:
        self.spaces, self.pools = spaces, pools
        self.declared = frozenset(pools.registers)

    def address(self, written: Address, line: int) -> Expr:
        """The byte address of an address as written."""
        self.check(written.offset, line)
        if written.space is None:
            return written.offset
        if written.space not in self.spaces:
            _fail(line, "CB0582", f"no memory space {written.space!r}", f"there are {', '.join(self.spaces)}")
        return written.offset + (self.spaces[written.space].number << SPACE_SHIFT)

    def check(self, expression: Expr, line: int) -> None:
        """Refuse an expression of registers that are not declared."""
        for name in sorted(expression.symbols - self.declared):
            close = difflib.get_close_matches(name, self.declared, n=1)
            help = f"did you mean {close[0]!r}?" if close else f"declare it: register {name} [0, 1]"
            _fail(line, "CB0582", f"no register {name!r}", help)

    def function(self, line: int, name: str, block: str, *ports: tuple[str, str, Layout, Address]) -> Function:
        """A function with its ports."""
        if block not in self.pools.blocks:
            _fail(line, "CB0582", f"no block {block!r}")
        made = [(d, Port(n, form.dtype, form.shape, self.fixed(at, line))) for d, n, form, at in ports]
        inputs = tuple(port for direction, port in made if direction == "input")
        return Function(name, block, inputs, tuple(port for direction, port in made if direction == "output"))

    def fixed(self, written: Address, line: int) -> int:
        """The byte address of an address without registers."""
        address = self.address(written, line)
        if not address.is_constant:
            _fail(line, "CB0582", f"{written.offset} is no fixed address")
        return address.constant

    def constant(self, line: int, name: str, form: Layout, at: Address) -> Constant:
        """A constant tensor."""
        if not all(dim.is_constant for dim in form.shape):
            _fail(line, "CB0582", f"constant {name} has no fixed shape")
        return Constant(name, form.dtype, tuple(dim.constant for dim in form.shape), self.fixed(at, line))

    def block(
        self,
        line: int,
        name: str,
        parameters: tuple[str, ...],
        nodes: list[list[int]],
        *parts: Named | tuple[str, tuple[Line, ...]],
    ) -> Block:
        """A block with its streams encoded."""
        if len({len(row) for row in nodes}) > 1:
            _fail(line, "CB0582", f"the node rows of block {name} differ in length")
        table = np.array(nodes, np.int32).reshape(len(nodes), len(nodes[0]) if nodes else 0)
        streams = [part for part in parts if not isinstance(part, Named)]
        encoded = {engine: records(self.record(line) for line in written) for engine, written in streams}
        named = (part for part in parts if isinstance(part, Named))
        return Block(name, parameters, encoded, table, tuple(self.named(part) for part in named))

    def named(self, written: Named) -> NamedTensor:
        """A tensor of the ONNX file."""
        for dim in (*written.place.layout.shape, *written.place.layout.strides):
            self.check(dim, written.line)
        address = self.address(written.place.address, written.line)
        return NamedTensor(written.operation, written.names, address, written.place.layout)

    def record(self, line: Line) -> Any:
        """One record."""
        isa, instruction = _instruction(line)
        fields = {entry.name: entry for entry in instruction.fields}
        for name in line.operands:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                help = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(fields) or 'none'}"
                _fail(line.line, "CB0582", f"{line.mnemonic} has no operand {name!r}", help)
        try:
            operands = {name: self.operand(fields[name], value, line) for name, value in line.operands.items()}
            return encode(isa, instruction, operands, line.node, self.pools, line.operation)
        except ProgramError as error:
            raise ProgramError(error.code, error.message, f"line {line.line}", error.help) from error

    def operand(self, entry: Field, value: Any, line: Line) -> Operand:
        """An operand as the encoder takes it."""
        if isinstance(value, Place):
            for dim in (*value.layout.shape, *value.layout.strides):
                self.check(dim, line.line)
            return Tensor(self.address(value.address, line.line), value.layout)
        if not isinstance(value, Expr):
            return value
        match entry.kind:
            case Kind.REGISTER | Kind.BLOCK | Kind.TABLE:
                name = str(value)
                known = {Kind.REGISTER: self.declared, Kind.BLOCK: self.pools.blocks, Kind.TABLE: self.pools.tables}
                if name not in known[entry.kind]:
                    _fail(line.line, "CB0582", f"no {entry.kind} {name!r}")
                return name
            case Kind.ENUM:
                return str(value)
            case Kind.FLOAT | Kind.TOKEN:
                if not value.is_constant:
                    _fail(line.line, "CB0582", f"operand {entry.name} is {value}, not a number")
                return value.constant
            case _:
                self.check(value, line.line)
                return value


def _instruction(line: Line) -> tuple[InstructionSet, Instruction]:
    name, _, mnemonic = line.mnemonic.partition(".")
    try:
        isa = instruction_set(name)
    except ProgramError as error:
        _fail(line.line, error.code, error.message, error.help)
    if mnemonic not in isa.instructions:
        close = difflib.get_close_matches(mnemonic, isa.instructions, n=1)
        help = f"did you mean {name}.{close[0]}?" if close else f"it has {', '.join(isa.instructions)}"
        _fail(line.line, "CB0581", f"{name} has no instruction {mnemonic!r}", help)
    return isa, isa.instructions[mnemonic]
