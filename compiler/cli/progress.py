"""Progress bars: on stderr, only on a terminal, gone when the work is done.

What is printed inside stays above the bar. Only a terminal's stdout goes through it: a file's or a pipe's is the
product, and must not turn up on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

Update = Callable[[str, float | None], None]
"""Called with what is being done and the share that is done, 0 to 1; None where nobody knows."""


@contextmanager
def progress_bar(what: str) -> Generator[Update]:
    """A bar around the work inside; gives the function that moves it."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>9}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console, same = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=same) as bar:
        task = bar.add_task(what, total=None)

        def update(what: str, share: float | None) -> None:
            bar.update(task, description=what, completed=share or 0.0, total=None if share is None else 1.0)

        yield update
