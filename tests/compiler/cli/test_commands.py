"""What the commands do: files, JSON, streams, phases that stop and resume."""

from __future__ import annotations

import inspect
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossbank as package
from tests import zoo
from tests.command_line import crossbank

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"
ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "tiny_llama"
KINDS = {"xbar", "pim", "matrix", "simd", "host"}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands") / "model.cbk"
    package.compile(MODEL, "hermes", context=32, max_batch=2, quiet=True).save(path)
    return path


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parsed(*arguments: object) -> Any:
    """The JSON that a command prints."""
    done = crossbank(*arguments)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_version() -> None:
    done = crossbank("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("crossbank ")


def test_the_signature_of_compile_is_as_promised() -> None:
    parameters = inspect.signature(package.compile).parameters
    assert list(parameters) == [
        "model", "target", "context", "max_batch", "weights", "chips", "calibration", "options",
    ]  # fmt: skip
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert defaults == {
        "target": "ideal", "context": None, "max_batch": 8, "weights": "auto", "chips": "auto", "calibration": None,
    }  # fmt: skip
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(defaults)[1:])
    with pytest.raises(TypeError, match="did you mean 'quiet'"):
        package.compile(MODEL, quite=True)


def test_compile_prints_the_context_that_it_chose() -> None:
    done = crossbank("compile", MODEL, "-o", "a.cbk")
    assert "context 128 (the smallest limit that the model declares)" in done.err
    assert package.load("a.cbk").summary()["context"] == 128


def test_inspect_json(program: Path) -> None:
    found = parsed("inspect", program, "--json")
    assert found["nodes"] > 100
    assert set(found["engines"]) == KINDS
    for share in found["engines"].values():
        assert {"nodes", "macs", "weight_bytes"} <= set(share)
    assert found["engines"]["xbar"]["nodes"] == found["recognised"]["linear"] == 9
    assert found["recognised"]["attention"] == 2
    assert found["unrecognised"] == []
    assert found["live_ops_max"] <= 5000
    loaded = package.load(program)
    emitted = {
        (record.block, record.engine, record.index) for name in loaded.functions for record in loaded.commands(name)
    }
    assert found["instructions"] == len(emitted)
    assert found["calibration"] == "the weights' statistics"
    assert found == loaded.summary()


def test_compile_json_has_phases() -> None:
    found = parsed("compile", MODEL, "-t", "hermes", "-o", "a.cbk", "--context", 16, "--json")
    assert sum(found["phases"].values()) <= found["seconds"]
    assert found["size_bytes"] == Path("a.cbk").stat().st_size


def test_cost_json(program: Path) -> None:
    found = parsed("cost", program, "--prompt", 8, "--generate", 4, "--json")
    wanted = {"ttft_s", "tpot_s", "tokens_per_s", "energy_per_token_j", "energy_j", "area_mm2", "breakdown"}
    assert wanted <= set(found)
    assert {"component", "engine", "node", "phase"} <= set(found["breakdown"])
    assert found == package.load(program).cost(prompt=8, generate=4).to_dict()
    exact = parsed("cost", program, "--prompt", 8, "--generate", 4, "--exact", "--json")
    assert [exact[name] for name in ("ttft_s", "tpot_s", "time_s")] == [
        found[name] for name in ("ttft_s", "tpot_s", "time_s")
    ]
    assert exact["energy_j"] == pytest.approx(found["energy_j"], rel=1e-12)


@pytest.mark.parametrize("by", ["component", "engine", "node", "phase"])
def test_cost_by(program: Path, by: str) -> None:
    done = crossbank("cost", program, "--prompt", 8, "--generate", 4, "--by", by, "--top", 2)
    assert done.code == 0
    assert by in done.out


def test_target_json() -> None:
    assert {"ideal", "hermes", "aim"} <= {row["name"] for row in parsed("target", "list", "--json")}
    assert parsed("target", "show", "hermes", "--json")["engines"]["analog"]["kind"] == "xbar"


def test_run_writes_what_it_computes(program: Path) -> None:
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    rows = parsed(
        "run", program, "--inputs", "inputs.npz", "-o", "out.npz", "--ideal", "--check", "onnxruntime", "--json"
    )
    session = package.load(program).session(ideal=True)
    with np.load("out.npz") as written:
        for row, port, expected in zip(rows, session.get_outputs(), session.run(None, feeds), strict=True):
            assert row["output"] == port.name
            assert row["shape"] == list(expected.shape)
            assert row["relative_error"] < 1e-4
            np.testing.assert_array_equal(written[port.name], expected)


def test_run_counts_what_it_executes(program: Path) -> None:
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    found = parsed("run", program, "--inputs", "inputs.npz", "--counters", "--json")
    assert [row["output"] for row in found["outputs"]] == [
        row["output"] for row in parsed("run", program, "--inputs", "inputs.npz", "--json")
    ]
    counters = found["counters"]
    assert {"main", "setup"} <= set(counters["function"])
    assert {"xbar.mvm", "simd.mask_softmax"} <= set(counters["instruction"])
    assert counters["node"]["/m/transformer/h.1/attn/c_attn/Gemm"]["macs"] > 0
    for view in ("function", "engine", "instruction", "node"):
        assert sum(tally["bytes"] for tally in counters[view].values()) == counters["total"]["bytes"]
        assert crossbank("run", program, "--inputs", "inputs.npz", "--counters", "--by", view).code == 0


def test_run_compares_nodes(program: Path) -> None:
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    arguments = ("run", program, "--inputs", "inputs.npz", "--compare-nodes", "--model", MODEL)
    exact = parsed(*arguments, "--ideal", "--threshold", 1e-4, "--json")["nodes"]
    assert all(row["relative_error"] <= 1e-4 and not row["first"] for row in exact)
    noisy = parsed(*arguments, "--counters", "--json")
    assert set(noisy) == {"outputs", "nodes", "counters"}
    assert [row["tensor"] for row in noisy["nodes"]] == [row["tensor"] for row in exact]
    (first,) = [row for row in noisy["nodes"] if row["first"]]
    assert (first["engine"], first["instruction"]) == ("analog", "xbar.accumulate")
    done = crossbank(*arguments)
    assert f"{first['node']} is the first above 0.01" in done.out and " <-" in done.out


def test_check_finds_the_model_beside_the_program(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model.onnx").write_bytes(MODEL.read_bytes())
    assert crossbank("compile", "model.onnx", "-o", "elsewhere/a.cbk", "--context", 16).code == 0
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    np.savez("inputs.npz", **feeds)
    assert crossbank("run", "elsewhere/a.cbk", "--inputs", "inputs.npz", "--check", "onnxruntime").code == 0


def test_generate_json(program: Path) -> None:
    found = parsed("generate", program, "--prompt-ids", "1,2,3", "-n", 4, "--no-noise", "--json")
    assert found["prompt"] == [1, 2, 3]
    assert found["tokens"] == package.load(program).session(noise=False).generate([1, 2, 3], 4).tolist()
    line = crossbank("generate", program, "--prompt-ids", "1,2,3", "-n", 4, "--no-noise").out
    assert line == ",".join(map(str, found["tokens"])) + "\n"


def test_generate_from_text_goes_on_with_it() -> None:
    assert crossbank("compile", SAMPLE / "tiny_llama.onnx", "-o", "a.cbk", "--context", 32).code == 0
    done = crossbank("generate", "a.cbk", "--prompt-text", "import ", "-n", 4)
    assert done.out.startswith("import ")
    assert len(done.out.encode()) >= len("import ") + 4


def test_evaluate_json() -> None:
    found = parsed(
        "evaluate", SAMPLE / "tiny_llama.onnx", "--text", SAMPLE / "heldout.txt", "--context", 64,
        "--max-bytes", 256, "--json",
    )  # fmt: skip
    assert found["bytes"] == 256
    assert found["perplexity"] == pytest.approx(2 ** found["bits_per_byte"])
    assert abs(found["relative_difference"]) < 1e-4
    low, high = found["difference_interval_95"]
    assert low == high == found["difference"]


def test_evaluate_draws_devices_where_noise_makes_them_differ() -> None:
    found = parsed(
        "evaluate", MODEL, "--text", SAMPLE / "heldout.txt", "-t", "hermes", "--context", 16,
        "--max-bytes", 32, "--seeds", 3, "--json",
    )  # fmt: skip
    assert found["seeds"] == len(set(found["each"])) == 3
    low, high = found["difference_interval_95"]
    assert low < found["difference"] < high


def test_dumps_parse_back_and_resume_to_the_same_bytes() -> None:
    """With ranges from a sample, which enter at lower."""
    Path("text").write_text("crossbank")
    arguments = ("compile", MODEL, "-t", "hermes", "--context", 16, "--max-batch", 2)
    calibrated = (*arguments, "--calibration", "text")
    assert crossbank(*calibrated, "--dump-ir", "ir", "-o", "whole.cbk").code == 0
    files = sorted(Path("ir").glob("*.mlir"))
    assert [int(file.name[:2]) for file in files] == list(range(len(files)))
    assert any(file.name.endswith(".unchanged.mlir") for file in files)
    for file in files[2::24]:
        assert crossbank("opt", file, "-t", "hermes").out == file.read_text()
    last = [file for file in files if ".raise." in file.name][-1]
    later = ((*arguments, "--from", phase, "--dump-ir", "ir") for phase in ("schedule", "emit"))
    for resumed in ((*calibrated, "--from", last), *later):
        assert crossbank(*resumed, "-o", "again.cbk").code == 0
        assert Path("again.cbk").read_bytes() == Path("whole.cbk").read_bytes(), resumed
    assert "error[CB0803]" in crossbank(*calibrated, "--from", "schedule", "--dump-ir", "ir").err


def test_a_dump_replaces_an_earlier_one() -> None:
    """And no other files of the folder."""
    Path("ir").mkdir()
    for name in ("01.raise.eliminate-dead.mlir", "99.schedule.old.unchanged.mlir", "10.mine.mlir", "notes.mlir"):
        (Path("ir") / name).write_text("old")
    done = crossbank("compile", MODEL, "--context", 16, "--dump-ir", "ir", "--stop-after", "import")
    assert done.code == 0
    assert {path.name for path in Path("ir").glob("*.mlir")} == {"00.import.mlir", "10.mine.mlir", "notes.mlir"}


def test_stop_after_and_from() -> None:
    arguments = ("compile", MODEL, "-t", "hermes", "--max-batch", 1)
    assert crossbank(*arguments, "-o", "whole.cbk").code == 0
    for last, following in (("import", "raise"), ("schedule", "emit"), ("place", "lower")):
        assert crossbank(*arguments, "--stop-after", last, "-o", "stopped.mlir").code == 0
        assert crossbank(*arguments, "--from", following, "--ir", "stopped.mlir", "-o", "resumed.cbk").code == 0
        assert Path("resumed.cbk").read_bytes() == Path("whole.cbk").read_bytes()
    resumed = ("--from", "lower", "--ir", "stopped.mlir", "--stop-after")
    assert '"xbar.mvm"' in crossbank(*arguments, *resumed, "schedule").out
    assert "error[CB0803]" in crossbank(*arguments, *resumed, "tile").err
    shown = crossbank(*arguments, "--stop-after", "import").out
    assert "onnx.MatMul" in shown
    assert "llm." not in shown


def test_passes_run_alone() -> None:
    Path("in.mlir").write_text(crossbank("compile", MODEL, "--stop-after", "import", "--context", 16).out)
    done = crossbank("opt", "in.mlir", "-p", "raise-linear,eliminate-dead")
    assert done.code == 0, done.err
    assert "llm.linear" in done.out


def test_assembly_makes_the_same_program(program: Path) -> None:
    assert crossbank("dis", program, "-o", "a.s").code == 0
    assert Path("a.s").read_text() == crossbank("dis", program).out
    assert crossbank("asm", "a.s", "--weights", program, "-o", "again.cbk").code == 0
    again, first = (package.load(path).session(noise=False).generate([1, 2], 3) for path in ("again.cbk", program))
    np.testing.assert_array_equal(again, first)


# ------------------------------------------------------------------------ terminals

TREE = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
"""Another process imports the tree that is tested, whatever its Python has installed."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from crossbank.compiler.cli import main; main()", *map(str, arguments)]


def test_nothing_but_the_product_without_a_terminal(program: Path) -> None:
    done = subprocess.run(
        command("generate", program, "--prompt-ids", "1,2", "-n", 3),
        capture_output=True, text=True, check=False, env=TREE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split(",")) == 3


def everything(terminal: int) -> str:
    """What was written to the other side of a pseudo-terminal, which is closed."""
    parts: list[bytes] = []
    with suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def on_a_terminal(*arguments: object) -> tuple[str, str]:
    """What a command writes to stdout, a pipe, and to stderr, a terminal."""
    ours, theirs = pty.openpty()
    environment = {**TREE, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    ) as process:
        out, _ = process.communicate()
    os.close(theirs)
    shown = everything(ours)
    assert process.returncode == 0, shown
    return out, shown


def test_a_bar_on_a_terminal(program: Path) -> None:
    out, shown = on_a_terminal("generate", program, "--prompt-ids", "1,2", "-n", 3)
    assert len(out.split(",")) == 3
    assert "generate" in shown
    assert "100%" in shown


def test_a_bar_takes_nothing_from_stdout() -> None:
    out, shown = on_a_terminal("compile", MODEL, "--context", 16, "--stop-after", "import")
    assert "onnx.MatMul" in out
    assert "onnx.MatMul" not in shown
    assert "import" in shown


LONG = {
    "compile": ("--context", 16, "-o", "a.cbk"),
    "evaluate": ("--context", 16, "--text", SAMPLE / "heldout.txt", "--max-bytes", 16),
    "cost": ("--prompt", 2, "--generate", 2, "--exact"),
    "run": ("--inputs", "inputs.npz"),
    "generate": ("--prompt-ids", 1, "-n", 1),
}


@pytest.mark.parametrize("name", LONG)
def test_commands_that_may_take_long_have_a_bar(name: str, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("inputs.npz", **next(zoo.cases(MODEL.parent))[1])
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    done = crossbank(name, MODEL if name in ("compile", "evaluate") else program, *LONG[name], stderr=terminal)
    assert done.code == 0, done.err
    assert "━" in done.err


def test_a_reader_that_goes_away(program: Path) -> None:
    with subprocess.Popen(
        command("dis", program), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=TREE
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode in (0, 1, 141)
