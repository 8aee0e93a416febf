"""`cost`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from crossbank.compiler.cli.printing import counted, note, put, put_json, quantity, share, size, table
from crossbank.compiler.cli.progress import progress_bar
from crossbank.compiler.files import write_text
from crossbank.runtime.output_file import check_output
from crossbank.runtime.program import ProgramError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("cost")(cost_command)


def cost_command(
    program: Annotated[Path | None, typer.Argument(help="a compiled program (.cbk)")] = None,
    prompt: Annotated[int, typer.Option(help="tokens of the prompt")] = 128,
    generate: Annotated[int, typer.Option(help="tokens to generate")] = 128,
    batch: Annotated[int, typer.Option(help="sequences at once")] = 1,
    by: Annotated[str, typer.Option(help="component, engine, node or phase")] = "component",
    top: Annotated[int, typer.Option(min=0, help="rows of the breakdown to print")] = 12,
    aim_trace: Annotated[
        Path | None, typer.Option(help="cost a trace of DRAM-PIM commands instead of a program")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh/--no-refresh", help="whether the memory refreshes, for traces")
    ] = True,
    exact: Annotated[bool, typer.Option("--exact", help="follow every event: slow, equal figures")] = False,
    trace: Annotated[
        Path | None, typer.Option(help="write every instruction's time to this JSON file, for Perfetto")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Time, energy and area of a prompt and the tokens generated after it."""
    if aim_trace is not None:
        if program is not None:
            raise typer.BadParameter("give a program or a trace, not both", param_hint="--aim-trace")
        _trace(aim_trace, refresh, as_json)
        return
    if program is None:
        raise typer.BadParameter("give a program, or --aim-trace FILE")
    if by not in ("component", "engine", "node", "phase"):
        raise typer.BadParameter(f"{by!r} is none of component, engine, node, phase", param_hint="--by")
    from crossbank.runtime.compiled import load

    if trace is not None:
        check_output(trace, (program,))
    loaded = load(program)
    with progress_bar("cost") as update:
        if trace is not None:
            from crossbank.runtime.trace import generation_trace

            document = generation_trace(loaded.code, prompt, generate, batch, progress=update)
            write_text(trace, json.dumps(document) + "\n")
        cost = loaded.cost(prompt=prompt, generate=generate, batch=batch, exact=exact, progress=update)
    if as_json:
        put_json(cost.to_dict())
        return
    put(cost_text(cost.to_dict(), by, top))


def cost_text(cost: dict[str, Any], by: str, top: int) -> str:
    """The totals, what rests on assumptions, and a breakdown."""
    groups = cost["groups"]
    assumed = cost["assumed"]
    resting = "rests on assumed numbers"
    lines = [
        f"prompt {cost['prompt']}, generate {cost['generate']}, batch {cost['batch']}"
        + (f" on {counted(groups['count'], groups['name'])}" if groups.get("name") else ""),
        f"time to first token    {quantity(cost['ttft_s'], 's')}",
        f"time per output token  {quantity(cost['tpot_s'], 's')}",
        f"tokens per second      {'-' if cost['tokens_per_s'] is None else format(cost['tokens_per_s'], '.4g')}",
        f"time, all              {quantity(cost['time_s'], 's')}   {share(assumed['time_share'])} {resting}",
        f"energy                 {quantity(cost['energy_j'], 'J')}   {share(assumed['energy_share'])} {resting}",
        "energy per token       "
        + ("-" if cost["energy_per_token_j"] is None else quantity(cost["energy_per_token_j"], "J")),
        f"area                   {'-' if cost['area_mm2'] is None else format(cost['area_mm2'], '.0f') + ' mm2'}"
        + ("   assumed" if assumed["area"] and cost["area_mm2"] is not None else ""),
        f"working memory         {size(cost['memory_bytes'])}",
    ]
    parts = cost["breakdown"][by]
    rows = [
        (
            name,
            quantity(part["time_s"], "s"),
            share(part["time_s"] / cost["time_s"] if cost["time_s"] else 0.0),
            quantity(part["energy_j"], "J"),
            share(part["energy_j"] / cost["energy_j"] if cost["energy_j"] else 0.0),
        )
        for name, part in list(parts.items())[:top]
    ]
    if rows:
        lines += ["", table(rows, (by, "time", "", "energy", ""), (1, 2, 3, 4))]
        if len(parts) > top:
            lines.append(f"… and {len(parts) - top} more (--top)")
    for engine, part in cost["breakdown"]["busy"].items():
        lines.append(
            f"{engine}: on the critical path {quantity(part['busy_s'], 's')}, idle {quantity(part['idle_s'], 's')}; "
            f"works {quantity(part['work_s'], 's')} in all its units"
        )
    return "\n".join(lines)


def _trace(path: Path, refresh: bool, as_json: bool) -> None:
    from importlib.metadata import entry_points

    entries = {entry.name: entry for entry in entry_points(group="crossbank.traces")}
    if "aim" not in entries:
        raise ProgramError("CB0812", "no installed family reads such traces", help="install the package again")
    with progress_bar("cost"):
        result: dict[str, Any] = entries["aim"].load()(path, refresh)
    for text in result.get("notes", ()):
        note(text)
    if as_json:
        put_json(result)
        return
    put(f"{result['cycles']} cycles, {result['time_ns']:g} ns, {quantity(result['energy_pj'] * 1e-12, 'J')}")
