"""The models that benchmarks compile beside the sample, made on first use in the folder for models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from shutil import rmtree

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.bars import ROOT, Options

EXPORTS = ROOT / "samples" / "export"


def gpt2_small(options: Options) -> Path:
    """A model of GPT-2-small's shape with random weights; making it needs the extra `torch`."""
    path = options.models / "gpt2-small.onnx"
    if not path.exists():
        options.models.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(EXPORTS / "gpt2_small.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            path.unlink(missing_ok=True)
            raise RuntimeError(f"samples/export/gpt2_small.py: {done.stderr.strip().splitlines()[-1]}")
    return path


def llama_70b(options: Options, layers: int = 80) -> Path:
    """The graph of Llama-2-70B without weights, or of its first layers."""
    path = options.models / f"llama-2-70b-{layers}.onnx"
    if not path.exists():
        options.models.mkdir(parents=True, exist_ok=True)
        export = run_path(str(EXPORTS / "llama_shape.py"))
        shape = replace(export["SHAPES"]["llama-2-70b"], layers=layers)
        onnx.save(export["llama_graph"](shape, TensorProto.FLOAT, f"{path.name}.data"), path)
    return path


@contextmanager
def llama_7b(options: Options) -> Iterator[Path]:
    """Llama-2-7B in float16 with 13.5 GB of normal values beside it, which are deleted afterwards."""
    folder = options.models / "llama-2-7b"
    folder.mkdir(parents=True, exist_ok=True)
    path, data = folder / "model.onnx", folder / "model.onnx.data"
    try:
        export = run_path(str(EXPORTS / "llama_shape.py"))
        model = export["llama_graph"](export["SHAPES"]["llama-2-7b"], TensorProto.FLOAT16, data.name)
        onnx.save(model, path)
        values = (np.random.default_rng(0).standard_normal(1 << 26, np.float32) * 0.02).astype(np.float16)
        left = 2 * export["parameters"](model)
        with data.open("wb") as file:
            while left:
                left -= file.write(values[: left // 2].tobytes())
        yield path
    finally:
        rmtree(folder)


def linear(path: Path, rows: int, features_in: int, features_out: int) -> Path:
    """One product y = x w with a weight (in, out) of normal values; x is (`rows`, in), or (tokens, in) for 0 rows."""
    weight = np.random.default_rng(0).standard_normal((features_in, features_out), np.float32) * 0.02
    count = rows or "sequence"
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [count, features_in])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [count, features_out])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
