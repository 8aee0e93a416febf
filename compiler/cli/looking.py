"""`inspect`, `dis`, `asm` and `reference`: look into programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from crossbank.compiler.cli.printing import counted, put, put_json, size, table
from crossbank.compiler.files import read_text, write_text
from crossbank.runtime.output_file import check_output
from crossbank.runtime.program import ProgramError

if TYPE_CHECKING:
    from crossbank.runtime.compiled import Program

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
    put(inspection_text(loaded))


def inspection_text(program: Program) -> str:
    """What a program holds, for a person."""
    summary, code = program.summary(), program.code
    limits, groups = summary["limits"], counted(int(summary.get("groups", 1)), str(summary.get("group", "")))
    engines = [
        (kind, str(e["nodes"]), f"{e['macs']:.4g}", size(e["weight_bytes"]))
        for kind, e in summary.get("engines", {}).items()
        if e["nodes"]
    ]
    memory = [
        (s.name, s.kind, size(s.used_bytes), "-" if s.capacity_bytes is None else size(s.capacity_bytes))
        for s in code.spaces.values()
    ]
    recognised = [(kind, str(count)) for kind, count in summary.get("recognised", {}).items() if count]
    missed: list[Any] = summary.get("unrecognised", [])
    built = _architecture(summary.get("architecture", {}))
    parts = [
        f"model        {summary.get('model')}: {_nodes(summary)}",
        f"target       {summary['target']}: {code.system.get('title', '')}"
        + (f"; {groups}" if summary.get("group") else ""),
        f"capacity     context {limits.get('context')}, batch {limits.get('max_batch')}",
        f"entry points {', '.join(program.functions)}",
        f"instructions {summary.get('instructions')} in {counted(len(code.blocks), 'block')}",
        *([f"converters   calibrated from {summary['calibration']}"] if "calibration" in summary else []),
        "",
        table(engines, ("engine", "nodes", "MACs of a first token", "weights"), (1, 2, 3)),
        "",
        table(recognised, ("recognised", "count"), (1,)),
        "",
        *([table(built, ("architecture", "", "count"), (2,)), ""] if built else []),
        table(memory, ("memory", "kind", "used", "capacity"), (2, 3)),
    ]
    if missed:
        parts += ["", table([tuple(map(str, row)) for row in missed], ("not recognised", "node", "why"))]
    return "\n".join(parts)


def _nodes(summary: dict[str, Any]) -> str:
    """How many nodes a model has and where they went."""
    within = {name for others in summary.get("absorbed", {}).values() for name in others}
    parts = {
        "executed": summary.get("executed", []),
        "within them": within,
        "views": summary.get("views", []),
        "folded": summary.get("folded", []),
    }
    return f"{summary.get('nodes')} nodes: " + ", ".join(f"{len(names)} {what}" for what, names in parts.items())


def _architecture(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of what a model is built of: part, description, how often."""
    rows = [("layers", "", str(found["layers"]))] if found.get("layers") else []
    for part, counts in found.items():
        if isinstance(counts, dict) and part != "repeated":
            rows += [(part, text, str(count)) for text, count in cast("dict[str, int]", counts).items()]
    if found.get("head", "none") != "none":
        rows.append(("head", f"{found['head']} embedding", "1"))
    return rows


def dis_command(
    program: ProgramFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write to this file")] = None,
) -> None:
    """Print a program's instruction streams as assembly."""
    from crossbank.runtime.assembly.disassembler import disassemble
    from crossbank.runtime.compiled import load

    if output is not None:
        check_output(output, (program,))
    text = disassemble(load(program).code)
    if output is None:
        put(text.rstrip("\n"))
    else:
        write_text(output, text)


def asm_command(
    source: Annotated[Path, typer.Argument(help="assembly, as dis writes it")],
    program: Annotated[Path, typer.Option("--weights", help="the program whose weights and system it uses")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the program to write")],
) -> None:
    """Assemble instruction streams into a program."""
    from crossbank.runtime.assembly.assembler import assemble
    from crossbank.runtime.compiled import Program, load

    check_output(output, (source,))
    text = read_text(source)
    try:
        code = assemble(text)
    except ProgramError as error:
        error.where = f"{source}, {error.where}" if error.where else str(source)
        raise
    made = Program(code, load(program).tensors)
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
        write_text(output, text)
