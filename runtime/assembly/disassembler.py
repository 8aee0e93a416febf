"""A program as text that the assembler reads back, record for record."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crossbank.runtime.expr import Expr, product
from crossbank.runtime.isa import Kind
from crossbank.runtime.program import SPACE_SHIFT, Block, Code, Function, Layout
from crossbank.runtime.records import Decoded, Decoder, Operand, Tensor

_BARE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def disassemble(code: Code) -> str:
    """The text of a whole program."""
    return "\n".join(lines(code)) + "\n"


def lines(code: Code) -> Iterator[str]:
    """The text of a program, line by line."""
    yield from _head(code)
    for name in code.blocks:
        yield ""
        yield from block_lines(code, name)


def block_lines(code: Code, name: str) -> Iterator[str]:
    """One block: each stream an instruction a line, loops indented, its program node as a comment."""
    block, decoder = code.blocks[name], Decoder(code)
    yield f"block {_name(name)} {_names(block.parameters)} {{"
    yield f"  nodes {{{_rows(block.nodes.tolist())}}}"
    for value in block.values:
        place = f"{_address(code, value.address)}:{layout_text(value.layout)}"
        yield f"  value @{value.operation} {_names(value.names)} = {place}"
    for engine in block.streams:
        yield f"  stream {_name(engine)} {{"
        depth = 2
        for decoded in decoder.stream(name, engine):
            depth -= decoded.name == "core.end"
            text = instruction_text(code, decoded)
            node = _node(code, block, decoded)
            yield f"{'  ' * max(depth, 2)}{text}" + (f"  ; {node}" if node else "")
            depth += decoded.name == "core.loop"
        yield "  }"
    yield "}"


def instruction_text(code: Code, decoded: Decoded) -> str:
    """One instruction, such as `simd.copy dst=mem[0x40]:float32[batch, 4], src=io[0x0]:float32[batch, 4] !2 @5`."""
    fields = {entry.name: entry for entry in decoded.instruction.fields}
    operands = [
        f"{name}={_operand(code, fields[name].kind, value)}"
        for name, value in decoded.operands.items()
        if value is not None
    ]
    slot = f" !{decoded.node}" if decoded.node else ""
    slot += f" @{decoded.operation}" if decoded.operation else ""
    return f"{decoded.name} {', '.join(operands)}".rstrip() + slot


def _operand(code: Code, kind: Kind, value: Operand) -> str:
    if isinstance(value, Tensor):
        return f"{_address(code, value.address)}:{layout_text(value.layout)}"
    if kind is Kind.FLOAT:
        assert isinstance(value, float)
        return repr(value) if math.isfinite(value) else f"bits(0x{struct.pack('>d', value).hex()})"
    if kind is Kind.ENUM:
        return str(getattr(value, "name", value)).lower()
    if kind in (Kind.REGISTER, Kind.BLOCK, Kind.TABLE):
        return _name(str(value))
    return str(value)


def _address(code: Code, address: Expr) -> str:
    constant = next((c for monomial, c in address.terms if not monomial), 0)
    for space in code.spaces.values():
        if space.number == constant >> SPACE_SHIFT and _BARE.fullmatch(space.name):
            rest = address - (space.number << SPACE_SHIFT)
            return f"{space.name}[{rest.constant:#x}]" if rest.is_constant else f"{space.name}[{rest}]"
    return f"[{address}]"


def _form(dtype: str, shape: Iterable[Expr | int]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def layout_text(layout: Layout) -> str:
    """A layout such as `float32[batch, 768]`; strides in elements follow in parentheses where not C-contiguous."""
    contiguous = tuple(product(layout.shape[i + 1 :]) for i in range(len(layout.shape)))
    strides = "" if layout.strides == contiguous else f"({', '.join(map(str, layout.strides))})"
    return _form(layout.dtype, layout.shape) + strides


def _node(code: Code, block: Block, decoded: Decoded) -> str:
    if not len(block.nodes) or decoded.node >= block.nodes.shape[1]:
        return ""
    number = int(block.nodes[0, decoded.node])
    return code.nodes[number].replace("\n", " ") if 0 <= number < len(code.nodes) else ""


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _names(names: Iterable[str]) -> str:
    return f"({', '.join(map(_name, names))})"


def _rows(rows: Iterable[Iterable[int]]) -> str:
    return " ".join(f"({', '.join(map(str, row))})" for row in rows)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=str)


def _head(code: Code) -> Iterator[str]:
    yield f"target {_name(code.target)}"
    yield f"system {_json(code.system)}"
    yield f"summary {_json(code.summary)}"
    for engine in code.engines.values():
        form = f"kind={_name(engine.kind)} isa={_name(engine.isa)} config={_json(engine.config)}"
        yield f"engine {_name(engine.name)} {form}"
    for space in code.spaces.values():
        room = "" if space.capacity_bytes is None else f" capacity={space.capacity_bytes}"
        form = f"number={space.number} kind={_name(space.kind)} used={space.used_bytes}{room}"
        yield f"space {_name(space.name)} {form}"
    for name, (low, high) in code.registers.items():
        yield f"register {_name(name)} [{low}, {high}]"
    yield f"dimensions {_names(code.dimensions)}"
    for name, value in code.capacity.items():
        yield f"capacity {_name(name)} = {value}"
    yield f"tokens {code.tokens}"
    for name, limit in code.limits.items():
        yield f"limit {_name(name)} = {limit}"
    for role, name in code.context_of.items():
        yield f"role {_name(role)} = {_name(name)}"
    for name in code.nodes:
        yield f"node {_name(name)}"
    for constant in code.constants.values():
        place = _address(code, Expr.of(constant.address))
        yield f"constant {_name(constant.name)} {_form(constant.dtype, constant.shape)} at {place}"
    for state in code.states:
        ports = [f" {k}={_name(v)}" for k, v in (("input", state.input), ("output", state.output)) if v is not None]
        yield f"state {_name(state.name)}{''.join(ports)} axis={state.axis} past={state.past}"
    for expression in code.expressions:
        yield f"expression {expression}"
    for layout in code.layouts:
        yield f"layout {layout_text(layout)}"
    for table in code.tables.values():
        yield f"table {_name(table.name)} {_names(table.columns)} {{"
        for row in table.values.tolist():
            yield f"  {_rows([row])}"
        yield "}"
    for function in code.functions.values():
        yield from _function(code, function)


def _function(code: Code, function: Function) -> Iterator[str]:
    yield f"function {_name(function.name)} = {_name(function.block)} {{"
    for direction, ports in (("input", function.inputs), ("output", function.outputs)):
        for port in ports:
            place = _address(code, Expr.of(port.address))
            yield f"  {direction} {_name(port.name)} {_form(port.dtype, port.shape)} at {place}"
    yield "}"
