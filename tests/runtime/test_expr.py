"""Expressions of registers mean what Python's integers say, however they are written, substituted or bounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossbank.runtime.expr import (
    MAX_TEXT,
    ONE,
    ZERO,
    Expr,
    ExprError,
    ceildiv,
    maximum,
    minimum,
    parse,
    product,
    sanitise,
)

NAMES = ("a", "b", "c")
Registers = dict[str, int]
Meaning = Callable[[Registers], int]
POSITIVE = st.integers(1, 20)


def _binary(pair: tuple[tuple[Expr, Meaning], tuple[Expr, Meaning]]) -> st.SearchStrategy[tuple[Expr, Meaning]]:
    (left, f), (right, g) = pair
    return st.sampled_from(
        [
            (left + right, lambda r: f(r) + g(r)),
            (left - right, lambda r: f(r) - g(r)),
            (left * right, lambda r: f(r) * g(r)),
            (minimum(left, right), lambda r: min(f(r), g(r))),
            (maximum(left, right), lambda r: max(f(r), g(r))),
        ]
    )


def _divided(pair: tuple[tuple[Expr, Meaning], int]) -> st.SearchStrategy[tuple[Expr, Meaning]]:
    (left, f), divisor = pair
    return st.sampled_from(
        [
            (left // divisor, lambda r: f(r) // divisor),
            (left % divisor, lambda r: f(r) % divisor),
            (ceildiv(left, divisor), lambda r: -(-f(r) // divisor)),
            (ceildiv(left, Expr.symbol("b")), lambda r: -(-f(r) // r["b"])),
            (left // Expr.symbol("b"), lambda r: f(r) // r["b"]),
            (left % (Expr.symbol("b") + divisor), lambda r: f(r) % (r["b"] + divisor)),
        ]
    )


LEAVES: st.SearchStrategy[tuple[Expr, Meaning]] = st.one_of(
    st.integers(-30, 30).map(lambda n: (Expr.of(n), lambda _: n)),
    st.sampled_from(NAMES).map(lambda name: (Expr.symbol(name), lambda r: r[name])),
)
EXPRESSIONS: st.SearchStrategy[tuple[Expr, Meaning]] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).flatmap(_binary), st.tuples(inner, st.integers(1, 9)).flatmap(_divided)
    ),
    max_leaves=6,
)
REGISTERS = st.fixed_dictionaries(dict.fromkeys(NAMES, POSITIVE))


@given(EXPRESSIONS, REGISTERS)
def test_evaluation_agrees_with_integers(pair: tuple[Expr, Meaning], registers: Registers) -> None:
    expression, meaning = pair
    assert expression.evaluate({**registers}) == meaning(registers)


@given(EXPRESSIONS, st.lists(REGISTERS, min_size=1, max_size=4))
def test_evaluation_of_arrays_is_that_of_each_entry(pair: tuple[Expr, Meaning], rows: list[Registers]) -> None:
    expression, meaning = pair
    arrays = {name: np.array([row[name] for row in rows], np.int64) for name in NAMES}
    found = np.broadcast_to(np.asarray(expression.evaluate({**arrays})), len(rows))
    assert found.tolist() == [meaning(row) for row in rows]


@given(EXPRESSIONS)
def test_printing_and_parsing_is_the_identity(pair: tuple[Expr, Meaning]) -> None:
    expression, _ = pair
    assert parse(str(expression)) == expression
    assert hash(parse(str(expression))) == hash(expression)


@given(EXPRESSIONS, REGISTERS, st.sampled_from(NAMES), EXPRESSIONS)
def test_substitution_and_evaluation_commute(
    pair: tuple[Expr, Meaning], registers: Registers, name: str, other: tuple[Expr, Meaning]
) -> None:
    (expression, meaning), (value, value_meaning) = pair, other
    inner = value_meaning(registers)
    if inner < 1:  # registers that divide are positive
        value, inner = Expr.of(3), 3
    found = expression.substitute({name: value})
    assert name in value.symbols or name not in found.symbols
    assert found.evaluate({**registers}) == meaning({**registers, name: inner})


@given(EXPRESSIONS, REGISTERS, st.fixed_dictionaries(dict.fromkeys(NAMES, POSITIVE)))
def test_bounds_hold_every_value(pair: tuple[Expr, Meaning], one: Registers, two: Registers) -> None:
    expression, meaning = pair
    ranges = {name: (min(one[name], two[name]), max(one[name], two[name])) for name in NAMES}
    low, high = expression.bounds(ranges)
    assert low <= meaning(one) <= high
    assert low <= meaning(two) <= high


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_arithmetic_has_one_form(x: tuple[Expr, Meaning], y: tuple[Expr, Meaning], z: tuple[Expr, Meaning]) -> None:
    a, b, c = x[0], y[0], z[0]
    assert a + b == b + a and a * b == b * a
    assert (a + b) + c == a + (b + c) and (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - a == ZERO and a + 0 == a and a * 1 == a and a * 0 == ZERO


def test_exact_divisions_disappear() -> None:
    assert Expr.of("batch*seq*128") // 128 == Expr.of("seq*batch")
    assert Expr.of("batch*seq*128") // Expr.of("seq*64") == Expr.of("2*batch")
    assert Expr.of("batch*6 + 12") % 6 == ZERO
    assert ceildiv(Expr.of("n*8"), 4) == Expr.of("n*2")
    assert Expr.of("n + 1") // Expr.of("n + 1") == ONE


def test_extremes_that_differ_by_a_constant_are_decided() -> None:
    assert minimum(Expr.of("n + 1"), Expr.of("n")) == Expr.of("n")
    assert maximum(Expr.of("n + 1"), Expr.of("n")) == Expr.of("n + 1")
    assert str(minimum(Expr.of("b"), Expr.of("a"))) == "min(a, b)"


def test_a_product_of_nothing_is_one() -> None:
    assert product([]) == ONE and product([Expr.of("n"), 3]) == Expr.of("n*3")


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a +", "a ** 2", "a / 2", "f(a)", "min(a)", "min(a, b, c)", "a.b", "1.5", "True", "a[0]",
     "__import__('os')",
     "lambda: 0", "'a'", "a if b else c", "min(a, b=1)", "(" * 500 + "a" + ")" * 500, "a" * (MAX_TEXT + 1), "a // 0",
     "-" * 100 + "a", "a\0"],
)  # fmt: skip
def test_texts_that_are_no_expressions_are_refused(text: str) -> None:
    with pytest.raises(ExprError):
        parse(text)


def test_a_missing_register_is_named() -> None:
    with pytest.raises(ExprError, match="needs register seq"):
        Expr.of("past + seq").evaluate({"past": 3})


def test_only_constants_have_a_value() -> None:
    assert Expr.of(7).constant == 7 and ZERO.constant == 0
    with pytest.raises(ExprError, match="is not a constant"):
        _ = Expr.of("n").constant


@pytest.mark.parametrize(("name", "register"), [("batch size", "batch_size"), ("0", "d_0"), ("s-1", "s_1"), ("", "d_")])
def test_dimension_names_become_registers(name: str, register: str) -> None:
    assert sanitise(name) == register
    assert parse(register) == Expr.symbol(register)
