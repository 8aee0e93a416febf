"""The equations of Einsum, with numpy's meaning: which letter each dimension has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ELLIPSIS = "..."


@dataclass(frozen=True)
class Equation:
    """A letter per dimension of each operand and of the result; those that "..." stands for are "...0", "...1" …

    The last dimension of every "..." is "...0", so that they align as in broadcasting.
    """

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def parse(equation: str, ranks: Sequence[int]) -> Equation:
    """The letters of an equation for operands of these ranks; ValueError where they don't fit.

    Without "->" the result has the ellipsis, then the letters that occur once, in alphabetical order.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation {equation!r} has {len(terms)} operands, not {len(ranks)}")
    operands = tuple(_letters(term, rank, equation) for term, rank in zip(terms, ranks, strict=True))
    wide = max((sum(name.startswith(ELLIPSIS) for name in letters) for letters in operands), default=0)
    if arrow:
        known = {name for letters in operands for name in letters}
        result = _expanded(right, wide)
        if not set(result) <= known or len(set(result)) < len(result):
            raise ValueError(f"the result of equation {equation!r} has letters that its operands lack, or twice")
    else:
        counts = Counter(name for letters in operands for name in letters)
        once = sorted(name for name, count in counts.items() if count == 1 and not name.startswith(ELLIPSIS))
        result = (*_dots(wide), *once)
    return Equation(operands, result)


def _dots(count: int) -> tuple[str, ...]:
    return tuple(f"{ELLIPSIS}{i}" for i in reversed(range(count)))


def _expanded(term: str, dots: int) -> tuple[str, ...]:
    before, ellipsis, after = term.partition(ELLIPSIS)
    return (*before, *(_dots(dots) if ellipsis else ()), *after)


def _letters(term: str, rank: int, equation: str) -> tuple[str, ...]:
    letters = term.replace(ELLIPSIS, "", 1)
    dots = rank - len(letters)
    if not (letters.isascii() and (letters.isalpha() or not letters)) or dots < 0 or (dots and ELLIPSIS not in term):
        raise ValueError(f"{term!r} of equation {equation!r} doesn't fit an operand of {rank} dimensions")
    return _expanded(term, dots)
