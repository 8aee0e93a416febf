"""The command line in this process: what it prints, and the code that it exits with."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from crossbank.compiler.cli import main


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def crossbank(*arguments: object, stderr: StringIO | None = None) -> Done:
    """Run `crossbank` with arguments; `stderr` may be a stream that takes itself for a terminal."""
    out, err = StringIO(), stderr or StringIO()
    code = 0
    with patch.object(sys, "argv", ["crossbank", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Done(code, out.getvalue(), err.getvalue())
