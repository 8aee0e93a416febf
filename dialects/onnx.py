"""The file's own level: one operation class per ONNX operator, made from the ONNX schemas when first asked for.

The class of an operator spans all its versions; attribute `version` says which opset of its domain the model uses.
Operators without an ONNX schema (com.microsoft and others) are `onnx.Custom`. `onnx.dims_value` is an integer tensor
whose elements are expressions of named dimensions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    f32,
    f64,
    i64,
)
from xdsl.dialects.builtin import BytesAttr as Bytes
from xdsl.ir import Attribute, Dialect, Operation, ParametrizedAttribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    AttrSizedResultSegments,
    BaseAttr,
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    opt_result_def,
    param_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from crossbank.dialects.shape import DimsAttr, dtype_of, element_of, shape_of, tensor
from crossbank.runtime.expr import Expr, ExprError
from crossbank.runtime.numerics import dtype_of as numpy_dtype

VERSION = "version"


@irdl_attr_definition
class BlobAttr(ParametrizedAttribute):
    """A small array that `dense<>` can't write (infinities, NaN, sub-byte types): dtype, shape, bytes as hex digits."""

    name = "onnx.blob"
    dtype: StringAttr = param_def()
    shape: ArrayAttr[IntegerAttr] = param_def()
    data: StringAttr = param_def()

    def array(self) -> NDArray[Any]:
        shape = [dim.value.data for dim in self.shape]
        return np.frombuffer(bytes.fromhex(self.data.data), numpy_dtype(self.dtype.data)).reshape(shape)

    def verify(self) -> None:
        try:
            self.array()
        except ValueError as error:
            raise VerifyException(str(error)) from error


@irdl_op_definition
class DimsValueOp(IRDLOperation):
    """An integer tensor of expressions of named dimensions, in C order: ["batch", "past + seq", "64"]."""

    name = "onnx.dims_value"
    value = prop_def(ArrayAttr[StringAttr])
    result = result_def()
    traits = traits_def(Pure())

    @property
    def exprs(self) -> tuple[Expr, ...]:
        return tuple(Expr.of(text.data) for text in self.value)

    def verify_(self) -> None:
        try:
            count = len(self.exprs)
        except ExprError as error:
            raise VerifyException(str(error)) from error
        shape = shape_of(self.result)
        if not all(dim.is_constant for dim in shape):
            raise VerifyException("the result has a symbolic shape")
        size = int(np.prod([dim.constant for dim in shape], dtype=np.int64))
        if count != size:
            raise VerifyException(f"{count} expressions for {size} elements")


@irdl_op_definition
class CustomOp(IRDLOperation):
    """A node of an operator without ONNX schema: `positions` says which input each operand is, for results likewise."""

    name = "onnx.Custom"
    domain = prop_def(StringAttr)
    op_type = prop_def(StringAttr)
    node_attributes = prop_def(DictionaryAttr)
    positions = prop_def(ArrayAttr[IntegerAttr])
    result_positions = prop_def(ArrayAttr[IntegerAttr])
    args = var_operand_def()
    outs = var_result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        for what, positions, values in (
            ("operands", self.positions, self.args),
            ("results", self.result_positions, self.outs),
        ):
            numbers = [position.value.data for position in positions]
            if len(numbers) != len(values):
                raise VerifyException(f"{len(numbers)} positions for {len(values)} {what}")
            if numbers != sorted(set(numbers)) or (numbers and numbers[0] < 0):
                raise VerifyException(f"positions of {what} must rise")


@cache
def schemas() -> Mapping[str, Sequence[Any]]:
    """All versions of each ai.onnx operator, oldest first."""
    from onnx import defs

    found: dict[str, list[Any]] = defaultdict(list)
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name].append(schema)
    for versions in found.values():
        versions.sort(key=lambda schema: schema.since_version)
    return found


@lru_cache(maxsize=4096)
def schema_of(op_type: str, version: int) -> Any | None:
    """The schema of an ai.onnx operator at an opset version; None where there is none."""
    fitting = [schema for schema in schemas().get(op_type, ()) if schema.since_version <= version]
    return fitting[-1] if fitting and not fitting[-1].deprecated else None


_KINDS: Mapping[str, Any] = {
    "INT": IntegerAttr,
    "FLOAT": FloatAttr,
    "STRING": StringAttr,
    "INTS": ArrayAttr[IntegerAttr],
    "FLOATS": ArrayAttr[FloatAttr],
    "STRINGS": ArrayAttr[StringAttr],
    "TENSOR": BaseAttr(DenseIntOrFPElementsAttr) | BaseAttr(BlobAttr),
}


def _options(versions: Sequence[Any], side: str) -> list[tuple[str, str]]:
    """Name and option (single, optional, variadic) of each formal parameter, over all versions."""
    longest = max(versions, key=lambda schema: (len(getattr(schema, side)), schema.since_version))
    merged: list[tuple[str, str]] = []
    for i, parameter in enumerate(getattr(longest, side)):
        per_version = [getattr(schema, side) for schema in versions]
        options = {params[i].option.name if i < len(params) else "Optional" for params in per_version}
        option = "Variadic" if "Variadic" in options else "Single" if options == {"Single"} else "Optional"
        merged.append((parameter.name, option))
    return merged


_OPERANDS = {"Single": operand_def, "Optional": opt_operand_def, "Variadic": var_operand_def}
_RESULTS = {"Single": result_def, "Optional": opt_result_def, "Variadic": var_result_def}
_RESERVED = frozenset(dir(IRDLOperation)) | {"name", "version"}


def _field(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken or name in _RESERVED:
        name = f"{name}_"
    return name


@cache
def op_class(op_type: str) -> type[IRDLOperation]:
    """The operation class of an ai.onnx operator; KeyError for an operator without schema."""
    versions = schemas()[op_type]
    body: dict[str, Any] = {
        "__doc__": f"ONNX operator {op_type}.",
        "name": f"onnx.{op_type}",
        "traits": traits_def(Pure()),
    }
    inputs, outputs = _options(versions, "inputs"), _options(versions, "outputs")
    for parameter, option in inputs:
        body[_field(parameter, body)] = _OPERANDS[option]()
    for parameter, option in outputs:
        body[_field(parameter, body)] = _RESULTS[option]()
    kinds: dict[str, set[str]] = defaultdict(set)
    for schema in versions:
        for attribute, description in schema.attributes.items():
            kinds[attribute].add(description.type.name)
    for attribute, found in kinds.items():
        constraints = [_KINDS[kind] for kind in sorted(found) if kind in _KINDS]
        if constraints:
            constraint: Any = constraints[0]
            for other in constraints[1:]:
                constraint = constraint | other
            body[_field(attribute, body)] = opt_prop_def(constraint, prop_name=attribute)
    options: list[Any] = []
    if sum(option != "Single" for _, option in inputs) > 1:
        options.append(AttrSizedOperandSegments(as_property=True))
    if sum(option != "Single" for _, option in outputs) > 1:
        options.append(AttrSizedResultSegments(as_property=True))
    body["irdl_options"] = tuple(options)
    body["__module__"] = __name__
    return irdl_op_definition(type(f"{op_type}Op", (IRDLOperation,), body))


class OnnxDialect(Dialect):
    """The dialect; its operator classes are made when the list of operations is read."""

    @property
    def operations(self) -> Iterator[type[Operation]]:
        yield from (op_class(op_type) for op_type in schemas())
        yield from self._operations


ONNX = OnnxDialect("onnx", [DimsValueOp, CustomOp], [DimsAttr, BlobAttr])


# ------------------------------------------------------------------ building


_DENSE = frozenset(
    ["bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)


def dense(values: NDArray[Any]) -> DenseIntOrFPElementsAttr[Any] | BlobAttr:
    """An attribute that holds an array."""
    data = np.asarray(values, order="C")
    if data.dtype.name not in _DENSE or (data.dtype.kind == "f" and not all(map(_decimal, data.reshape(-1)))):
        shape = ArrayAttr([IntegerAttr(dim, i64) for dim in values.shape])
        return BlobAttr(StringAttr(data.dtype.name), shape, StringAttr(data.tobytes().hex()))
    if data.dtype == bool:
        data = np.where(data, np.int8(-1), np.int8(0))  # an i1 that is true reads back as -1
    return DenseIntOrFPElementsAttr(  # pyright: ignore[reportUnknownVariableType]
        TensorType(element_of(values.dtype.name), values.shape),  # pyright: ignore[reportArgumentType]
        Bytes(data.tobytes()),
    )


def _decimal(value: np.floating[Any]) -> bool:
    """Whether xDSL prints a float of `dense<>` in decimal: it can't read back those that it prints in hexadecimal."""
    if not np.isfinite(value):
        return False
    digits = {np.dtype(np.float32): ".9g", np.dtype(np.float64): ".17g"}.get(value.dtype, "")
    return type(value)(f"{value:.5e}") == value or "." in (f"{value:{digits}}" if digits else repr(float(value)))


def array_of(attribute: DenseIntOrFPElementsAttr[Any] | BlobAttr) -> NDArray[Any]:
    """The array that an attribute holds."""
    if isinstance(attribute, BlobAttr):
        return attribute.array()
    if attribute.type.element_type == element_of("bool"):
        return (np.frombuffer(attribute.data.data, np.int8) != 0).reshape(attribute.get_shape())
    dtype = numpy_dtype(dtype_of(attribute.type))
    return np.frombuffer(attribute.data.data, dtype=dtype).reshape(attribute.get_shape())


def encode(value: Any) -> Attribute:
    """The attribute of a Python value: int, float, str, bytes, array, or a sequence of the first three."""
    match value:
        case bool() | int():
            return IntegerAttr(int(value), i64)
        case float():
            exact = float(np.float32(value)) == value or value != value
            return FloatAttr(value, f32 if exact else f64)
        case str():
            return StringAttr(value)
        case bytes():
            return StringAttr(value.decode("utf-8", "backslashreplace"))
        case np.ndarray():
            return dense(cast("NDArray[Any]", value))
        case list() | tuple():
            return ArrayAttr([encode(item) for item in cast("Sequence[Any]", value)])
        case _:
            raise TypeError(f"no attribute for {type(value).__name__}")


def decode(attribute: Attribute) -> Any:
    """The Python value of an attribute made by `encode`."""
    match attribute:
        case IntegerAttr():
            return attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
        case DenseIntOrFPElementsAttr() | BlobAttr():
            return array_of(attribute)
        case ArrayAttr():
            return [decode(item) for item in attribute]
        case _:
            raise TypeError(f"{attribute} is no attribute of an ONNX node")


def _grouped(values: Sequence[Any | None], options: Sequence[tuple[str, str]], op_type: str) -> list[list[Any]]:
    """Values by formal parameter: a list of 0, 1 or more each."""
    groups: list[list[Any]] = []
    for i, (_, option) in enumerate(options):
        here = values[i:] if option == "Variadic" else values[i : i + 1]
        groups.append([value for value in here if value is not None])
    if options and options[-1][1] != "Variadic" and len(values) > len(options):
        raise ValueError(f"{op_type} takes {len(options)} values, not {len(values)}")
    return groups


def build(
    op_type: str,
    inputs: Sequence[SSAValue | None],
    types: Sequence[Attribute | None],
    attributes: Mapping[str, Any],
    version: int,
    domain: str = "",
) -> Operation:
    """An operation for a node: inputs and result types by position, None where the node leaves one out.

    Raises ValueError for an attribute or operand that the schema lacks.
    """
    encoded = {name: encode(value) for name, value in attributes.items()}
    if domain != "" or op_type not in schemas():
        op: Operation = CustomOp(
            operands=[[value for value in inputs if value is not None]],
            result_types=[[found for found in types if found is not None]],
            properties={
                "domain": StringAttr(domain),
                "op_type": StringAttr(op_type),
                "node_attributes": DictionaryAttr(encoded),
                "positions": encode([i for i, value in enumerate(inputs) if value is not None]),
                "result_positions": encode([i for i, found in enumerate(types) if found is not None]),
            },
        )
    else:
        made = op_class(op_type)
        versions = schemas()[op_type]
        known = {name for schema in versions for name in schema.attributes}
        if unknown := encoded.keys() - known:
            raise ValueError(f"{op_type} has no attribute {', '.join(sorted(unknown))}")
        op = made(
            operands=_grouped(inputs, _options(versions, "inputs"), op_type),
            result_types=_grouped(types, _options(versions, "outputs"), op_type),
            properties=encoded,
        )
    op.attributes[VERSION] = IntegerAttr(version, i64)
    return op


def constant(values: NDArray[Any], version: int) -> Operation:
    """An `onnx.Constant` that holds a small array."""
    return build("Constant", [], [tensor(values.dtype.name, values.shape)], {"value": values}, version)


# ------------------------------------------------------------------- reading


def is_onnx(op: Operation) -> bool:
    """Whether an operation is an ONNX node."""
    return op.name.startswith("onnx.") and not isinstance(op, DimsValueOp)


def op_type(op: Operation) -> str:
    """The operator of a node: "MatMul", or "com.microsoft:MatMulNBits" outside ai.onnx."""
    if isinstance(op, CustomOp):
        return f"{op.domain.data}:{op.op_type.data}" if op.domain.data else op.op_type.data
    return op.name.removeprefix("onnx.")


def version_of(op: Operation) -> int:
    """The opset version of the node's domain in the model."""
    version = op.attributes[VERSION]
    return version.value.data if isinstance(version, IntegerAttr) else 0


def attribute(op: Operation, name: str, default: Any = None) -> Any:
    """A node attribute as a Python value (int, float, str, array, or list of them), `default` where absent."""
    return attributes(op, (name,)).get(name, default)


def attributes(op: Operation, names: Sequence[str] | None = None) -> dict[str, Any]:
    """A node's attributes as Python values: all that are present, or those of `names`."""
    found = op.node_attributes.data if isinstance(op, CustomOp) else op.properties
    return {
        name: decode(value)
        for name, value in found.items()
        if not name.endswith("egmentSizes") and (names is None or name in names)
    }


def _positions(groups: Sequence[int], options: Sequence[tuple[str, str]], values: Sequence[Any]) -> list[Any | None]:
    """Values by position, None for absent ones, trailing ones left out."""
    placed: list[Any | None] = []
    rest = list(values)
    for size, (_, option) in zip(groups, options, strict=True):
        placed.extend(rest[:size] if size or option == "Variadic" else [None])
        rest = rest[size:]
    while placed and placed[-1] is None:
        placed.pop()
    return placed


def _sizes(op: Operation, options: Sequence[tuple[str, str]], count: int, segments: str) -> list[int]:
    found = op.properties.get(segments)
    if found is not None:
        return list(found.get_values())  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType,reportUnknownArgumentType,reportUnknownVariableType]
    free = count - sum(option == "Single" for _, option in options)
    return [1 if option == "Single" else free for _, option in options]


def inputs(op: Operation) -> list[SSAValue | None]:
    """The operands of a node by ONNX input position, None where the node leaves one out."""
    if isinstance(op, CustomOp):
        return _scatter([p.value.data for p in op.positions], op.operands)
    options = _options(schemas()[op_type(op)], "inputs")
    return _positions(_sizes(op, options, len(op.operands), "operandSegmentSizes"), options, op.operands)


def outputs(op: Operation) -> list[SSAValue | None]:
    """The results of a node by ONNX output position, None where the node leaves one out."""
    if isinstance(op, CustomOp):
        return _scatter([p.value.data for p in op.result_positions], op.results)
    options = _options(schemas()[op_type(op)], "outputs")
    return _positions(_sizes(op, options, len(op.results), "resultSegmentSizes"), options, op.results)


def _scatter(positions: Sequence[int], values: Sequence[SSAValue]) -> list[SSAValue | None]:
    placed: list[SSAValue | None] = [None] * (positions[-1] + 1 if positions else 0)
    for position, value in zip(positions, values, strict=True):
        placed[position] = value
    return placed
