"""What the instructions of the vector unit cost: results per lane and cycle, against bytes moved; see `roofline`."""

from __future__ import annotations

from typing import Any

from crossbank.backends.roofline import Work, matmul_work
from crossbank.backends.simd.kinds import Binary, Reduction, Unary

SIMPLE_UNARY = frozenset(
    {
        Unary.NEG, Unary.ABS, Unary.FLOOR, Unary.CEIL, Unary.ROUND, Unary.NOT, Unary.BITWISE_NOT, Unary.IS_NAN,
        Unary.IS_INF, Unary.SIGN, Unary.RELU, Unary.SQUARE,
    }
)  # fmt: skip
SPECIAL_BINARY = frozenset({Binary.DIV, Binary.MOD, Binary.FMOD, Binary.POW})
SPECIAL_REDUCTION = frozenset({Reduction.LOG_SUM_EXP})


def move(o: Any) -> Work:
    """Nothing but traffic."""
    return Work()


def simple(o: Any) -> Work:
    """One simple operation per element of the result."""
    return Work(simple=o.dst.elements)


def unary(o: Any) -> Work:
    """One operation per element."""
    return simple(o) if o.op in SIMPLE_UNARY else Work(special=o.dst.elements)


def binary(o: Any) -> Work:
    """One operation per element."""
    return Work(special=o.dst.elements) if o.op in SPECIAL_BINARY else simple(o)


def activation(o: Any) -> Work:
    """One look at the function and two simple operations per element."""
    return Work(simple=o.dst.elements * 2, special=o.dst.elements)


def over_source(o: Any) -> Work:
    """One simple operation per element of the source."""
    return Work(simple=o.src.elements)


def reduce(o: Any) -> Work:
    """One operation per element of the source."""
    return Work(special=o.src.elements) if o.op in SPECIAL_REDUCTION else over_source(o)


def softmax(o: Any) -> Work:
    """Maximum, difference, exponential, sum and quotient: four simple and one special operation per element."""
    return Work(simple=o.src.elements * 4, special=o.src.elements)


def mask_softmax(o: Any) -> Work:
    """A softmax, with scale and mask, and the cap where there is one."""
    rows: Any = 1
    for dim in o.src.shape[:-1]:
        rows = rows * dim
    return Work(simple=o.src.elements * 6, special=o.src.elements * (2 if o.softcap else 1), parts=rows)


def layer_norm(o: Any) -> Work:
    """Mean, difference, square sum, scale, weight and bias: six simple operations per element."""
    return Work(simple=o.src.elements * 6)


def rms_norm(o: Any) -> Work:
    """Square sum, scale and weight: three simple operations per element."""
    return Work(simple=o.src.elements * 3)


def rotary(o: Any) -> Work:
    """Two products and a sum per element."""
    return Work(simple=o.src.elements * 3)


def sort(o: Any) -> Work:
    """One comparison per element and result (selection)."""
    return Work(simple=o.src.elements * o.values.shape[-1])


def scatter(o: Any) -> Work:
    """One simple operation per scattered value."""
    return Work(simple=o.values.elements)


def dynamic_quantize(o: Any) -> Work:
    """Two comparisons, a quotient, a rounding and a clip per element."""
    return Work(simple=o.src.elements * 4, special=o.src.elements)


def quantize(o: Any) -> Work:
    """A quotient, a rounding and a clip per element."""
    return Work(simple=o.dst.elements * 2, special=o.dst.elements)


matmul = matmul_work
