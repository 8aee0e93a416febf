"""The command line: stdout carries the product, stderr the rest; exit codes 0 done, 1 can't, 2 usage, 70 our bug."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from crossbank.compiler.cli import building, executing, looking, pricing, running, targets
from crossbank.compiler.errors import OUR_BUG, versions, write_bundle
from crossbank.runtime.program import ProgramError

app = typer.Typer(
    name="crossbank",
    help="Compile ONNX language models for in-memory computing, run them with the device's arithmetic, and cost them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (building, running, executing, pricing, looking):
    module.register(app)
app.add_typer(targets.app, name="target")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"crossbank {versions()['crossbank']}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """Compile ONNX language models for in-memory computing, run them with the device's arithmetic, and cost them."""


def main() -> None:
    """Run the command line of this process."""
    try:
        app(prog_name="crossbank")
    except ProgramError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        folder = write_bundle(error)
        cause = error.__cause__ or error
        print(
            f"internal error: {type(cause).__name__}: {cause}\n"
            f"  this is a bug of crossbank, not of your input; what is needed to mend it lies in {folder}\n"
            f"  replay: {shlex.join(['crossbank', *sys.argv[1:]])}",
            file=sys.stderr,
        )
        sys.exit(OUR_BUG)
