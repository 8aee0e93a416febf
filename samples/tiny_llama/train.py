"""Trains the byte-level Llama on Python's standard library, exports it to ONNX and evaluates the exported file.

python samples/tiny_llama/train.py               # train, export, evaluate
python samples/tiny_llama/train.py --evaluate    # evaluate only
python samples/tiny_llama/train.py --untrained   # export with random weights, for the shapes alone
"""

import argparse
import math
import time
from pathlib import Path

import onnxruntime
import torch
from corpus import heldout_files, read, training_files
from evaluate import bits_per_byte
from export import export_onnx
from model import LlamaConfig, LlamaForCausalLM
from torch import Tensor, nn

HERE = Path(__file__).parent
SEED = 0
LEARNING_RATE = 2.5e-3
WARMUP_STEPS = 100
TOKENS_PER_STEP = 2048
DECAY_SHARE = 0.3  # of the steps, at the end


def decaying(step: int, steps: int) -> bool:
    """Whether `step` is in the last stage, of falling learning rate and long windows."""
    return step >= round((1 - DECAY_SHARE) * steps)


def learning_rate(step: int, steps: int) -> float:
    """A linear warm-up, a plateau, a linear fall towards zero."""
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def batch(text: Tensor, step: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random windows (batch, window) and the bytes that follow each of their positions.

    Short windows are cheaper and teach most; the long ones at the end teach the far positions.
    """
    window = 512 if decaying(step, steps) else 256
    starts = torch.randint(len(text) - window, (TOKENS_PER_STEP // window, 1), generator=generator)
    windows = text[starts + torch.arange(window + 1)].long()
    return windows[:, :-1], windows[:, 1:]


def train(model: LlamaForCausalLM, text: bytes, steps: int) -> None:
    """Train `model` in place with AdamW."""
    model.train()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(SEED)
    started = time.monotonic()
    running = 8.0
    for step in range(steps):
        inputs, targets = batch(data, step, steps, generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        logits, _ = model(inputs)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running += 0.01 * (loss.item() / math.log(2) - running)
        if step % 100 == 0:
            elapsed_s = time.monotonic() - started
            print(f"step {step:5d}/{steps}  {running:.3f} bits per byte  {elapsed_s:6.0f} s", flush=True)


def evaluate(path: Path) -> None:
    """Print the bits per byte on the committed excerpt and on all held-out modules of this Python."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for name, text in (("heldout.txt", (HERE / "heldout.txt").read_bytes()), ("all", read(heldout_files()))):
        result, count = bits_per_byte(session, text)
        print(f"{result:.4f} bits per byte on held-out text ({name}, {count} bytes)")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "tiny_llama.onnx")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", action="store_true", help="evaluate the model at --output, don't train")
    parser.add_argument("--untrained", action="store_true", help="export random weights, don't train")
    arguments = parser.parse_args()
    if not arguments.evaluate:
        torch.manual_seed(SEED)
        torch.set_num_threads(arguments.threads)
        model = LlamaForCausalLM(LlamaConfig())
        print(f"{sum(p.numel() for p in model.parameters())} parameters")
        if not arguments.untrained:
            train(model, read(training_files()), arguments.steps)
        export_onnx(model, arguments.output)
    evaluate(arguments.output)


if __name__ == "__main__":
    main()
