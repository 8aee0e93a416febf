"""Run benchmarks and print their table: `python -m benchmarks [NAME …] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.bars import Options, Row
from crossbank.compiler.cli.progress import progress_bar

NAMES = (
    "ideal_sample",
    "ideal_zoo",
    "importing",
    "compiling",
    "costing",
    "speed",
    "short_cost",
    "mutation",
    "hermes_peak",
    "aim_cycles",
    "accuracy",
)


def _rows(name: str, options: Options) -> Iterator[Row]:
    try:
        yield from import_module(f"benchmarks.{name}").run(options)
    except Exception as error:
        yield Row("all of it" if not str(error) else "the rest", "runs", f"{type(error).__name__}: {error}", False)


def main() -> None:
    """Exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all without any")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--shared", type=Path, default=Options.shared, help="folder with zoo/ and reference/")
    parser.add_argument("--models", type=Path, default=Options.models, help="folder for exported models")
    parser.add_argument("--targets", nargs="+", default=list(Options.targets))
    parser.add_argument("--seeds", type=int, default=Options.seeds, help="devices drawn where noise is on")
    parser.add_argument("--text-bytes", type=int, default=Options.text_bytes, help="how much text is evaluated")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: they are {', '.join(NAMES)}")
    options = Options(
        arguments.shared, arguments.models, tuple(arguments.targets), arguments.seeds, arguments.text_bytes
    )
    found: list[dict[str, object]] = []
    names = arguments.names or NAMES
    with progress_bar("benchmark") as update:
        for i, name in enumerate(names):
            start = time.perf_counter()
            update(name, i / len(names))
            for row in _rows(name, options):
                found.append({"benchmark": name, **asdict(row)})
                mark = {True: "ok", False: "MISSED", None: "-"}[row.ok]
                print(f"{name:<13} {row.name:<58} {row.bar:<22} {row.measured:<34} {mark}", flush=True)
            print(f"{name:<13} took {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    missed = sum(row["ok"] is False for row in found)
    print(f"{len(found)} lines, {missed} missed", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
