"""`generate` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossbank.compiler.cli.building import Batch, Calibration, Chips, Context, Model, Target, chips_of
from crossbank.compiler.cli.printing import put, put_json, signed, table
from crossbank.compiler.cli.progress import progress_bar

ProgramFile = Annotated[Path, typer.Argument(help="a compiled program (.cbk)")]
Seed = Annotated[int, typer.Option(help="which device: seeds programming, drift and read noise")]
Time = Annotated[float, typer.Option("--time", help="seconds since programming ended")]
Noise = Annotated[bool, typer.Option("--noise/--no-noise", help="no noise: keep converters and number formats only")]
Ideal = Annotated[bool, typer.Option("--ideal", help="switch every non-ideality of the device off")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("generate")(generate_command)
    app.command("evaluate")(evaluate_command)


def generate_command(
    program: ProgramFile,
    prompt_ids: Annotated[str | None, typer.Option(help="comma-separated token ids")] = None,
    prompt_text: Annotated[str | None, typer.Option(help="text whose bytes are the token ids")] = None,
    new_tokens: Annotated[int, typer.Option("-n", min=0, help="how many tokens to generate")] = 16,
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
        prompt = np.array(ids, np.int64)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{prompt_ids!r} is no list of ids", param_hint="--prompt-ids") from None
    loaded = load(program)
    new: list[int] = []
    with progress_bar("prompt") as update:
        session = loaded.session(seed=seed, time_s=time_s, noise=noise, ideal=ideal)
        for token in session.stream(prompt, new_tokens):
            new.append(int(token[0]))
            update("generate", len(new) / new_tokens)
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
    seeds: Annotated[int, typer.Option(min=1, help="how many devices to draw, where noise makes them differ")] = 5,
    max_bytes: Annotated[int, typer.Option(min=1, help="how much of the text to use, from its beginning")] = 16384,
    time_s: Time = 0.0,
    noise: Noise = True,
    ideal: Ideal = False,
    as_json: Json = False,
) -> None:
    """Bits per byte of a text on a device, against onnxruntime, over several devices with a 95 % interval."""
    from crossbank.compiler.driver import compile as compile_model
    from crossbank.compiler.report.evaluating import evaluate, read_text_bytes

    read_text_bytes(text, max_bytes)
    with progress_bar("compile") as update:
        program = compile_model(
            model,
            target,
            context=context,
            max_batch=max_batch,
            chips=chips_of(chips),
            calibration=calibration,
            progress=update,
        )
        result = evaluate(
            program, model, text, seeds=seeds, max_bytes=max_bytes, time_s=time_s, noise=noise, ideal=ideal,
            progress=update,
        )  # fmt: skip
    if as_json:
        put_json(result)
    else:
        put(evaluation_text(result))


def evaluation_text(result: dict[str, Any]) -> str:
    """Bits per byte and perplexity of both, and their difference with its interval."""
    interval, seeds = result["difference_interval_95"], result["seeds"]
    spread = f"95 % of {seeds} devices: {signed(interval[0])} to {signed(interval[1])}" if seeds > 1 else ""
    if seeds == 1:
        spread = "one device of many" if interval is None else "all devices are equal"
    rows = [
        ("onnxruntime", f"{result['reference_bits_per_byte']:.4f}", f"{result['reference_perplexity']:.4f}"),
        (str(result["target"]), f"{result['bits_per_byte']:.4f}", f"{result['perplexity']:.4f}"),
    ]
    relative = 100 * result["relative_difference"]
    return "\n".join(
        [
            table(rows, ("", "bits per byte", "perplexity"), (1, 2)),
            f"difference {signed(result['difference'])} bits per byte ({signed(relative, 2)} %); {spread}",
            f"{result['bytes']} bytes predicted, device {result['time_s']:g} s after programming",
        ]
    )
