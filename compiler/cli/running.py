"""`run`: outputs from inputs, beside onnxruntime's, and what was counted on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossbank.compiler.cli.executing import Ideal, Json, Noise, ProgramFile, Seed, Time
from crossbank.compiler.cli.printing import put, put_json, size, table
from crossbank.compiler.cli.progress import progress_bar
from crossbank.runtime.output_file import check_output, output_file

if TYPE_CHECKING:
    from crossbank.runtime.counters import Counters, Tally

Check = Literal["onnxruntime"]
View = Literal["instruction", "engine", "node", "function"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("run")(run_command)


def run_command(
    program: ProgramFile,
    inputs: Annotated[Path, typer.Option(help="an .npz with an array per input")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write the outputs to this .npz")] = None,
    check: Annotated[Check | None, typer.Option(help="compare with the model under onnxruntime")] = None,
    model: Annotated[
        Path | None, typer.Option(help="the ONNX model, for --check; default: where it was when compiled")
    ] = None,
    counters: Annotated[bool, typer.Option("--counters", help="count what is executed")] = False,
    by: Annotated[View, typer.Option(help="what --counters tells apart")] = "instruction",
    seed: Seed = 0,
    time_s: Time = 0.0,
    noise: Noise = True,
    ideal: Ideal = False,
    as_json: Json = False,
) -> None:
    """Run a program once on given inputs."""
    import numpy as np

    from crossbank.compiler.report.comparing import compare_with_onnxruntime, model_of, read_inputs, with_formats
    from crossbank.runtime.compiled import load
    from crossbank.runtime.counters import Counters

    if output is not None:
        check_output(output, (inputs, program))
    feeds = read_inputs(inputs)
    loaded = load(program)
    reference = None if check is None else model or model_of(loaded, program)
    with progress_bar("run"):
        counted = Counters(loaded.code) if counters else None
        listeners = [] if counted is None else [counted]
        session = loaded.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal, listeners=listeners)
        feeds = with_formats(feeds, session)
        names = [port.name for port in session.get_outputs()]
        found = dict(zip(names, session.run(None, feeds), strict=True))
        compared = compare_with_onnxruntime(reference, feeds, found) if reference is not None else {}
    if output is not None:
        with output_file(output) as file:
            np.savez(file, allow_pickle=False, **found)
    rows: list[dict[str, Any]] = [
        {"output": name, "shape": list(value.shape), "dtype": value.dtype.name, **compared.get(name, {})}
        for name, value in found.items()
    ]
    if as_json:
        put_json(rows if counted is None else {"outputs": rows, "counters": counted.to_dict()})
        return
    head = ("output", "shape", "dtype", *(("relative error", "max abs error") if compared else ()))
    cells: list[tuple[str, ...]] = [
        (r["output"], "x".join(map(str, r["shape"])), r["dtype"])
        + ((f"{r['relative_error']:.3g}", f"{r['max_abs_error']:.3g}") if compared else ())
        for r in rows
    ]
    put(table(cells, head, (3, 4)))
    if counted is not None:
        put("\n" + counters_text(counted, by))


def counters_text(counters: Counters, by: View) -> str:
    """What was executed by one view, its sum, and why MACs were padding or scores hidden."""
    rows = {**counters.by(by), "all": counters.total()}
    head = (by, "executed", "MACs", "padding", "scores", "hidden", "moved")
    total = rows["all"]
    lines = [table((_tally_row(name, tally) for name, tally in rows.items()), head, range(1, 7))]
    for what, reasons in (("padding", total.padding), ("hidden", total.hidden)):
        lines += [f"{what}: {n:,} {reason}" for reason, n in reasons.items() if n]
    return "\n".join(lines)


def _tally_row(name: str, tally: Tally) -> tuple[str, ...]:
    amounts = (tally.executed, tally.macs, sum(tally.padding.values()), tally.scores, sum(tally.hidden.values()))
    return (name, *(f"{amount:,}" if amount else "-" for amount in amounts), size(tally.bytes))
