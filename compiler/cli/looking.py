"""`inspect`, `dis`, `asm` and `reference`: look into programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossbank.compiler.cli.printing import put, put_json, size, table
from crossbank.runtime.program import ProgramError

ProgramFile = Annotated[Path, typer.Argument(help="a compiled program (.cbk)")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("inspect")(inspect_command)
    app.command("dis")(dis_command)
    app.command("asm")(asm_command)
    app.command("reference")(reference_command)


def inspect_command(
    program: ProgramFile,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What a program holds: nodes, engines, what was recognised, memory, entry points."""
    from crossbank.runtime.compiled import load

    loaded = load(program)
    summary = loaded.summary()
    if as_json:
        put_json(summary)
        return
    put(f"target {summary['target']}: {summary.get('title', '')}")
    put(f"entry points {', '.join(loaded.functions)}")
    put("\nengines")
    rows = [
        (kind, str(e.get("nodes", 0)), f"{e.get('macs', 0):.4g}", size(e.get("weight_bytes", 0)))
        for kind, e in summary.get("engines", {}).items()
    ]
    put(table(rows, ("kind", "nodes", "MACs a token", "weights"), (1, 2, 3)))
    put("\nrecognised")
    put(table([(kind, str(n)) for kind, n in summary.get("recognised", {}).items()], ("kind", "count"), (1,)))
    missed: list[Any] = summary.get("unrecognised", [])
    if missed:
        put("\nnot recognised (they run all the same)")
        put(table([tuple(map(str, row)) for row in missed], ("operation", "node", "why")[: len(missed[0])]))
    put("\nmemory")
    code = loaded.code
    put(
        table(
            [
                (s.name, s.kind, size(s.used_bytes), "-" if s.capacity_bytes is None else size(s.capacity_bytes))
                for s in code.spaces.values()
            ],
            ("space", "kind", "used", "capacity"),
            (2, 3),
        )
    )
    put(f"\n{summary.get('instructions')} instructions in {len(code.blocks)} blocks; capacity {summary['limits']}")


def dis_command(
    program: ProgramFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write to this file")] = None,
) -> None:
    """Print a program's instruction streams as assembly."""
    from crossbank.runtime.assembly.disassembler import disassemble
    from crossbank.runtime.compiled import load

    text = disassemble(load(program).code)
    if output is None:
        put(text.rstrip("\n"))
    else:
        output.write_text(text, encoding="utf-8")


def asm_command(
    source: Annotated[Path, typer.Argument(help="assembly, as dis writes it")],
    program: Annotated[Path, typer.Option("--weights", help="the program whose weights and system it uses")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the program to write")],
) -> None:
    """Assemble instruction streams into a program."""
    from crossbank.runtime.assembly.assembler import assemble
    from crossbank.runtime.compiled import Program, load

    base = load(program)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError("CB0813", f"can't read {source}: {error}") from error
    made = Program(assemble(text), base.tensors)
    made.verify()
    made.save(output)


def reference_command(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write to this file")] = None,
) -> None:
    """Print the reference page of all instructions, from their declarations."""
    from crossbank.runtime.assembly.reference import reference_page

    text = reference_page()
    if output is None:
        put(text.rstrip("\n"))
    else:
        output.write_text(text, encoding="utf-8")
