"""Activations, as operations or spelt out as polynomials around Erf, Tanh or Sigmoid, and gated products of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import ActivationOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.raising.matching import attr, is_float, kind, made_by, owner_of, scalar, users
from crossbank.passes.rewriting import replace

Polynomial: TypeAlias = "dict[tuple[int, int], float]"
TOLERANCE = 1e-4
MAX_DEGREE = 4
MAX_DEPTH = 12
X: Polynomial = {(1, 0): 1.0}
G: Polynomial = {(0, 1): 1.0}


@dataclass(frozen=True)
class _Form:
    """activation(x) = outer(x, g(inner(x))): polynomials, powers of x and g to coefficients."""

    activation: str
    function: str
    inner: Mapping[int, float]
    outer: Polynomial


_ROOT = math.sqrt(2 / math.pi)
# gelu: x/2 (1 + erf(x/sqrt 2)); its tanh form of Hendrycks and Gimpel, arXiv 1606.08415
FORMS = (
    _Form("gelu", "Erf", {1: math.sqrt(0.5)}, {(1, 0): 0.5, (1, 1): 0.5}),
    _Form("gelu_tanh", "Tanh", {1: _ROOT, 3: _ROOT * 0.044715}, {(1, 0): 0.5, (1, 1): 0.5}),
    _Form("silu", "Sigmoid", {1: 1.0}, {(1, 1): 1.0}),
    _Form("quick_gelu", "Sigmoid", {1: 1.702}, {(1, 1): 1.0}),
)
PLAIN = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}


@dataclass(frozen=True)
class RaiseActivationPass(ModulePass):
    """Relu, Gelu, Swish, QuickGelu … and their decompositions become `llm.activation`."""

    name = "raise-activation"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) in ("Erf", "Tanh", "Sigmoid") and found.parent is not None:
                _raise_spelt_out(found)
        for found in list(op.walk()):
            name = _plain(found)
            if name is not None and is_float(found.results[0]):
                _put(found, found.operands[0], name)


def _put(root: Operation, x: SSAValue, activation: str) -> None:
    new = ActivationOp.build(
        operands=[x], properties={"activation": StringAttr(activation)}, result_types=[root.results[0].type]
    )
    replace(root, [new])


def _plain(op: Operation) -> str | None:
    match kind(op):
        case "Gelu":
            return "gelu_tanh" if attr(op, "approximate", "none") == "tanh" else "gelu"
        case "Swish" if attr(op, "alpha", 1.0) == 1.0:
            return "silu"
        case name:
            return PLAIN.get(name)


def _raise_spelt_out(function: Operation) -> None:
    for form in FORMS:
        if form.function != kind(function):
            continue
        for x in _arguments(function.operands[0]):
            inner = polynomial(function.operands[0], {x: X})
            if inner is None or not _close(inner, {(power, 0): c for power, c in form.inner.items()}):
                continue
            root = _outer(function, x, form.outer)
            if root is not None:
                _put(root, x, form.activation)
                return


def _arguments(value: SSAValue) -> list[SSAValue]:
    """Values from which `value` may be computed by a polynomial: itself and those above, nearest last."""
    found: dict[SSAValue, None] = {}
    pending = [(value, 0)]
    while pending:
        current, depth = pending.pop(0)
        if current in found or scalar(current) is not None:
            continue
        found[current] = None
        op = made_by(current, "Mul", "Div", "Add", "Sub", "Pow", "Neg")
        if op is not None and depth < MAX_DEPTH:
            pending += [(operand, depth + 1) for operand in op.operands]
    return list(found)


def _outer(function: Operation, x: SSAValue, goal: Polynomial) -> Operation | None:
    """The operation downstream of g = function's result that computes `goal` of x and g, and needs g alone."""
    g = function.results[0]
    frontier = [function]
    for _ in range(MAX_DEPTH):
        following: list[Operation] = []
        for op in frontier:
            for user in users(op.results[0]):
                if kind(user) not in ("Mul", "Div", "Add", "Sub") or shape_of(user.results[0]) != shape_of(x):
                    continue
                done = polynomial(user.results[0], {x: X, g: G})
                if done is not None and _close(done, goal):
                    return user
                if done is not None:
                    following.append(user)
        frontier = following
    return None


def polynomial(value: SSAValue, known: Mapping[SSAValue, Polynomial], depth: int = MAX_DEPTH) -> Polynomial | None:
    """`value` as a polynomial of two variables, given those of some values; None where it isn't one."""
    if value in known:
        return known[value]
    number = scalar(value)
    if number is not None:
        return {(0, 0): number}
    op = owner_of(value)
    if op is None or depth == 0:
        return None
    if kind(op) == "Neg":
        inner = polynomial(op.operands[0], known, depth - 1)
        return None if inner is None else _times(inner, {(0, 0): -1.0})
    if kind(op) not in ("Mul", "Div", "Add", "Sub", "Pow"):
        return None
    left, right = (polynomial(operand, known, depth - 1) for operand in op.operands)
    if left is None or right is None:
        return None
    match kind(op):
        case "Add":
            return _plus(left, right, 1.0)
        case "Sub":
            return _plus(left, right, -1.0)
        case "Mul":
            return _times(left, right)
        case name:
            if right.keys() - {(0, 0)} or not right.get((0, 0)):
                return None
            return _times(left, {(0, 0): 1.0 / right[0, 0]}) if name == "Div" else _power(left, right[0, 0])


def _plus(left: Polynomial, right: Polynomial, sign: float) -> Polynomial:
    total = dict(left)
    for powers, coefficient in right.items():
        total[powers] = total.get(powers, 0.0) + sign * coefficient
    return total


def _times(left: Polynomial, right: Polynomial) -> Polynomial | None:
    total: Polynomial = {}
    for (a, b), c in left.items():
        for (d, e), f in right.items():
            if a + d > MAX_DEGREE or b + e > MAX_DEGREE:
                return None
            total[a + d, b + e] = total.get((a + d, b + e), 0.0) + c * f
    return total


def _power(base: Polynomial, exponent: float) -> Polynomial | None:
    if exponent not in (1.0, 2.0, 3.0):
        return None
    total: Polynomial | None = base
    for _ in range(int(exponent) - 1):
        total = _times(total, base) if total is not None else None
    return total


def _close(found: Polynomial, goal: Polynomial) -> bool:
    return all(
        math.isclose(found.get(powers, 0.0), goal.get(powers, 0.0), rel_tol=TOLERANCE, abs_tol=1e-7)
        for powers in found.keys() | goal.keys()
    )
