"""`compile` and `opt`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossbank.compiler.cli.printing import counted, put, put_json, size
from crossbank.compiler.cli.progress import progress_bar
from crossbank.compiler.files import read_text, write_text
from crossbank.runtime.output_file import check_output

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from crossbank.compiler.driver import Compilation

Model = Annotated[Path, typer.Argument(help="an ONNX model")]
Target = Annotated[str, typer.Option("--target", "-t", help="a target's name, or a system file (.toml)")]
Context = Annotated[int | None, typer.Option(help="most tokens a sequence may have; default: the model's own limit")]
Batch = Annotated[int, typer.Option("--max-batch", help="most sequences at once")]
Weights = Annotated[str, typer.Option(help="auto, or shape-only where weight files are absent")]
Chips = Annotated[str, typer.Option(help="how many chips or devices; auto: as many as needed")]
Calibration = Annotated[Path | None, typer.Option(help="text to calibrate converter ranges with (bytes are token ids)")]


def chips_of(text: str) -> int | Literal["auto"]:
    """The value of --chips."""
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor auto", param_hint="--chips") from None


def weights_of(text: str) -> Literal["auto", "shape-only"]:
    """The value of --weights."""
    if text == "auto" or text == "shape-only":
        return text
    raise typer.BadParameter(f"{text!r} is neither auto nor shape-only", param_hint="--weights")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("compile")(compile_command)
    app.command("opt")(opt_command)


def compile_command(
    model: Model,
    target: Target = "ideal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="program file; default: the model's name with .cbk")
    ] = None,
    context: Context = None,
    max_batch: Batch = 8,
    weights: Weights = "auto",
    chips: Chips = "auto",
    calibration: Calibration = None,
    dump_ir: Annotated[Path | None, typer.Option(help="folder for one file of IR per pass")] = None,
    stop_after: Annotated[
        str | None, typer.Option(help="stop after this phase and print its IR, or write it to -o")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from", help="resume from a file of --dump-ir or --stop-after, or from a phase of --dump-ir DIR"
        ),
    ] = None,
    ir: Annotated[Path | None, typer.Option("--ir", help="with --from PHASE: the file to resume from")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Compile a model into a program."""
    from crossbank.compiler.driver import calibrated, compile_to_module, print_module
    from crossbank.compiler.resuming import resume, starting_point

    arguments: dict[str, Any] = {
        "context": context,
        "max_batch": max_batch,
        "weights": weights_of(weights),
        "chips": chips_of(chips),
    }
    start = time.perf_counter()
    path = output or Path(f"{model.stem}.cbk")
    starting = None if start_from is None else starting_point(start_from, ir, dump_ir)
    read = (model, Path(target), calibration, None if starting is None else starting[1])
    check_output(path, [given for given in read if given is not None])
    stopping = stop_after is not None and stop_after != "emit"
    if stopping and calibration is not None:
        raise typer.BadParameter("ranges come from a whole program: not with --stop-after", param_hint="--calibration")

    def run(ranges: dict[str, Any], quiet: bool) -> tuple[ModuleOp, Compilation]:
        given: dict[str, Any] = {
            **arguments,
            "calibration": ranges,
            "quiet": quiet,
            "progress": update,
            "stop_after": stop_after,
        }
        if starting is not None:
            return resume(model, starting[1], starting[0], target, **given)
        return compile_to_module(model, target, dump_ir=dump_ir, **given)

    if stopping:
        with progress_bar("compile") as update:
            module, job = run({}, False)
            text = print_module(module)
        if output is None:
            put(text.rstrip("\n"))
        else:
            write_text(output, text)
            job.ctx.save_tables(output.parent)
        return
    with progress_bar("compile") as update:
        program = calibrated(run, calibration, False, update)
        update("save", 0.99)
        program.save(path)
    seconds = time.perf_counter() - start
    if as_json:
        put_json(program.summary() | {"program": str(path), "size_bytes": path.stat().st_size, "seconds": seconds})
    else:
        put(summary_text(program.summary(), model, path, seconds))


def summary_text(summary: dict[str, Any], model: Path, path: Path, seconds: float) -> str:
    """Eight lines on what was compiled."""
    s = summary
    engines = ", ".join(
        f"{kind} {entry['nodes']} nodes" + (f" {size(entry['weight_bytes'])}" if entry.get("weight_bytes") else "")
        for kind, entry in s.get("engines", {}).items()
        if entry.get("nodes")
    )
    recognised = ", ".join(f"{count} {kind}" for kind, count in s.get("recognised", {}).items() if count)
    missed = s.get("unrecognised", [])
    group = str(s.get("group", ""))
    limits = s.get("limits", {})
    memory = ", ".join(f"{name} {size(used)}" for name, used in s.get("memory", {}).items() if used)
    target = [str(s.get("target")), counted(int(s.get("groups", 1)), group)] if group else [str(s.get("target"))]
    if "calibration" in s:
        target.append(f"converters calibrated from {s['calibration']}")
    return "\n".join(
        [
            f"model        {model.name}: {s.get('nodes', '?')} nodes",
            f"target       {', '.join(target)}",
            f"engines      {engines or '-'}",
            f"recognised   {recognised or '-'}"
            + (f"; not: {len(missed)} (crossbank inspect lists them)" if missed else ""),
            f"capacity     context {limits.get('context')}, batch {limits.get('max_batch')}",
            f"memory       {memory or '-'}",
            f"instructions {s.get('instructions')}",
            f"program      {path} ({size(path.stat().st_size)}) in {seconds:.1f} s",
        ]
    )


def opt_command(
    file: Annotated[Path | None, typer.Argument(help="a file of IR; - for stdin")] = None,
    passes: Annotated[
        str, typer.Option("--passes", "-p", help="comma-separated passes, options in braces: a{n=1},b")
    ] = "",
    target: Target = "ideal",
    model: Annotated[
        Path | None, typer.Option(help="the ONNX model that the IR came from, where passes read weights")
    ] = None,
    context: Annotated[int | None, typer.Option(help="most tokens of a sequence; default: as when dumped")] = None,
    max_batch: Annotated[int | None, typer.Option(help="most sequences at once; default: as when dumped")] = None,
    list_passes: Annotated[bool, typer.Option("--list", help="list all passes and stop")] = False,
) -> None:
    """Run passes on IR and print the result."""
    from crossbank.compiler.resuming import apply_passes, pass_list

    if list_passes:
        put(pass_list())
        return
    if file is None:
        raise typer.BadParameter("give a file of IR, or - for stdin", param_hint="FILE")
    text = sys.stdin.read() if str(file) == "-" else read_text(file)
    put(apply_passes(text, passes, target, model, context, max_batch, file).rstrip("\n"))
