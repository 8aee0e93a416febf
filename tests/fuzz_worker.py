"""Compiles hostile models one after another, for `test_fuzz_models`: a case per line in, a verdict per line out.

Each case may take as much memory as its file has bytes and 500 MB beyond what the process holds before it.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from pathlib import Path

from crossbank.compiler.driver import compile
from crossbank.runtime.program import ProgramError
from tests.mutations import case
from tests.zoo import HERE

BEYOND_BYTES = 500 << 20
CONTEXT = 64


def data_bytes() -> int:
    """Private writable memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def verdict(path: Path) -> str:
    """What compiling a file comes to: "compiled", the code of a diagnostic, or the trace of what escaped."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + path.stat().st_size + BEYOND_BYTES, hard))
    try:
        compile(path, context=CONTEXT, quiet=True)
    except ProgramError as error:
        return str(error.code) if str(error) else "a diagnostic without words"
    except BaseException as error:
        while error.__cause__ is not None:
            error = error.__cause__
        frames = (
            f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-4:]
        )
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' < '.join(reversed(list(frames)))}"
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, hard))
    return "compiled"


def main(folder: Path, seed: int, zoos: list[Path]) -> None:
    """Answer until the input ends; a line that is no number is the path of a file."""
    compile(HERE / "ts17_kv_gpt2" / "model.onnx", context=CONTEXT, quiet=True)
    print("ready", flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        if line.strip().isdigit():
            path = folder / "case.onnx"
            path.write_bytes(case(seed, int(line), *zoos))
        start = time.process_time()
        answer = verdict(path)
        print(f"{time.process_time() - start:.2f} {answer}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])
