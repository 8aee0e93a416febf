"""What the commands print, word for word."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossbank as package
from crossbank.compiler.cli import app
from crossbank.compiler.cli.executing import evaluation_text
from crossbank.compiler.cli.pricing import cost_text
from tests import zoo
from tests.command_line import crossbank
from tests.compiler.cli import golden_text

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"
SYSTEM = """
name = "mini"
title = "A vector unit with two numbers"
description = "For the tests of the command line."

[[engine]]
name = "vector"
kind = "simd"

[engine.timing]
clock_ghz = { value = 2, unit = "GHz", source = "a data sheet, page 3" }
lanes = { value = 16, unit = "lanes", assumed = "as wide as a cache line" }
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "model.cbk"
    package.compile(MODEL, context=32, max_batch=2, quiet=True).save(path)
    return path


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_commands_and_options(request: pytest.FixtureRequest) -> None:
    """The names that other people's scripts rely on."""
    golden_text.check("interface", "\n".join(_interface()) + "\n", request)


def _interface() -> list[str]:
    from typer.main import get_command

    lines: list[str] = []

    def walk(command: Any, name: str) -> None:
        for parameter in command.params:
            names = "/".join([*parameter.opts, *parameter.secondary_opts])
            shown = (
                "" if callable(parameter.default) or parameter.default in (None, False) else f" = {parameter.default}"
            )
            kind = "argument " if parameter.param_type_name == "argument" else ""
            lines.append(f"{name}: {kind}{names}{shown}{' (required)' if parameter.required else ''}")
        for key, inner in sorted(getattr(command, "commands", {}).items()):
            walk(inner, f"{name} {key}")

    walk(get_command(app), "crossbank")
    return lines


def test_target_list(request: pytest.FixtureRequest) -> None:
    golden_text.check("target_list", crossbank("target", "list").out, request)


def test_target_show(request: pytest.FixtureRequest) -> None:
    Path("mini.toml").write_text(SYSTEM)
    golden_text.check("target_show", crossbank("target", "show", "mini.toml").out, request)


def test_compile(request: pytest.FixtureRequest) -> None:
    shutil.copy(MODEL, "model.onnx")
    done = crossbank("compile", "model.onnx", "--max-batch", 2)
    golden_text.check("compile", f"{done.out}--- stderr\n{done.err}", request)


def test_inspect(program: Path, request: pytest.FixtureRequest) -> None:
    golden_text.check("inspect", crossbank("inspect", program).out, request)


def test_run(program: Path, request: pytest.FixtureRequest) -> None:
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    golden_text.check("run", crossbank("run", program, "--inputs", "inputs.npz").out, request)
    done = crossbank("run", program, "--inputs", "inputs.npz", "--counters", "--by", "engine")
    golden_text.check("run_counters", done.out, request)


def test_run_compares_nodes(program: Path, request: pytest.FixtureRequest) -> None:
    """Errors of the last digits depend on the machine."""
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    done = crossbank("run", program, "--inputs", "inputs.npz", "--compare-nodes", "--model", MODEL)
    assert done.code == 0, done.err
    small = re.sub(r" +\d\S*e-0[5-9] ", " small ", done.out)
    golden_text.check("run_compare_nodes", re.sub(r" +(0|\d\S*e-\d+)(?= |$)", " small", small, flags=re.M), request)


def test_generate(program: Path, request: pytest.FixtureRequest) -> None:
    golden_text.check("generate", crossbank("generate", program, "--prompt-ids", "1,2,3", "-n", 5).out, request)


def test_cost_of_nothing(program: Path, request: pytest.FixtureRequest) -> None:
    golden_text.check("cost_ideal", crossbank("cost", program, "--prompt", 4, "--generate", 3).out, request)


def test_dis(program: Path, request: pytest.FixtureRequest) -> None:
    text = crossbank("dis", program).out
    lines = [*text[text.index("block ") :].splitlines()[:5], *text[text.index("  stream ") :].splitlines()[:10]]
    golden_text.check("dis", "\n".join(lines) + "\n", request)


def test_opt_list(request: pytest.FixtureRequest) -> None:
    golden_text.check("opt_list", crossbank("opt", "--list").out, request)


def test_diagnostics(program: Path, request: pytest.FixtureRequest) -> None:
    Path("model.onnx").write_bytes(b"nothing")
    Path("mini.toml").write_text(SYSTEM.replace("kind =", "kin ="))
    commands = [
        ("compile", "model.onnx"),
        ("compile", "absent.onnx", "-o", "absent/model.cbk"),
        ("compile", MODEL.name, "-t", "mini.toml"),
        ("compile", MODEL.name, "-t", "hermse"),
        ("generate", program, "--prompt-ids", "1,2,3", "-n", "64"),
        ("cost", program, "--prompt", "30", "--generate", "30"),
        ("cost", "absent.cbk"),
    ]
    text = "".join(
        f"$ crossbank {' '.join(Path(str(word)).name for word in command)}\n{crossbank(*command).err}"
        for command in commands
    )
    golden_text.check("diagnostics", text.replace(str(Path.cwd()), "FOLDER"), request)


COST = {
    "prompt": 128, "generate": 64, "batch": 1, "ttft_s": 1.25e-3, "tpot_s": 2.5e-5, "tokens_per_s": 22654.9,
    "time_s": 2.825e-3, "energy_j": 4e-3, "energy_per_token_j": 6.25e-5, "area_mm2": 288.0, "memory_bytes": 5 << 20,
    "groups": {"name": "chip", "count": 2},
    "assumed": {"time_share": 0.25, "energy_share": 0.5, "area": True},
    "breakdown": {
        "component": {
            "arrays: mvm": {"time_s": 2e-3, "energy_j": 1e-3},
            "arrays: adc": {"time_s": 0.0, "energy_j": 2e-3},
            "vector: compute": {"time_s": 8.25e-4, "energy_j": 1e-3},
        },
        "busy": {"arrays": {"busy_s": 2e-3, "idle_s": 8.25e-4, "work_s": 2.5e-3}},
    },
}  # fmt: skip


def test_cost(request: pytest.FixtureRequest) -> None:
    golden_text.check("cost", cost_text(COST, "component", 2) + "\n", request)


def test_evaluate(request: pytest.FixtureRequest) -> None:
    noisy: dict[str, Any] = {
        "target": "hermes", "bytes": 16384, "reference_bits_per_byte": 1.8, "reference_perplexity": 2**1.8,
        "bits_per_byte": 1.85, "perplexity": 2**1.85, "difference": 0.05, "difference_interval_95": [0.04, 0.06],
        "relative_difference": 0.05 / 1.8, "seeds": 5, "time_s": 3600.0,
    }  # fmt: skip
    one = noisy | {"seeds": 1, "difference_interval_95": None}
    exact = noisy | {
        "target": "ideal", "bits_per_byte": 1.8, "perplexity": 2**1.8, "difference": -1e-9,
        "relative_difference": -1e-9, "difference_interval_95": [-1e-9, -1e-9], "seeds": 1, "time_s": 0.0,
    }  # fmt: skip
    golden_text.check("evaluate", "\n\n".join(map(evaluation_text, (noisy, one, exact))) + "\n", request)
