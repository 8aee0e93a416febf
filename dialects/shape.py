"""Tensor types with named dimensions: builtin tensors whose encoding `#onnx.dims` holds an expression per dimension."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    ArrayAttr,
    BFloat16Type,
    Float4E2M1FNType,
    Float8E4M3FNType,
    Float8E4M3FNUZType,
    Float8E5M2FNUZType,
    Float8E5M2Type,
    Float8E8M0FNUType,
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    Signedness,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.utils.exceptions import VerifyException

from crossbank.runtime.expr import Expr, ExprError

DYNAMIC = DYNAMIC_INDEX

_TYPES: dict[str, Attribute] = {
    "float16": Float16Type(),
    "float32": Float32Type(),
    "float64": Float64Type(),
    "bfloat16": BFloat16Type(),
    "float8_e4m3fn": Float8E4M3FNType(),
    "float8_e4m3fnuz": Float8E4M3FNUZType(),
    "float8_e5m2": Float8E5M2Type(),
    "float8_e5m2fnuz": Float8E5M2FNUZType(),
    "float8_e8m0fnu": Float8E8M0FNUType(),
    "float4_e2m1fn": Float4E2M1FNType(),
    "bool": IntegerType(1),
    **{f"int{bits}": IntegerType(bits) for bits in (2, 4, 8, 16, 32, 64)},
    **{f"uint{bits}": IntegerType(bits, Signedness.UNSIGNED) for bits in (2, 4, 8, 16, 32, 64)},
}
_NAMES = {attribute: name for name, attribute in _TYPES.items()}


@irdl_attr_definition
class DimsAttr(ParametrizedAttribute):
    """One integer expression per dimension, as text: `#onnx.dims<["batch", "past + seq", "64"]>`."""

    name = "onnx.dims"
    dims: ArrayAttr[StringAttr] = param_def()

    def verify(self) -> None:
        for dim in self.dims:
            try:
                Expr.of(dim.data)
            except ExprError as error:
                raise VerifyException(str(error)) from error


@lru_cache(maxsize=16384)
def _tensor(dtype: str, shape: tuple[Expr, ...]) -> TensorType[Attribute]:
    static = [dim.constant if dim.is_constant else DYNAMIC for dim in shape]
    if DYNAMIC not in static:
        return TensorType(element_of(dtype), static)
    dims = DimsAttr(ArrayAttr([StringAttr(str(dim)) for dim in shape]))
    return TensorType(element_of(dtype), static, dims)


def tensor(dtype: str, shape: Sequence[int | str | Expr]) -> TensorType[Attribute]:
    """The type of a tensor of a numpy `dtype` name whose dimensions are integers or expressions."""
    return _tensor(dtype, tuple(Expr.of(dim) for dim in shape))


def element_of(dtype: str) -> Attribute:
    """The IR element type of a numpy dtype name; ValueError for one that the IR lacks."""
    try:
        return _TYPES[dtype]
    except KeyError:
        raise ValueError(f"no IR type for elements of {dtype}") from None


def is_tensor(value: SSAValue | Attribute) -> bool:
    """Whether a value, or a type, is a ranked tensor."""
    return isinstance(value.type if isinstance(value, SSAValue) else value, TensorType)


def _type_of(value: SSAValue | Attribute) -> TensorType[Attribute]:
    found = value.type if isinstance(value, SSAValue) else value
    if not isinstance(found, TensorType):
        raise VerifyException(f"{found} is not a ranked tensor")
    return found  # pyright: ignore[reportUnknownVariableType]


@lru_cache(maxsize=16384)
def _shape(found: TensorType[Attribute]) -> tuple[Expr, ...]:
    if isinstance(found.encoding, DimsAttr):
        return tuple(Expr.of(dim.data) for dim in found.encoding.dims)
    return tuple(Expr.of(dim) for dim in found.get_shape())


def shape_of(value: SSAValue | Attribute) -> tuple[Expr, ...]:
    """The dimensions of a tensor value or type, as expressions."""
    return _shape(_type_of(value))


def dtype_of(value: SSAValue | Attribute) -> str:
    """The numpy dtype name of a tensor value or type."""
    return _NAMES[_type_of(value).element_type]
