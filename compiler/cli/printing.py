"""How numbers and tables look on a terminal."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

from crossbank.runtime.program import ProgramError

_STEPS = (
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("", 1.0),
    ("m", 1e-3),
    ("µ", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
)


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix, such as "12.3 ms"; "-" for None."""
    if value is None:
        return "-"
    if not value or not math.isfinite(value):
        return f"{value:g} {unit}"
    for prefix, size in _STEPS:
        if abs(value) >= size:
            return f"{value / size:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def size(count_bytes: float) -> str:
    """A number of bytes in binary units."""
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def counted(count: int, thing: str) -> str:
    """A number of things, such as "2 chips"."""
    return f"{count} {thing}" + ("" if count == 1 else "s")


def signed(value: float, digits: int = 4) -> str:
    """A difference with its sign, which 0 lacks."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def share(part: float) -> str:
    """A fraction as per cent."""
    return f"{100 * part:.1f} %"


def table(rows: Iterable[Sequence[str]], head: Sequence[str], numbers: Sequence[int] = ()) -> str:
    """Plain aligned columns; those in `numbers` to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    texts = [
        "  ".join(
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    texts.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(texts)


def put_json(value: Any) -> None:
    """Write a JSON document to stdout; what JSON has no word for (nan, infinities) is null."""
    put(json.dumps(_finite(value), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def put(text: str) -> None:
    """Write a line of the product to stdout; ProgramError CB0501 where that can't be."""
    try:
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where it was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # lest what is left be tried again at exit
        raise ProgramError(
            "CB0501", f"can't write to stdout: {error.strerror}", help="send it to a file or a pipe that takes it"
        ) from error


def note(text: str) -> None:
    """Write a line beside the product, to stderr."""
    print(text, file=sys.stderr)
