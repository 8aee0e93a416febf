"""The choices that instructions of the vector unit take."""

from __future__ import annotations

from enum import IntEnum


class Flag(IntEnum):
    """Whether."""

    NO = 0
    YES = 1


class Unary(IntEnum):
    """Element-wise functions of one operand."""

    NEG = 0
    ABS = 1
    SQRT = 2
    RSQRT = 3
    RECIPROCAL = 4
    EXP = 5
    LOG = 6
    SIN = 7
    COS = 8
    TAN = 9
    TANH = 10
    SIGMOID = 11
    ERF = 12
    FLOOR = 13
    CEIL = 14
    ROUND = 15
    NOT = 16
    BITWISE_NOT = 17
    IS_NAN = 18
    IS_INF = 19
    SIGN = 20
    RELU = 21
    SOFTPLUS = 22
    SOFTSIGN = 23
    SQUARE = 24
    ASIN = 25
    ACOS = 26
    ATAN = 27
    SINH = 28
    COSH = 29
    ASINH = 30
    ACOSH = 31
    ATANH = 32


class Binary(IntEnum):
    """Element-wise functions of two operands; comparisons give bool."""

    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3
    MOD = 4
    FMOD = 5
    POW = 6
    MIN = 7
    MAX = 8
    AND = 9
    OR = 10
    XOR = 11
    BITWISE_AND = 12
    BITWISE_OR = 13
    BITWISE_XOR = 14
    SHIFT_LEFT = 15
    SHIFT_RIGHT = 16
    EQUAL = 17
    NOT_EQUAL = 18
    LESS = 19
    LESS_EQUAL = 20
    GREATER = 21
    GREATER_EQUAL = 22
    PRELU = 23


class Activation(IntEnum):
    """Activation functions; some take `alpha` and `beta`."""

    SILU = 0
    GELU = 1
    GELU_TANH = 2
    RELU = 3
    SIGMOID = 4
    TANH = 5
    QUICK_GELU = 6
    SWISH = 7
    LEAKY_RELU = 8
    ELU = 9
    HARD_SIGMOID = 10
    HARD_SWISH = 11
    MISH = 12
    SELU = 13
    CELU = 14
    THRESHOLDED_RELU = 15


class Reduction(IntEnum):
    """What is done over the reduced axes."""

    SUM = 0
    MEAN = 1
    MAX = 2
    MIN = 3
    PROD = 4
    SUM_SQUARE = 5
    L1 = 6
    L2 = 7
    LOG_SUM = 8
    LOG_SUM_EXP = 9
    ANY = 10
    ALL = 11


class Extreme(IntEnum):
    """Which one of a row is looked for."""

    MAX = 0
    MIN = 1


class Scatter(IntEnum):
    """How a scattered value meets what is there."""

    NONE = 0
    ADD = 1
    MUL = 2
    MIN = 3
    MAX = 4


class Rounding(IntEnum):
    """Which of two neighbours a value between them becomes."""

    NEAREST = 0
    UP = 1
    DOWN = 2
