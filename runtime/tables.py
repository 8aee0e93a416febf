"""What the tables of a program must say before any record is looked at."""

from __future__ import annotations

from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import SPACE_SHIFT, Code, NamedTensor, ProgramError

SPACE_KINDS = ("io", "memory", "const", "private")
MAX_SPACE_BYTES = 1 << SPACE_SHIFT
MAX_TOKENS = 1 << 20


def check_tables(code: Code) -> None:
    """Check the tables of a program; ProgramError CB0530 says what is wrong, CB0520 which memory is too small."""
    _check_spaces(code)
    _check_layouts(code)
    _check_blocks(code)
    for name, (low, high) in code.registers.items():
        if not -(1 << 62) <= low <= high <= 1 << 62:
            raise _bad(f"register {name} runs from {low} to {high}")
    if not 0 <= code.tokens <= MAX_TOKENS:
        raise _bad(f"{code.tokens} tokens are not 0 to {MAX_TOKENS}")
    for table in code.tables.values():
        if table.values.ndim != 2 or table.values.shape[1] != len(table.columns):
            raise _bad(f"table {table.name} has {table.values.shape} values for {len(table.columns)} columns")


def _bad(message: str, help: str = "") -> ProgramError:
    return ProgramError("CB0530", message, help=help)


def _check_spaces(code: Code) -> None:
    numbers = [space.number for space in code.spaces.values()]
    if len(set(numbers)) != len(numbers) or any(n < 0 or n >= 1 << (63 - SPACE_SHIFT) for n in numbers):
        raise _bad(f"memory spaces have numbers {numbers}: each needs its own")
    for space in code.spaces.values():
        if space.kind not in SPACE_KINDS:
            raise _bad(f"memory {space.name} is of kind {space.kind!r}, not one of {', '.join(SPACE_KINDS)}")
        if not 0 <= space.used_bytes <= MAX_SPACE_BYTES:
            raise _bad(f"memory {space.name} has {space.used_bytes} bytes")
        if space.capacity_bytes is not None and space.used_bytes > space.capacity_bytes:
            raise ProgramError(
                "CB0520", f"memory {space.name} needs {space.used_bytes} bytes and holds {space.capacity_bytes}",
                help="compile with a smaller --context or --max-batch, or more --chips",
            )  # fmt: skip
    kinds = {space.number: space.kind for space in code.spaces.values()}
    end = 0
    for constant in sorted(code.constants.values(), key=lambda constant: constant.address):
        if kinds.get(constant.address >> SPACE_SHIFT) != "const" or constant.address < end:
            raise _bad(f"constant {constant.name} at {constant.address:#x} has no place of its own in constant memory")
        _check_dtype(constant.dtype)
        if any(dim < 0 for dim in constant.shape):
            raise _bad(f"constant {constant.name} has dimensions {list(constant.shape)}")
        end = constant.address + constant.size_bytes


def _check_dtype(name: str) -> None:
    try:
        dtype_of(name)
    except ValueError as error:
        raise _bad(str(error)) from None


def _check_layouts(code: Code) -> None:
    for layout in code.layouts:
        _check_dtype(layout.dtype)
        if len(layout.shape) != len(layout.strides):
            raise _bad(f"a layout has {len(layout.shape)} dimensions and {len(layout.strides)} strides")
    for function in code.functions.values():
        for port in (*function.inputs, *function.outputs):
            _check_dtype(port.dtype)


def _check_blocks(code: Code) -> None:
    for function in code.functions.values():
        if function.block not in code.blocks:
            raise _bad(f"function {function.name} starts in block {function.block!r}, which is missing")
        if code.blocks[function.block].parameters:
            raise _bad(f"function {function.name} starts in block {function.block!r}, which needs a call's parameters")
    for block in code.blocks.values():
        for engine in block.streams:
            if engine not in code.engines:
                raise _bad(f"block {block.name} has a stream for engine {engine!r}, which is missing")
        for value in block.values:
            _check_value(code, value)
        nodes = block.nodes
        if nodes.ndim != 2 or (nodes.size and not (nodes.min() >= -1 and nodes.max() < len(code.nodes))):
            raise _bad(f"block {block.name} names nodes that are missing")


def _check_value(code: Code, value: NamedTensor) -> None:
    layout, name = value.layout, next(iter(value.names), "a tensor")
    _check_dtype(layout.dtype)
    if len(layout.shape) != len(layout.strides):
        raise _bad(f"{name} has {len(layout.shape)} dimensions and {len(layout.strides)} strides")
    for part in (value.address, *layout.shape, *layout.strides):
        if missing := part.symbols - code.registers.keys():
            raise _bad(f"{name} lies where register {min(missing)} says, which is missing")
