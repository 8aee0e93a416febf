"""The dialect of an instruction set: one operation class per declared instruction, derived from the declaration.

`simd.softmax` has a property per field: `#imc.view` for a tensor, an expression as text for a count, the lower-case
member name for an enum, a 64-bit float for a number. The attribute `engine` says whose stream it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeAlias

from xdsl.dialects.builtin import Float64Type, FloatAttr, StringAttr, f64
from xdsl.ir import Attribute, Dialect, Operation
from xdsl.irdl import IRDLOperation, attr_def, irdl_op_definition, opt_prop_def, prop_def
from xdsl.utils.exceptions import VerifyException

from crossbank.dialects.imc import ViewAttr
from crossbank.runtime.expr import Expr, ExprError
from crossbank.runtime.isa import Access, Field, Instruction, InstructionSet, Kind
from crossbank.runtime.numerics import dtype_of

FieldValue: TypeAlias = "ViewAttr | Expr | int | float | str | None"


class InstructionOp(IRDLOperation):
    """An instruction in buffer form; the subclasses come from `dialect_of`."""

    ISA: ClassVar[InstructionSet]
    INSTRUCTION: ClassVar[Instruction]
    engine = attr_def(StringAttr)

    def verify_(self) -> None:
        for field in self.INSTRUCTION.fields:
            value = self.properties.get(field.name)
            if value is not None:
                try:
                    _check(field, value)
                except (ExprError, ValueError) as error:
                    raise VerifyException(f"{self.name}: {field.name}: {error}") from error


@dataclass(frozen=True)
class FieldAccess:
    """A view that an instruction reads, writes completely, or updates."""

    field: str
    view: ViewAttr
    access: Access


def _check(field: Field, value: Attribute) -> None:
    match value:
        case ViewAttr():
            dtype_of(value.dtype.data)
        case StringAttr() if field.kind is Kind.COUNT:
            count = Expr.of(value.data)
            if count.is_constant and not field.low <= count.constant < 1 << field.bits:
                raise ValueError(f"{count} is outside {field.low} to {(1 << field.bits) - 1}")
        case StringAttr() if field.members is not None:
            if value.data.upper() not in field.members.__members__:
                known = ", ".join(name.lower() for name in field.members.__members__)
                raise ValueError(f"{value.data!r} is not one of {known}")
        case _:
            pass


def _property(field: Field) -> object:
    define = opt_prop_def if field.optional else prop_def
    match field.kind:
        case Kind.ADDRESS:
            return define(ViewAttr, prop_name=field.name)
        case Kind.FLOAT:
            return define(FloatAttr[Float64Type], prop_name=field.name)
        case Kind.COUNT | Kind.ENUM:
            return define(StringAttr, prop_name=field.name)
        case _:
            raise ValueError(f"an instruction of a family can't have a field of kind {field.kind}")


def _operation(isa: InstructionSet, instruction: Instruction) -> type[InstructionOp]:
    name = "".join(part.capitalize() for part in f"{isa.name}_{instruction.mnemonic}".split("_")) + "Op"
    members: dict[str, object] = {
        "name": f"{isa.name}.{instruction.mnemonic}",
        "ISA": isa,
        "INSTRUCTION": instruction,
        "__doc__": instruction.doc,
        "__module__": __name__,
        **{f"field_{field.name}": _property(field) for field in instruction.fields},
    }
    members["__annotations__"] = {"ISA": "ClassVar[InstructionSet]", "INSTRUCTION": "ClassVar[Instruction]"}
    return irdl_op_definition(type(name, (InstructionOp,), members))


_DIALECTS: dict[int, Dialect] = {}
_CLASSES: dict[tuple[int, str], type[InstructionOp]] = {}


def dialect_of(isa: InstructionSet) -> Dialect:
    """The dialect of an instruction set, named like it; made once per set."""
    if id(isa) not in _DIALECTS:
        operations = {name: _operation(isa, entry) for name, entry in isa.instructions.items()}
        _CLASSES.update({(id(isa), name): operation for name, operation in operations.items()})
        _DIALECTS[id(isa)] = Dialect(isa.name, list(operations.values()))
    return _DIALECTS[id(isa)]


def instruction_op(isa: InstructionSet, mnemonic: str, engine: str, **operands: FieldValue) -> InstructionOp:
    """The operation of an instruction; KeyError for an unknown mnemonic or field, TypeError for an unfit operand."""
    dialect_of(isa)
    operation = _CLASSES[id(isa), mnemonic]
    fields = {field.name: field for field in operation.INSTRUCTION.fields}
    unknown = operands.keys() - fields.keys()
    if unknown:
        raise KeyError(f"{isa.name}.{mnemonic} has no field {', '.join(sorted(unknown))}")
    properties: dict[str, Attribute] = {}
    for name, field in fields.items():
        value = operands.get(name)
        if value is not None:
            properties[name] = _attribute(f"{isa.name}.{mnemonic}", field, value)
        elif not field.optional:
            raise KeyError(f"{isa.name}.{mnemonic} needs {name}")
    return operation.create(properties=properties, attributes={"engine": StringAttr(engine)})


@cache
def _text(value: str) -> StringAttr:
    return StringAttr(value)


def _attribute(name: str, field: Field, value: FieldValue) -> Attribute:
    match field.kind, value:
        case Kind.ADDRESS, ViewAttr():
            return value
        case Kind.COUNT, Expr() | int():
            return _text(str(Expr.of(value)))
        case Kind.COUNT, str():
            return _text(str(Expr.of(value)))
        case Kind.ENUM, str():
            return _text(value.lower())
        case Kind.FLOAT, int() | float():
            return FloatAttr(float(value), f64)
        case _:
            raise TypeError(f"{name}: {field.name} can't be {value!r}")


def field_accesses(op: Operation) -> Iterator[FieldAccess]:
    """The views that an instruction touches, in field order; none for an operation that is no instruction."""
    if not isinstance(op, InstructionOp):
        return
    for field in op.INSTRUCTION.fields:
        view = op.properties.get(field.name)
        if field.access is not None and isinstance(view, ViewAttr):
            yield FieldAccess(field.name, view, field.access)


def operand_values(op: InstructionOp) -> dict[str, ViewAttr | Expr | float | str | None]:
    """An instruction's operands by field name: views, expressions, numbers and member names; None for an absent one."""
    values: dict[str, ViewAttr | Expr | float | str | None] = {}
    for field in op.INSTRUCTION.fields:
        match op.properties.get(field.name):
            case ViewAttr() as view:
                values[field.name] = view
            case StringAttr(data=text):
                values[field.name] = Expr.of(text) if field.kind is Kind.COUNT else text
            case FloatAttr() as number:
                values[field.name] = number.value.data
            case _:
                values[field.name] = None
    return values
