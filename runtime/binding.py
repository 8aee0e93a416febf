"""From feeds to dimension registers: what a call's arrays say about batch, sequence and past, and what is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import Code, Port, ProgramError

Feeds = Mapping[str, NDArray[Any]]
SEEDS = 1 << 64


def bind(code: Code, ports: Iterable[Port], feeds: Feeds, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """The dimension registers that feeds imply, checked against the ports, the program's limits and `known` values.

    ProgramError CB0601 a shape that doesn't fit, CB0604 a wrong dtype, CB0605 more tokens than the context, CB0606 a
    batch above the largest, CB0608 a dimension that no feed sets or that is out of its range.
    """
    values = dict(known or {})
    fed = [port for port in ports if port.name in feeds]
    for port in fed:
        _check_form(port, feeds[port.name])
    unique = {(d, size): None for p in fed for d, size in zip(p.shape, feeds[p.name].shape, strict=True)}
    pairs = sorted(unique, key=lambda pair: (len(pair[0].symbols), len(str(pair[0]))))
    while any(_solve(*pair, values) for pair in pairs):
        pass
    for port in fed:
        _check_shape(port, feeds[port.name], values)
    missing = [name for name in code.dimensions if name not in values]
    if missing:
        raise ProgramError(
            "CB0608",
            f"no input says what {', '.join(missing)} is",
            help=f"the inputs are {', '.join(p.name for p in ports)}",
        )
    check_limits(code, values)
    return values


def check_limits(code: Code, dimensions: Mapping[str, int]) -> None:
    """Hold dimensions against what the program was compiled for; ProgramError CB0605, CB0606 or CB0608."""
    roles = {role: dimensions.get(name, 0) for role, name in code.context_of.items()}
    past, new, batch = roles.get("past", 0), roles.get("sequence", 0), roles.get("batch", 0)
    context, largest = code.limits.get("context"), code.limits.get("max_batch")
    if context is not None and past + new > context:
        raise ProgramError(
            "CB0605",
            f"{past} past and {new} new tokens are more than the context of {context} that the program is compiled for",
            help=f"compile with --context {past + new} or more",
        )
    if largest is not None and batch > largest:
        raise ProgramError(
            "CB0606",
            f"a batch of {batch} is more than the {largest} that the program is compiled for",
            help=f"compile with max_batch={batch} or more, or split the batch",
        )
    for name, value in dimensions.items():
        low, high = code.registers.get(name, (value, value))
        if not low <= value <= high:
            raise ProgramError(
                "CB0608", f"{name} is {value}, the program takes {low} to {high}", help="feed other shapes"
            )


def check_device(seed: int, time_s: float) -> None:
    """See that a seed and a time since programming name a device; ProgramError CB0611."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < SEEDS:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProgramError("CB0611", f"seed {seed!r} names no device", help="give an integer from 0 to 2^64 - 1")
    if not math.isfinite(time_s) or time_s < 0:
        raise ProgramError(
            "CB0611", f"{time_s} s is no time after programming", help="give a finite number of seconds, 0 or more"
        )


def check_bound(code: Code, feeds: Feeds, dimensions: Mapping[str, int]) -> None:
    """Refuse another value of an input that a branch was taken for, unless caches are empty; ProgramError CB0613."""
    caches = [dimensions.get(code.context_of[role], 1) for role in ("past", "source_past") if role in code.context_of]
    past = max(caches, default=1)
    bound: Mapping[str, bool] = code.summary.get("bound", {})
    for name, value in bound.items():
        if name in feeds and past and bool(np.all(feeds[name])) != value:
            raise ProgramError(
                "CB0613",
                f"{name} is {not value} with {past} past tokens: the program is compiled for {value}",
                help=f"feed {name} = {value}, or caches without tokens",
            )


def unknown_name(code: str, kind: str, name: str, known: Iterable[str]) -> ProgramError:
    """The error for a name that the program lacks."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    text = f"did you mean {close[0]!r}?" if close else f"the {kind}s are {', '.join(names)}"
    return ProgramError(code, f"the program has no {kind} {name!r}", help=text)


def shape_text(shape: Iterable[object]) -> str:
    """A shape for messages, such as [2, past + 1]."""
    return f"[{', '.join(map(str, shape))}]"


def _check_form(port: Port, value: NDArray[Any]) -> None:
    expected = dtype_of(port.dtype)
    if value.dtype != expected:
        raise ProgramError(
            "CB0604",
            f"input {port.name} is {value.dtype.name}, the program expects {expected.name}",
            help=f"feed {port.name}.astype({expected.name!r})",
        )
    if value.ndim != len(port.shape):
        raise ProgramError(
            "CB0601",
            f"input {port.name} has shape {shape_text(value.shape)}, the program expects {shape_text(port.shape)}",
            help=f"feed {len(port.shape)} dimensions, not {value.ndim}",
        )


def _solve(expression: Expr, size: int, values: dict[str, int]) -> bool:
    """Bind the single unknown of `expression == size`, if it has one and is linear in it."""
    unknown = expression.symbols - values.keys()
    if len(unknown) != 1:
        return False
    name, left = next(iter(unknown)), expression.substitute(values)
    slope = left.substitute({name: 1}) - left.substitute({name: 0})
    start = left.substitute({name: 0})
    if not slope.constant or left != Expr.symbol(name) * slope + start:
        return False
    value, rest = divmod(size - start.constant, slope.constant)
    if rest or value < 0:
        return False
    values[name] = value
    return True


def _check_shape(port: Port, value: NDArray[Any], values: Mapping[str, int]) -> None:
    if all(
        dim.symbols <= values.keys() and dim.compiled(values) == n
        for dim, n in zip(port.shape, value.shape, strict=True)
    ):
        return
    expected = [dim.substitute(values) for dim in port.shape]
    for dim, size in zip(expected, value.shape, strict=True):
        if not dim.is_constant or dim.constant != size:
            names = sorted(frozenset[str]().union(*(d.symbols for d in port.shape)) & values.keys())
            bound = ", ".join(f"{name} = {values[name]}" for name in names)
            where = f" = {shape_text(expected)}" if bound else ""
            raise ProgramError(
                "CB0601",
                f"input {port.name} has shape {shape_text(value.shape)}, "
                f"the program expects {shape_text(port.shape)}{where}",
                help=f"the other inputs say {bound}" if bound else "the model fixes it; export it with dynamic axes",
            )


def as_arrays(feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Feeds as arrays: numbers and lists are taken as NumPy takes them; ProgramError CB0601 for uneven lists."""
    return {name: _as_array(name, value) for name, value in feeds.items()}


def _as_array(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ProgramError(
            "CB0601", f"input {name} is no array: {error}", help="feed rows of one length, padded and masked"
        ) from error
