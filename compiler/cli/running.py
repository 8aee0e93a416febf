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
    from collections.abc import Sequence

    from crossbank.compiler.report.comparing_nodes import NodeError
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
        Path | None,
        typer.Option(help="the ONNX model, for --check and --compare-nodes; default: where it was when compiled"),
    ] = None,
    compare_nodes: Annotated[
        bool, typer.Option("--compare-nodes", help="compare what is computed on the way with onnxruntime, node by node")
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=0, help="relative error from which --compare-nodes marks a node")
    ] = 0.01,
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
    from crossbank.compiler.report.comparing_nodes import compare_values
    from crossbank.runtime.compiled import load
    from crossbank.runtime.counters import Counters

    if output is not None:
        check_output(output, (inputs, program))
    feeds = read_inputs(inputs)
    loaded = load(program)
    reference = (model or model_of(loaded, program)) if check is not None or compare_nodes else None
    with progress_bar("run"):
        counted = Counters(loaded.code) if counters else None
        listeners = [] if counted is None else [counted]
        session = loaded.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal, listeners=listeners)
        feeds = with_formats(feeds, session)
        found, values = session.values(feeds, None if compare_nodes else ())
        compared = compare_with_onnxruntime(reference, feeds, found) if reference is not None and check else {}
        nodes = compare_values(values, feeds, reference, threshold) if reference is not None and compare_nodes else None
    if output is not None:
        with output_file(output) as file:
            np.savez(file, allow_pickle=False, **found)
    rows: list[dict[str, Any]] = [
        {"output": name, "shape": list(value.shape), "dtype": value.dtype.name, **compared.get(name, {})}
        for name, value in found.items()
    ]
    if as_json:
        more = {} if nodes is None else {"nodes": [row.to_dict() for row in nodes]}
        more |= {} if counted is None else {"counters": counted.to_dict()}
        put_json({"outputs": rows, **more} if more else rows)
        return
    head = ("output", "shape", "dtype", *(("relative error", "max abs error") if compared else ()))
    cells: list[tuple[str, ...]] = [
        (r["output"], "x".join(map(str, r["shape"])), r["dtype"])
        + ((f"{r['relative_error']:.3g}", f"{r['max_abs_error']:.3g}") if compared else ())
        for r in rows
    ]
    put(table(cells, head, (3, 4)))
    if nodes is not None:
        put("\n" + nodes_text(nodes, threshold))
    if counted is not None:
        put("\n" + counters_text(counted, by))


def nodes_text(nodes: Sequence[NodeError], threshold: float) -> str:
    """Each node's error in order of execution, the first above the threshold marked."""
    rows = [
        (
            node.node, node.op_type, node.instruction, "x".join(map(str, node.shape)), f"{node.relative_error:.3g}",
            f"{node.max_abs_error:.3g}", "<-" if node.first else "",
        )
        for node in nodes
    ]  # fmt: skip
    head = ("node", "operator", "instruction", "shape", "relative error", "max abs error", "first")
    first = next((node for node in nodes if node.first), None)
    verdict = "none is" if first is None else f"{first.node} is the first"
    return f"{table(rows, head, (4, 5))}\n{len(nodes)} tensors compared; {verdict} above {threshold:g}"


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
