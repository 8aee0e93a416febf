"""Element types that an operator doesn't take: refused at import, with both sides named."""

from __future__ import annotations

import pytest

from crossbank.compiler.frontend.element_types import type_mismatch


@pytest.mark.parametrize(
    ("op_type", "version", "dtypes", "text"),
    [
        ("Sinh", 18, ("int64",), "Sinh of opset 18 takes float16, float32, float64"),
        ("Sinh", 22, ("int64",), "Sinh of opset 22 takes bfloat16, float16, float32, float64"),
        ("Mul", 14, ("int64", "float32"), "input 1 holds float32 and input 0 int64: Mul takes one type"),
        ("Concat", 13, ("int8", "int8", "uint8"), "input 2 holds uint8 and input 0 int8"),
        ("Gather", 13, ("float32", "float32"), "input 1 holds float32, Gather of opset 13 takes int32, int64"),
        ("Where", 16, ("float32", "int64", "int64"), "input 0 holds float32, Where of opset 16 takes bool"),
        ("DequantizeLinear", 19, ("int4", "float32"), "input 0 holds int4"),
    ],
)
def test_refused(op_type: str, version: int, dtypes: tuple[str, ...], text: str) -> None:
    assert text in (type_mismatch(op_type, version, dtypes) or "")


@pytest.mark.parametrize(
    ("op_type", "version", "dtypes"),
    [
        ("Mul", 14, ("int64", "int64")),
        ("Clip", 13, ("float16", None, "float16")),
        ("Gather", 13, ("bfloat16", "int32")),
        ("DequantizeLinear", 21, ("int4", "float32", "int4")),
        ("Attention", 23, ("float16", "float16", "float32", "bool")),
        ("Constant", 13, ()),
        ("SimplifiedLayerNormalization", 17, ("float32", "float16")),
    ],
)
def test_taken(op_type: str, version: int, dtypes: tuple[str | None, ...]) -> None:
    assert type_mismatch(op_type, version, dtypes) is None
