"""What a benchmark yields, what it is told, and how long and how much memory a piece of Python takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "tiny_llama" / "tiny_llama.onnx"


PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    found["peak_bytes"] = 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
else:
    import resource
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
"""Linux keeps the maximum of getrusage over exec: it would be that of the process that measures."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, what is promised, what came out; `ok` None where nothing is promised."""

    name: str
    bar: str
    measured: str
    ok: bool | None


@dataclass(frozen=True)
class Options:
    """Where data lies: `shared` has zoo/ and reference/, `models` takes what the benchmarks export themselves."""

    shared: Path = ROOT.parent / "shared"
    models: Path = Path(tempfile.gettempdir()) / "crossbank-models"
    targets: tuple[str, ...] = ("ideal", "hermes", "aim")
    seeds: int = 5
    text_bytes: int = 16384


def within(name: str, value: float, most: float, unit: str = "") -> Row:
    """A row that is good where `value` is at most `most`."""
    return Row(name, f"<= {most:g}{unit}", f"{value:.3g}{unit}", value <= most)


def at_least(name: str, value: float, least: float, unit: str = "") -> Row:
    """A row that is good where `value` is at least `least`."""
    return Row(name, f">= {least:g}{unit}", f"{value:.3g}{unit}", value >= least)


def measured(script: str, *arguments: object) -> dict[str, Any]:
    """What a fresh Python says: `script` sets the dict `found`; `peak_bytes` of the whole process is added.

    RuntimeError with the end of its output where it fails.
    """
    program = f"import json, sys\nfound = {{}}\n{script}\n{PEAK}\nprint(json.dumps(found))\n"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    return json.loads(done.stdout.splitlines()[-1])
