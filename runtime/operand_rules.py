"""Static rules for the forms of an instruction's operands: which shapes agree, which fit, which types they have.

A rule is a `Check` as in `isa`: it is given operands with the shapes that the verifier finds, each dimension a number
or an array with one entry per sample, and raises ProgramError CB0529 where they can't be executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from crossbank.runtime.expr import Value
from crossbank.runtime.isa import Check
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import ProgramError

Shape = Sequence[Value]


def refuse(message: str) -> NoReturn:
    """Refuse an instruction."""
    raise ProgramError("CB0529", message, help="compile the model again")


def shape_text(shape: Shape) -> str:
    """A shape for messages, a range for a dimension that varies."""
    return f"[{', '.join(_size_text(dim) for dim in shape)}]"


def _size_text(dim: Value) -> str:
    low, high = int(np.min(dim)), int(np.max(dim))
    return str(low) if low == high else f"{low}…{high}"


def equal(a: Shape, b: Shape) -> bool:
    """Whether two shapes are one and the same."""
    return len(a) == len(b) and all(np.all(x == y) for x, y in zip(a, b, strict=True))


def fits(shape: Shape, into: Shape) -> bool:
    """Whether a tensor broadcasts to a shape."""
    if len(shape) > len(into):
        return False
    pairs = zip(shape, into[len(into) - len(shape) :], strict=True)
    return all(np.all((a == b) | (np.asarray(a) == 1)) for a, b in pairs)


def is_one(shape: Shape) -> bool:
    """Whether a tensor has one element."""
    return all(np.all(np.asarray(dim) == 1) for dim in shape)


def kind(tensor: Any) -> str:
    """What a tensor holds: "f" floats, "i" integers or "b" bools."""
    found = dtype_of(tensor.dtype)
    if found.kind == "V":
        return "i" if "int" in found.name else "f"
    return "i" if found.kind in "iu" else found.kind


def all_of(*rules: Check) -> Check:
    """Every one of some rules."""

    def check(o: Any, config: Any) -> None:
        for rule in rules:
            rule(o, config)

    return check


def kinds(of: str, *names: str) -> Check:
    """Operands hold one of some kinds, such as "f" or "fi"; absent ones pass."""

    def check(o: Any, config: Any) -> None:
        for name in names:
            tensor = getattr(o, name)
            if tensor is not None and kind(tensor) not in of:
                refuse(f"{name} holds {tensor.dtype}")

    return check


def alike(first: str, *names: str) -> Check:
    """Operands are of one number format; absent ones pass."""

    def check(o: Any, config: Any) -> None:
        dtype = getattr(o, first).dtype
        for name in names:
            tensor = getattr(o, name)
            if tensor is not None and tensor.dtype != dtype:
                refuse(f"{name} holds {tensor.dtype}, {first} {dtype}")

    return check


def same_shape(first: str, *names: str) -> Check:
    """Operands have one shape."""

    def check(o: Any, config: Any) -> None:
        shape = getattr(o, first).shape
        for name in names:
            other = getattr(o, name).shape
            if not equal(other, shape):
                refuse(f"{name} is {shape_text(other)}, {first} {shape_text(shape)}")

    return check


def broadcast(first: str, *names: str) -> Check:
    """Operands broadcast to the shape of the first; absent ones pass."""

    def check(o: Any, config: Any) -> None:
        shape = getattr(o, first).shape
        for name in names:
            tensor = getattr(o, name)
            if tensor is not None and not fits(tensor.shape, shape):
                refuse(f"{name} is {shape_text(tensor.shape)}, which does not broadcast to {shape_text(shape)}")

    return check


def one_element(*names: str) -> Check:
    """Operands have one element; absent ones pass."""

    def check(o: Any, config: Any) -> None:
        for name in names:
            tensor = getattr(o, name)
            if tensor is not None and not is_one(tensor.shape):
                refuse(f"{name} is {shape_text(tensor.shape)}, one element is expected")

    return check


def rank(least: int, *names: str) -> Check:
    """Operands have at least so many dimensions; absent ones pass."""

    def check(o: Any, config: Any) -> None:
        for name in names:
            tensor = getattr(o, name)
            if tensor is not None and len(tensor.shape) < least:
                refuse(f"{name} is {shape_text(tensor.shape)}, at least {least} dimensions are expected")

    return check


def expect(name: str, found: Shape, expected: Shape) -> None:
    """Hold a shape against what other operands imply."""
    if not equal(found, expected):
        refuse(f"{name} is {shape_text(found)}, {shape_text(expected)} is expected")


def product(o: Any, dst: str = "dst", a: str = "a", b: str = "b") -> None:
    """dst [.., M, N] = a [.., M, K] @ b [.., K, N] over leading axes that broadcast to those of dst."""
    to, left, right = (getattr(o, name).shape for name in (dst, a, b))
    if min(len(to), len(left), len(right)) < 2:
        refuse(f"a product of {shape_text(left)} and {shape_text(right)} into {shape_text(to)}")
    inner = equal(left[-1:], right[-2:-1]) and equal(to[-2:], (left[-2], right[-1]))
    if not inner or not fits(left[:-2], to[:-2]) or not fits(right[:-2], to[:-2]):
        refuse(f"{shape_text(left)} times {shape_text(right)} does not give {shape_text(to)}")


def blocks(of: str, scales: str, zeros: str) -> Check:
    """Scales and zeros of a quantised matrix divide it."""

    def check(o: Any, config: Any) -> None:
        whole, found = getattr(o, of), {name: getattr(o, name, None) for name in (scales, zeros)}
        if found[scales] is None and found[zeros] is not None:
            refuse(f"{zeros} of {of} without {scales}")
        for name, tensor in found.items():
            if tensor is not None and not _divides(tensor.shape, whole.shape):
                refuse(f"{name} {shape_text(tensor.shape)} do not divide {of} {shape_text(whole.shape)}")

    return check


def _divides(parts: Shape, whole: Shape) -> bool:
    if len(parts) != 2 or len(whole) != 2:
        return False
    pairs = zip(map(np.asarray, parts), map(np.asarray, whole), strict=True)
    return all(np.all(a > 0) and np.all(b % np.maximum(a, 1) == 0) for a, b in pairs)
