"""What shape inference needs to decide about expressions: exact quotients, signs, and equations between dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crossbank.runtime.expr import ONE, ZERO, Bounds, Expr, Monomial, product

HUGE = 1 << 62
"""Dimensions lie between 0 and this."""


def bounds(value: Expr) -> Bounds:
    """Least and greatest value for dimensions of at least 0."""
    return value.bounds(dict.fromkeys(value.symbols, (0, HUGE)))


def decide_equal(a: Expr, b: Expr) -> bool | None:
    """Whether two expressions are equal for all dimensions (True), for none (False), or it depends (None)."""
    difference = a - b
    if difference.is_constant:
        return difference.constant == 0
    low, high = bounds(difference)
    return False if low > 0 or high < 0 else None


def decide_less(a: Expr, b: Expr) -> bool | None:
    """Whether a < b always (True), never (False), or it depends (None)."""
    difference = b - a
    if difference.is_constant:
        return difference.constant > 0
    low, high = bounds(difference)
    return True if low > 0 else False if high <= 0 else None


def _leading(value: Expr) -> tuple[Monomial, int]:
    return max(value.terms, key=lambda term: (len(term[0]), [str(atom) for atom in term[0]]))


def _divides(divisor: Monomial, dividend: Monomial) -> Monomial | None:
    rest = list(dividend)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def quotient(a: Expr, b: Expr) -> Expr | None:
    """a / b where that is a polynomial with integer coefficients, else None."""
    if not b.terms:
        return None
    total, rest = ZERO, a
    lead, factor = _leading(b)
    for _ in range(64):
        if not rest.terms:
            return total
        monomial, coefficient = _leading(rest)
        left = _divides(lead, monomial)
        if left is None or coefficient % factor:
            return None
        term = Expr(((left, coefficient // factor),))
        total, rest = total + term, rest - term * b
    return None


def ratio(numerator: Sequence[Expr], denominator: Sequence[Expr]) -> Expr | None:
    """The exact quotient of two products of dimensions; equal factors cancel first."""
    above, below = list(numerator), [dim for dim in denominator if dim != ONE]
    for dim in list(below):
        if dim in above and dim != ZERO:
            above.remove(dim)
            below.remove(dim)
    return quotient(product(above), product(below))


@dataclass
class Equations:
    """Assumed equations between dimensions, solved as replacements of one symbol each."""

    order: dict[str, int] = field(default_factory=dict[str, int])
    """When a symbol was declared: later ones are replaced by earlier ones."""
    solved: dict[str, Expr] = field(default_factory=dict[str, Expr])
    unsolved: set[str] = field(default_factory=set[str])

    def declare(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self.order.setdefault(symbol, len(self.order))

    def resolve(self, value: Expr) -> Expr:
        return value.substitute(self.solved) if self.solved else value

    def unify(self, a: Expr, b: Expr) -> bool:
        """Assume a == b; False if that can't hold."""
        a, b = self.resolve(a), self.resolve(b)
        decided = decide_equal(a, b)
        if decided is not None:
            return decided
        bare = [(x, y) for x, y in ((a, b), (b, a)) if _bare(x) and not _bare(x) & y.symbols]
        if bare:
            x, y = max(bare, key=lambda pair: max(self.order.get(s, HUGE) for s in _bare(pair[0])))
            self._bind(next(iter(_bare(x))), y)
            return True
        difference = a - b
        common = math.gcd(*(coefficient for _, coefficient in difference.terms))
        if common > 1:
            difference = Expr(tuple((monomial, coefficient // common) for monomial, coefficient in difference.terms))
        linear = {
            monomial[0]: coefficient
            for monomial, coefficient in difference.terms
            if len(monomial) == 1 and isinstance(monomial[0], str) and abs(coefficient) == 1
        }
        for symbol in sorted(linear, key=lambda name: -self.order.get(name, HUGE)):
            rest = difference - Expr.symbol(symbol) * linear[symbol]
            if symbol not in rest.symbols:
                self._bind(symbol, rest * -linear[symbol])
                return True
        self.unsolved.add(f"{a} = {b}")
        return True

    def _bind(self, symbol: str, value: Expr) -> None:
        step: Mapping[str, Expr] = {symbol: value}
        self.solved = {name: old.substitute(step) for name, old in self.solved.items()}
        self.solved[symbol] = value


def _bare(value: Expr) -> frozenset[str]:
    """The one symbol that an expression is, else nothing."""
    return value.symbols if value.symbols and value == Expr.symbol(next(iter(value.symbols))) else frozenset()
