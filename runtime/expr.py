"""Integer expressions of named registers: shapes at compile time, addresses and counts at run time.

An expression is kept as a polynomial of atoms with integer coefficients, where an atom is a register or an opaque
floor division, ceiling division, remainder, minimum or maximum. Equal polynomials are equal objects, so
`past + seq == seq + past` holds and `batch*seq*128 // 128` is `batch*seq`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = "int | NDArray[np.int64]"
Bounds: TypeAlias = "tuple[int, int]"
MAX_TEXT = 4000
MAX_DEPTH = 60
MAX_CALLS = 40
MAX_TERMS = 1000
MAX_ATOMS = 64
MAX_BITS = 256
"""An expression has no more terms, no term more atoms or a longer coefficient, and calls nest no deeper: what a
hostile model could double with each node stays small."""


class ExprError(ValueError):
    """A text that is no expression, or one that names an unknown register."""


@dataclass(frozen=True)
class Call:
    """An opaque function of two expressions: floordiv, ceildiv, mod, min or max."""

    name: str
    left: Expr
    right: Expr

    @cached_property
    def key(self) -> str:
        return f"{self.name}({self.left}, {self.right})"

    @cached_property
    def depth(self) -> int:
        """How many calls stand within each other, this one included."""
        atoms = (atom for side in (self.left, self.right) for monomial, _ in side.terms for atom in monomial)
        return 1 + max((atom.depth for atom in atoms if isinstance(atom, Call)), default=0)

    def __hash__(self) -> int:
        return hash(self.key)


Atom: TypeAlias = "str | Call"
Monomial: TypeAlias = "tuple[Atom, ...]"


def _atom_key(atom: Atom) -> str:
    return atom if isinstance(atom, str) else atom.key


@dataclass(frozen=True)
class Expr:
    """A polynomial: `terms` maps sorted tuples of atoms to non-zero coefficients, in a canonical order."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(value: int | str | Expr) -> Expr:
        """The expression of an integer, or of a text such as "past + seq"."""
        if isinstance(value, Expr):
            return value
        if isinstance(value, str):
            return parse(value)
        return Expr((((), int(value)),)) if value else ZERO

    @staticmethod
    def symbol(name: str) -> Expr:
        """The expression that is one register."""
        return Expr((((name,), 1),))

    @staticmethod
    def _from(terms: Mapping[Monomial, int]) -> Expr:
        kept = [(m, c) for m, c in terms.items() if c]
        kept.sort(key=lambda term: (-len(term[0]), [_atom_key(a) for a in term[0]]))
        if kept and (len(kept) > MAX_TERMS or len(kept[0][0]) > MAX_ATOMS):
            raise ExprError(f"an expression of {len(kept)} terms, of {len(kept[0][0])} factors, is too long")
        if any(coefficient.bit_length() > MAX_BITS for _, coefficient in kept):
            raise ExprError(f"an expression with a number of more than {MAX_BITS} bits is too large")
        return Expr(tuple(kept))

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @property
    def is_constant(self) -> bool:
        return not self.terms or (len(self.terms) == 1 and not self.terms[0][0])

    @property
    def constant(self) -> int:
        """The value of a constant expression; ExprError for any other."""
        if not self.is_constant:
            raise ExprError(f"{self} is not a constant")
        return self.terms[0][1] if self.terms else 0

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Names of all registers in the expression."""
        names: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                names |= {atom} if isinstance(atom, str) else atom.left.symbols | atom.right.symbols
        return frozenset(names)

    def __add__(self, other: int | Expr) -> Expr:
        terms = dict(self.terms)
        for monomial, coefficient in Expr.of(other).terms:
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return Expr._from(terms)

    __radd__ = __add__

    def __neg__(self) -> Expr:
        return Expr(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: int | Expr) -> Expr:
        return self + (-Expr.of(other))

    def __rsub__(self, other: int | Expr) -> Expr:
        return Expr.of(other) - self

    def __mul__(self, other: int | Expr) -> Expr:
        terms: dict[Monomial, int] = {}
        factor = Expr.of(other)
        if len(self.terms) * len(factor.terms) > MAX_TERMS * 8:
            raise ExprError(f"a product of {len(self.terms)} and {len(factor.terms)} terms is too long")
        for left, a in self.terms:
            for right, b in factor.terms:
                monomial = tuple(sorted(left + right, key=_atom_key))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return Expr._from(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Expr) -> Expr:
        return _divide("floordiv", self, Expr.of(other))

    def __mod__(self, other: int | Expr) -> Expr:
        divisor = Expr.of(other)
        if self.is_constant and divisor.is_constant and divisor.constant:
            return Expr.of(self.constant % divisor.constant)
        if _exact(self, divisor) is not None:
            return ZERO
        return _call("mod", self, divisor)

    def substitute(self, values: Mapping[str, int | Expr]) -> Expr:
        """The expression with registers replaced."""
        if not (self.symbols & values.keys()):
            return self
        total = ZERO
        for monomial, coefficient in self.terms:
            product = Expr.of(coefficient)
            for atom in monomial:
                if isinstance(atom, str):
                    product = product * (Expr.of(values[atom]) if atom in values else Expr.symbol(atom))
                else:
                    product = product * FUNCTIONS[atom.name](
                        atom.left.substitute(values), atom.right.substitute(values)
                    )
            total = total + product
        return total

    def evaluate(self, registers: Mapping[str, Value]) -> Value:
        """The value for given registers, integers or int64 arrays; ExprError names a missing register."""
        missing = self.symbols - registers.keys()
        if missing:
            raise ExprError(f"{self} needs register {', '.join(sorted(missing))}")
        return self.compiled(registers)

    @cached_property
    def compiled(self) -> Callable[[Mapping[str, Value]], Any]:
        """A Python function of the registers, for repeated evaluation."""
        return eval(f"lambda r: {self._source()}", {"_min": _minimum, "_max": _maximum})

    def _source(self) -> str:
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            factors = [f"r[{atom!r}]" if isinstance(atom, str) else _call_source(atom) for atom in monomial]
            if coefficient != 1 or not factors:
                factors.append(str(coefficient) if coefficient >= 0 else f"({coefficient})")
            parts.append("*".join(factors))
        return " + ".join(parts) if parts else "0"

    def bounds(self, ranges: Mapping[str, Bounds]) -> Bounds:
        """The least and greatest value by interval arithmetic, for registers within `ranges` (inclusive)."""
        low = high = 0
        for monomial, coefficient in self.terms:
            term = (coefficient, coefficient)
            for atom in monomial:
                term = _times(term, ranges[atom] if isinstance(atom, str) else _call_bounds(atom, ranges))
            low, high = low + term[0], high + term[1]
        return low, high

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            atoms = "*".join(_atom_key(atom) for atom in monomial)
            size = abs(coefficient)
            body = f"{atoms}*{size}" if atoms and size != 1 else atoms or str(size)
            sign = "-" if coefficient < 0 else "+"
            text = f"{text} {sign} {body}" if text else (f"-{body}" if coefficient < 0 else body)
        return text or "0"

    def __repr__(self) -> str:
        return f"Expr({str(self)!r})"


ZERO = Expr(())
ONE = Expr.of(1)


def _minimum(a: Value, b: Value) -> Value:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)


def _maximum(a: Value, b: Value) -> Value:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b)


def _call_source(call: Call) -> str:
    left, right = f"({call.left._source()})", f"({call.right._source()})"  # pyright: ignore[reportPrivateUsage]
    match call.name:
        case "floordiv":
            return f"({left}//{right})"
        case "ceildiv":
            return f"(-((-{left})//{right}))"
        case "mod":
            return f"({left}%{right})"
        case name:
            return f"_{name}({left}, {right})"


def _times(a: Bounds, b: Bounds) -> Bounds:
    products = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    return min(products), max(products)


def _call_bounds(call: Call, ranges: Mapping[str, Bounds]) -> Bounds:
    (a, b), (c, d) = call.left.bounds(ranges), call.right.bounds(ranges)
    if call.name in ("min", "max"):
        pick = min if call.name == "min" else max
        return pick(a, c), pick(b, d)
    c, d = max(c, 1), max(d, 1)
    if call.name == "mod":
        return 0, min(d - 1, b) if a >= 0 else d - 1
    quotients = [x // y if call.name == "floordiv" else -(-x // y) for x in (a, b) for y in (c, d)]
    return min(quotients), max(quotients)


def _exact(left: Expr, right: Expr) -> Expr | None:
    """left / right where right is one monomial that divides every term."""
    if len(right.terms) != 1:
        if left == right and left.terms:
            return ONE
        return None
    atoms, divisor = right.terms[0]
    quotient: dict[Monomial, int] = {}
    for monomial, coefficient in left.terms:
        rest = list(monomial)
        for atom in atoms:
            if atom not in rest:
                return None
            rest.remove(atom)
        if coefficient % divisor:
            return None
        quotient[tuple(rest)] = coefficient // divisor
    return Expr._from(quotient)  # pyright: ignore[reportPrivateUsage]


def _call(name: str, left: Expr, right: Expr) -> Expr:
    made = Call(name, left, right)
    if made.depth > MAX_CALLS or len(made.key) > MAX_TEXT:
        raise ExprError(f"an expression of {made.depth} nested calls and {len(made.key)} characters is too long")
    return Expr((((made,), 1),))


def _divide(name: str, left: Expr, right: Expr) -> Expr:
    if right.is_constant and right.constant == 0:
        raise ExprError(f"{left} divided by zero")
    exact = _exact(left, right)
    if exact is not None:
        return exact
    if left.is_constant and right.is_constant:
        a, b = left.constant, right.constant
        return Expr.of(a // b if name == "floordiv" else -(-a // b))
    return _call(name, left, right)


def ceildiv(left: int | Expr, right: int | Expr) -> Expr:
    """left / right, rounded up."""
    return _divide("ceildiv", Expr.of(left), Expr.of(right))


def _extreme(name: str, left: Expr, right: Expr) -> Expr:
    if left == right:
        return left
    difference = left - right
    if difference.is_constant:
        return right if (difference.constant > 0) == (name == "min") else left
    first, second = sorted((left, right), key=str)
    return _call(name, first, second)


def minimum(left: int | Expr, right: int | Expr) -> Expr:
    """The smaller of two expressions."""
    return _extreme("min", Expr.of(left), Expr.of(right))


def maximum(left: int | Expr, right: int | Expr) -> Expr:
    """The larger of two expressions."""
    return _extreme("max", Expr.of(left), Expr.of(right))


FUNCTIONS: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "floordiv": lambda a, b: a // b,
    "ceildiv": ceildiv,
    "mod": lambda a, b: a % b,
    "min": minimum,
    "max": maximum,
}


def product(values: Sequence[int | Expr]) -> Expr:
    """The product of dimensions, 1 for none."""
    return math.prod((Expr.of(v) for v in values), start=ONE)


def sanitise(name: str) -> str:
    """A register name for any ONNX dimension name."""
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return cleaned if cleaned and not cleaned[0].isdigit() else f"d_{cleaned}"


@lru_cache(maxsize=65536)
def parse(text: str) -> Expr:
    """Read a text of +, -, *, //, %, ceildiv(a, b), floordiv, mod, min, max, names and integers; or ExprError."""
    if len(text) > MAX_TEXT:
        raise ExprError(f"an expression of {len(text)} characters is longer than {MAX_TEXT}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExprError(f"{text[:80]!r} is not an expression") from error
    return _build(tree, text, 0)


def _build(tree: ast.expr, text: str, depth: int) -> Expr:
    if depth > MAX_DEPTH:
        raise ExprError(f"{text[:80]!r} is nested deeper than {MAX_DEPTH}")
    match tree:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return Expr.of(number)
        case ast.Name(id=name):
            return Expr.symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand, text, depth + 1)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _build(left, text, depth + 1), _build(right, text, depth + 1)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return a // b
                case ast.Mod():
                    return a % b
                case _:
                    pass
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](_build(left, text, depth + 1), _build(right, text, depth + 1))
        case _:
            pass
    raise ExprError(f"{text[:80]!r} is not an expression")
