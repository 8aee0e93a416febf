"""A trained language model, from its ONNX file onto analog PCM crossbars and onto DRAM banks, in two minutes.

Compiles samples/tiny_llama for three targets, lets each generate from its instruction streams, measures how well each
predicts held-out text, and costs them, beside the exact fp32 answer of onnxruntime.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import crossbank
from crossbank.compiler.cli.printing import quantity, share, table
from crossbank.compiler.report.comparing import reference_session
from crossbank.compiler.report.evaluating import evaluate, greedy_reference

HERE = Path(__file__).parent / "tiny_llama"
MODEL, CALIBRATION, HELD_OUT = HERE / "tiny_llama.onnx", HERE / "calibration.txt", HERE / "heldout.txt"
PROMPT = "    if not isinstance("
TITLES = {
    "ideal": "exact oracle",
    "hermes": "PCM crossbars, 8-bit converters, noise, 1 day old",
    "aim": "DRAM banks, bf16",
}
DAY_S = 86400.0


def main() -> None:
    """Run the demonstration; options shorten or lengthen it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bytes", type=int, default=4096, help="how much held-out text to predict")
    options.add_argument("--devices", type=int, default=3, help="how many noisy devices to draw")
    options.add_argument("--tokens", type=int, default=48, help="how many tokens to generate and cost")
    args = options.parse_args()
    start = time.perf_counter()
    prompt = list(PROMPT.encode())
    exact = greedy_reference(reference_session(MODEL), prompt, args.tokens)
    print(f"onnxruntime fp32: {text_of(prompt + exact)!r}\n")
    accuracy: list[tuple[str, ...]] = []
    costs: list[tuple[str, ...]] = []
    for target in ("ideal", "hermes", "aim"):
        began = time.perf_counter()
        calibration = CALIBRATION if target == "hermes" else None
        program = crossbank.compile(MODEL, target, context=512, max_batch=4, calibration=calibration, quiet=True)
        compiled_s = time.perf_counter() - began
        age_s = DAY_S if target == "hermes" else 0.0
        new = program.session(seed=0, time_s=age_s).generate(prompt, args.tokens).tolist()
        same = next((i for i, (a, b) in enumerate(zip(new, exact, strict=True)) if a != b), len(exact))
        count = program.summary()["instructions"]
        print(f"{target}: {TITLES[target]}; {count} instructions, compiled in {compiled_s:.1f} s")
        print(f"  {text_of(prompt + new)!r}\n  the first {same} of {len(exact)} tokens are those of fp32\n")
        result = evaluate(program, MODEL, HELD_OUT, seeds=args.devices, max_bytes=args.bytes, time_s=age_s)
        interval = result["interval_95"]
        accuracy.append(
            (
                target,
                f"{result['bits_per_byte']:.4f}",
                "" if result["seeds"] < 2 else f"± {(interval[1] - interval[0]) / 2:.4f}",
                f"{result['reference_bits_per_byte']:.4f}",
                f"{100 * result['relative_difference']:+.2f} %",
            )
        )
        cost = program.cost(prompt=128, generate=args.tokens)
        free = cost.time_s == 0
        costs.append(
            (
                target,
                str(cost.groups.get("count", 1)),
                "-" if free else quantity(cost.ttft_s, "s"),
                "-" if free else quantity(cost.tpot_s, "s"),
                "-" if cost.tokens_per_s is None else f"{cost.tokens_per_s:.3g}",
                "-" if free or cost.energy_per_token_j is None else quantity(cost.energy_per_token_j, "J"),
                "-" if cost.area_mm2 is None else f"{cost.area_mm2:.0f} mm2",
                "-" if free else share(cost.assumed["energy_share"]),
            )
        )
    print(f"bits per byte of {args.bytes} bytes of held-out text, lower is better (95 % over {args.devices} devices)")
    print(table(accuracy, ("target", "bits/byte", "", "fp32", "difference"), (1, 3, 4)))
    print(f"\ncost of a prompt of 128 tokens and {args.tokens} new ones")
    head = ("target", "chips", "first token", "per token", "tokens/s", "energy/token", "area", "energy assumed")
    print(table(costs, head, (1, 2, 3, 4, 5, 6, 7)))
    print(f"\n{time.perf_counter() - start:.0f} s in all. Next: README.md, or crossbank --help")


def text_of(ids: list[int]) -> str:
    """Token ids of this model are bytes."""
    return bytes(i & 255 for i in ids).decode("utf-8", "replace")


if __name__ == "__main__":
    main()
