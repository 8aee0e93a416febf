"""The command line: stdout carries the product, stderr the rest; exit codes 0 done, 1 can't, 2 usage, 70 our bug."""

from __future__ import annotations

import shlex
import sys

import typer

from crossbank.compiler.cli import building, executing, looking, pricing, targets
from crossbank.compiler.errors import OUR_BUG, write_bundle
from crossbank.runtime.program import ProgramError

app = typer.Typer(
    name="crossbank",
    help="Compile ONNX language models for in-memory computing, run them with the device's arithmetic, and cost them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (building, executing, pricing, looking):
    module.register(app)
app.add_typer(targets.app, name="target")


def main() -> None:
    """Run the command line of this process."""
    try:
        app(standalone_mode=True)
    except ProgramError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    except Exception as error:
        folder = write_bundle(error)
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            f"  this is a bug of crossbank, not of your input; what is needed to mend it lies in {folder}\n"
            f"  replay: {shlex.join(sys.argv)}",
            file=sys.stderr,
        )
        sys.exit(OUR_BUG)
