"""`run`, `generate` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossbank.compiler.cli.building import Batch, Calibration, Chips, Context, Model, Target, chips_of
from crossbank.compiler.cli.printing import note, put, put_json, table
from crossbank.runtime.program import ProgramError

ProgramFile = Annotated[Path, typer.Argument(help="a compiled program (.cbk)")]
Seed = Annotated[int, typer.Option(help="which device: seeds programming, drift and read noise")]
Time = Annotated[float, typer.Option("--time", help="seconds since programming ended")]
Noise = Annotated[bool, typer.Option("--noise/--no-noise", help="no noise: keep converters and number formats only")]
Ideal = Annotated[bool, typer.Option("--ideal", help="switch every non-ideality of the device off")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("run")(run_command)
    app.command("generate")(generate_command)
    app.command("evaluate")(evaluate_command)


def run_command(
    program: ProgramFile,
    inputs: Annotated[Path, typer.Option(help="an .npz with an array per input")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write the outputs to this .npz")] = None,
    check: Annotated[str | None, typer.Option(help="onnxruntime: compare with the model under onnxruntime")] = None,
    model: Annotated[Path | None, typer.Option(help="the ONNX model, for --check")] = None,
    seed: Seed = 0,
    time_s: Time = 0.0,
    noise: Noise = True,
    ideal: Ideal = False,
) -> None:
    """Run a program once on given inputs."""
    import numpy as np

    from crossbank.compiler.report.comparing import compare_with_onnxruntime, read_inputs
    from crossbank.runtime.compiled import load

    feeds = read_inputs(inputs)
    loaded = load(program)
    session = loaded.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal)
    names = [port.name for port in session.get_outputs()]
    found = dict(zip(names, session.run(None, feeds), strict=True))
    if check is not None:
        if check != "onnxruntime" or model is None:
            raise ProgramError(
                "CB0811",
                "--check takes onnxruntime and needs --model FILE",
                help="--check onnxruntime --model MODEL.onnx",
            )
        rows = compare_with_onnxruntime(model, feeds, found)
        put(
            table(
                [(n, s, f"{e:.3g}", f"{a:.3g}") for n, s, e, a in rows],
                ("output", "shape", "relative error", "max abs"),
                (2, 3),
            )
        )
    else:
        put(
            table(
                [(n, "x".join(map(str, a.shape)), str(a.dtype)) for n, a in found.items()], ("output", "shape", "dtype")
            )
        )
    if output is not None:
        np.savez(output, **{name: np.asarray(value) for name, value in found.items()})


def generate_command(
    program: ProgramFile,
    prompt_ids: Annotated[str | None, typer.Option(help="comma-separated token ids")] = None,
    prompt_text: Annotated[str | None, typer.Option(help="text whose bytes are the token ids")] = None,
    new_tokens: Annotated[int, typer.Option("-n", help="how many tokens to generate")] = 16,
    seed: Seed = 0,
    time_s: Time = 0.0,
    noise: Noise = True,
    ideal: Ideal = False,
    as_json: Json = False,
) -> None:
    """Generate tokens greedily, the cache staying on the device."""
    import numpy as np

    from crossbank.runtime.compiled import load

    if (prompt_ids is None) == (prompt_text is None):
        raise typer.BadParameter("give one of --prompt-ids and --prompt-text")
    try:
        ids = (
            [int(part) for part in prompt_ids.split(",")]
            if prompt_ids is not None
            else list((prompt_text or "").encode())
        )
    except ValueError:
        raise typer.BadParameter(f"{prompt_ids!r} is no list of ids", param_hint="--prompt-ids") from None
    session = load(program).session(seed=seed, time_s=time_s, noise=noise, ideal=ideal)
    new = [int(token) for token in np.ravel(session.generate(np.array(ids, np.int64), new_tokens))]
    if as_json:
        put_json({"prompt": ids, "tokens": new})
    elif prompt_text is not None:
        put(prompt_text + bytes(token & 255 for token in new).decode("utf-8", "replace"))
    else:
        put(",".join(map(str, new)))


def evaluate_command(
    model: Model,
    text: Annotated[Path, typer.Option("--text", help="text to predict (bytes are the token ids)")],
    target: Target = "ideal",
    context: Context = None,
    max_batch: Batch = 8,
    chips: Chips = "auto",
    calibration: Calibration = None,
    seeds: Annotated[int, typer.Option(help="how many devices to draw")] = 5,
    max_bytes: Annotated[int, typer.Option(help="how much of the text to use")] = 16384,
    time_s: Time = 0.0,
    noise: Noise = True,
    ideal: Ideal = False,
    as_json: Json = False,
) -> None:
    """Bits per byte of a text on a device, against onnxruntime, over several devices with a 95 % interval."""
    from crossbank.compiler.driver import compile as compile_model
    from crossbank.compiler.report.evaluating import evaluate

    program = compile_model(
        model, target, context=context, max_batch=max_batch, chips=chips_of(chips), calibration=calibration
    )
    result: dict[str, Any] = evaluate(
        program, model, text, seeds=seeds, max_bytes=max_bytes, time_s=time_s, noise=noise, ideal=ideal, progress=note
    )
    if as_json:
        put_json(result)
        return
    put(f"onnxruntime fp32   {result['reference_bits_per_byte']:.4f} bits per byte")
    interval = result["interval_95"]
    spread = (
        f"  (95 % of devices' mean: {interval[0]:.4f} to {interval[1]:.4f}, {result['seeds']} devices)"
        if interval
        else ""
    )
    put(f"{result['target']:<18} {result['bits_per_byte']:.4f} bits per byte{spread}")
    put(f"difference         {result['difference']:+.4f}  ({100 * result['relative_difference']:+.2f} %)")
