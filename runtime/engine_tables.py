"""Engines' tables of numbers, held against what a family reads: a slip of the pen is no free engine."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from crossbank.runtime.program import ProgramError

FOR_ALL = ("links", "units")
"""What the compiler adds to every engine's table."""
MOST = 1e24
"""No number of a device is larger; sums and products of such still are numbers."""


@dataclass(frozen=True)
class Number:
    """A key of a table: its bounds, whether it is a whole number, whether it may be left out."""

    least: float = 0.0
    most: float = MOST
    whole: bool = False
    optional: bool = False


COUNT = Number(1, 1e9, whole=True)


def check_table(
    config: Mapping[str, Any], sections: Mapping[str, Mapping[str, Number]], others: Iterable[str] = ()
) -> None:
    """Hold an engine's sections against the numbers that its family reads; `others` are sections that it reads itself.

    ProgramError CB0202 for a section or key that is unknown or lacks, and for a number out of its bounds.
    """
    check_names("section", config, {*sections, *others, *FOR_ALL}, "of an engine")
    for section, numbers in sections.items():
        table = cast("Mapping[str, Any]", config.get(section, {}))
        check_names("key", table, numbers, f"in [engine.{section}]")
        for key, number in numbers.items():
            if key in table:
                _check_number(f"[engine.{section}]: {key}", table[key], number)
            elif not number.optional:
                raise ProgramError("CB0202", f"[engine.{section}] lacks {key}", help="add it with its unit and source")


def check_names(what: str, found: Iterable[str], known: Iterable[str], where: str) -> None:
    """ProgramError CB0202 for the first of some names that is not known."""
    names = sorted(known)
    for name in found:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            others = ", ".join(other for other in names if other not in FOR_ALL)
            help = f"did you mean {close[0]!r}?" if close else f"known are {others}"
            raise ProgramError("CB0202", f"unknown {what} {name!r} {where}", help=help)


def _check_number(what: str, value: Any, number: Number) -> None:
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if numeric and number.least <= value <= number.most and (not number.whole or value == round(value)):
        return
    kind = "whole number" if number.whole else "number"
    bounds = f"at least {number.least:g}" if number.most == MOST else f"from {number.least:g} to {number.most:g}"
    raise ProgramError("CB0202", f"{what} is {value!r}", help=f"give a {kind} {bounds}")
