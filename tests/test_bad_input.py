"""What a person can get wrong: each gets a code, the place, the numbers, a way out, exit code 1, and no output file."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank as package
from crossbank.compiler.cli import building
from crossbank.compiler.errors import InternalError
from samples.export.llama_shape import SHAPES, llama_graph
from tests.command_line import Done, crossbank

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "tests" / "data" / "zoo" / "ts17_kv_gpt2" / "model.onnx"
CONTEXT, MAX_BATCH = 16, 2
FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder, compiled to a file."""
    path = tmp_path_factory.mktemp("small") / "small.cbk"
    package.compile(SMALL, "hermes", context=CONTEXT, max_batch=MAX_BATCH, quiet=True).save(path)
    return path


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own to be in."""
    monkeypatch.chdir(tmp_path)


def refused(done: Done, code: str, *words: str) -> None:
    """A diagnostic of this code with these words, and nothing else but notes."""
    assert done.code == 1, done.err
    assert f"error[{code}]: " in done.err
    assert "= help: " in done.err
    assert "Traceback" not in done.err
    assert not done.out
    for word in words:
        assert word in done.err
    assert not list(Path().rglob("*.cbk"))
    assert not list(Path().rglob(".*"))


def saved(nodes: list[onnx.NodeProto], inputs: dict[str, list[Any]], output: str, **tensors: np.ndarray) -> Path:
    """A model file; inputs are float, but for those called ids."""
    graph = helper.make_graph(
        nodes, "model",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if "ids" in name else FLOAT, dims)
            for name, dims in inputs.items()
        ],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = Path("model.onnx")
    path.write_bytes(model.SerializeToString())
    return path


def external(location: str, make: Path | None = None) -> Path:
    """A product whose weight (64, 64) lies in another file."""
    weight = TensorProto(name="w", dims=[64, 64], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    path = saved([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": ["n", 64]}, "y")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    if make is not None:
        make.write_bytes(bytes(64 * 64 * 4))
    return path


# --------------------------------------------------------------------- model files


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"{}", b"PK\x03\x04"])
def test_not_an_onnx_file(content: bytes) -> None:
    Path("model.onnx").write_bytes(content)
    refused(crossbank("compile", "model.onnx"), "CB0101", "model.onnx", "not an ONNX")


def test_no_file_and_a_folder() -> None:
    refused(crossbank("compile", "absent.onnx"), "CB0101", "absent.onnx")
    refused(crossbank("compile", "."), "CB0101")


def test_a_model_that_cannot_be_read() -> None:
    Path("model.onnx").symlink_to("model.onnx")
    refused(crossbank("compile", "model.onnx"), "CB0101", "model.onnx")


def test_truncated_model() -> None:
    content = SMALL.read_bytes()
    half = len(content) // 2
    Path("model.onnx").write_bytes(content[:half])
    refused(crossbank("compile", "model.onnx"), "CB0102", "model.onnx", str(half))


def test_missing_external_data() -> None:
    refused(crossbank("compile", external("weights.bin")), "CB0103", "w", "weights.bin", "--weights shape-only")
    done = crossbank("compile", "model.onnx", "--weights", "shape-only", "-o", "x.bin")
    assert done.code == 0


def test_short_external_data() -> None:
    path = external("weights.bin")
    Path("weights.bin").write_bytes(bytes(100))
    refused(crossbank("compile", path), "CB0105", "w", "16384", "100")


@pytest.mark.parametrize("location", ["../weights.bin", "a/../../weights.bin", "/etc/hostname", "link.bin", ""])
def test_external_data_outside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    monkeypatch.chdir(folder)
    path = external(location, tmp_path / "weights.bin")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    for weights in ("auto", "shape-only"):
        refused(crossbank("compile", path, "--weights", weights), "CB0104", "w", "leaves the model's folder")


def test_all_unknown_operators_are_listed() -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["y"], name="first"),
        helper.make_node("Relu", ["y"], ["z"], name="fine"),
        helper.make_node("Frobnicate", ["z"], ["a"], name="second"),
        helper.make_node("Defenestrate", ["a"], ["b"], name="third"),
    ]
    path = saved(nodes, {"x": ["n", 4]}, "b")
    refused(crossbank("compile", path), "CB0109", "3 nodes", "Frobnicate", "first", "Defenestrate", "third")


@pytest.mark.parametrize("operator", ["NonZero", "Reshape"])
def test_a_dimension_that_cannot_be_bound(operator: str) -> None:
    inputs = {"x": ["n", 4]} | ({"shape_ids": [2]} if operator == "Reshape" else {})
    path = saved([helper.make_node(operator, list(inputs), ["y"], name="culprit")], inputs, "y")
    refused(crossbank("compile", path), "CB0115", "culprit", "can't be bound")


def test_shapes_that_do_not_fit() -> None:
    path = saved(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": ["n", 5]}, "y", w=np.ones((4, 3), "f4")
    )
    refused(crossbank("compile", path), "CB0113", "product", "5", "4")


def test_a_context_beyond_the_models_table() -> None:
    refused(crossbank("compile", SMALL, "--context", 100000), "CB0805", "100000", "--context ")
    limit = re.search(r"--context (\d+) or less", crossbank("compile", SMALL, "--context", 100000).err)
    assert limit is not None
    assert crossbank("compile", SMALL, "--context", limit[1], "-o", "fits.bin").code == 0


# ------------------------------------------------------------------------ capacity


def test_weights_that_do_not_fit() -> None:
    onnx.save(llama_graph(SHAPES["llama-2-7b"], FLOAT, "absent.data"), "large.onnx")
    done = crossbank("compile", "large.onnx", "-t", "hermes", "--chips", 1, "--weights", "shape-only", "--context", 64)
    refused(done, "CB0311", "large.onnx", "1 chip (--chips 1)", "256 arrays", "64 a chip", "--chips auto")


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--chips", 0, "CB0802"),
        ("--context", 0, "CB0804"),
        ("--max-batch", -1, "CB0804"),
        ("--context", 10**22, "CB0804"),
        ("--max-batch", 10**22, "CB0804"),
        ("--stop-after", "plaec", "CB0803"),
    ],
)
def test_options_out_of_range(option: str, value: object, code: str) -> None:
    refused(crossbank("compile", SMALL, option, value), code, str(value))


# -------------------------------------------------------------------- system files

SYSTEMS = {
    "name = 3": "'engine' is missing",
    "name = 'x'\n[[engine]]\nkind = 'xbarr'": "did you mean 'xbar'?",
    "name = 'x'\nengine = 'a'": "[[engine]]",
    "name = 'x'\nengin = 'a'": "did you mean 'engine'?",
    "name = 'x'\n[[engine]]\nkind = 'pim'": "organisation",
    "name = 'x'\n[[engine]]\nkind = 'simd'\n[[engine]]\nkind = 'simd'": "two of [[engine]] are called 'simd'",
    "name = 'x'\n[[engine]]\nkind = 'simd'\n[[memory]]\nholds = 'working'": "has no name",
    "name = 'x'\n[[engine]]\nkind = 'simd'\n[engine.timing]\nclock_ghz = 1": "the number 1 has no unit and source",
    "name = 'x'\n[[engine]]\nkind = 'simd'\n[engine.timing]\nclock_ghz = { value = 1, unit = 'GHz' }": "exactly one of",
    "name = 'x'\nlink = 3\n[[engine]]\nkind = 'simd'": "no list of tables",
    "name = ": "not TOML",
}


@pytest.mark.parametrize("text", SYSTEMS)
def test_system_files(text: str) -> None:
    Path("mine.toml").write_text(text)
    done = crossbank("compile", SMALL, "-t", "mine.toml")
    assert re.search(r"error\[CB02\d\d\]", done.err), done.err
    refused(done, re.search(r"CB02\d\d", done.err)[0], SYSTEMS[text])  # pyright: ignore[reportOptionalSubscript]


def test_unknown_and_unreadable_targets() -> None:
    refused(crossbank("compile", SMALL, "-t", "hermse"), "CB0203", "did you mean 'hermes'?")
    refused(crossbank("compile", SMALL, "-t", "absent.toml"), "CB0203", "absent.toml")
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    refused(crossbank("target", "show", "bytes.toml"), "CB0201", "bytes.toml")


# ------------------------------------------------------------------------- outputs


def test_no_folder_for_the_output() -> None:
    for command in (("compile", SMALL), ("compile", SMALL, "--stop-after", "import")):
        refused(crossbank(*command, "-o", "absent/out.cbk"), "CB0501", "absent")


def test_a_folder_as_output(tmp_path: Path) -> None:
    refused(crossbank("compile", SMALL, "-o", tmp_path), "CB0501", "is a folder")


def test_a_file_in_place_of_the_dump_folder() -> None:
    Path("taken").write_text("")
    refused(crossbank("compile", SMALL, "--dump-ir", "taken"), "CB0501", "taken")


def test_a_failed_compilation_leaves_an_older_program_alone() -> None:
    Path("model.onnx").write_bytes(b"not a model")
    Path("old.bin").write_bytes(b"precious")
    refused(crossbank("compile", "model.onnx", "-o", "old.bin"), "CB0101")
    assert Path("old.bin").read_bytes() == b"precious"


def test_no_command_writes_over_what_it_reads(small: Path) -> None:
    Path("model.onnx").write_bytes(SMALL.read_bytes())
    Path("p.bin").write_bytes(small.read_bytes())
    Path("cal.txt").write_text("some text")
    Path("a.s").write_text("text")
    np.savez("x.npz", input_ids=np.ones((1, 1), np.int64))
    before = {path: path.read_bytes() for path in Path().iterdir()}
    for command, output in (
        (("compile", "model.onnx", "-o"), "model.onnx"),
        (("compile", "model.onnx", "--calibration", "cal.txt", "-o"), "cal.txt"),
        (("run", "p.bin", "--inputs", "x.npz", "-o"), "x.npz"),
        (("dis", "p.bin", "-o"), "p.bin"),
        (("asm", "a.s", "--weights", "p.bin", "-o"), "a.s"),
        (("cost", "p.bin", "--prompt", 1, "--generate", 1, "--trace"), "p.bin"),
    ):
        refused(crossbank(*command, output), "CB0501", output, "would replace")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_weights_that_a_program_refers_to_are_no_output() -> None:
    Path("model.onnx").write_bytes(SMALL.read_bytes())
    program = package.compile("model.onnx", context=8, quiet=True)
    with pytest.raises(package.ProgramError, match="would replace"):
        program.save("model.onnx")
    assert Path("model.onnx").read_bytes() == SMALL.read_bytes()


@pytest.mark.parametrize("stream", ["/dev/full", None])
def test_a_stdout_that_takes_nothing(small: Path, stream: str | None) -> None:
    script = "import sys; from crossbank.compiler.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "inspect", str(small)]
    shell = f"{shlex.join(command)} >{stream or '&-'}"
    done = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "error[CB0501]: can't write to stdout" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


# -------------------------------------------------------------------- other inputs


def test_calibration_texts() -> None:
    Path("empty.txt").write_bytes(b"")
    for name in ("absent.txt", "empty.txt"):
        refused(crossbank("compile", SMALL, "-t", "hermes", "--calibration", name), "CB0806", name)


def test_texts_to_evaluate() -> None:
    Path("empty.txt").write_bytes(b"")
    for name in ("absent.txt", "empty.txt"):
        refused(crossbank("evaluate", SMALL, "--text", name), "CB0815", name)


def test_ir_and_passes() -> None:
    Path("bad.mlir").write_text("builtin.module { nonsense }")
    refused(crossbank("opt", "bad.mlir"), "CB0808", "bad.mlir")
    refused(crossbank("opt", "absent.mlir"), "CB0813", "absent.mlir")
    Path("good.mlir").write_text("builtin.module {}")
    refused(crossbank("opt", "good.mlir", "-p", "asign-engines"), "CB0809", "did you mean 'assign-engines'?")
    refused(crossbank("opt", "good.mlir", "-p", "a{"), "CB0809")
    refused(crossbank("compile", SMALL, "--from", "good.mlir"), "CB0807", "good.mlir")
    refused(crossbank("compile", SMALL, "--from", "lower"), "CB0807", "--ir FILE")


def test_assembly(small: Path) -> None:
    Path("bad.s").write_text("gibberish")
    refused(crossbank("asm", "bad.s", "--weights", small, "-o", "out.cbk"), "CB0580", "bad.s, line 1", "gibberish")


# ------------------------------------------------------------------------- programs


def feeds(tokens: int, past: int, batch: int = 1) -> dict[str, np.ndarray]:
    """Feeds of the small decoder."""
    ids: dict[str, np.ndarray] = {
        "input_ids": np.ones((batch, tokens), np.int64),
        "attention_mask": np.ones((batch, past + tokens), np.int64),
        "position_ids": np.tile(np.arange(past, past + tokens), (batch, 1)),
    }
    names = [f"past_key_values.{i}.{part}" for i in (0, 1) for part in ("key", "value")]
    return ids | {name: np.zeros((batch, 4, past, 16), np.float32) for name in names}


def run(small: Path, **arrays: np.ndarray) -> Done:
    np.savez("inputs.npz", **arrays)
    return crossbank("run", small, "--inputs", "inputs.npz", "--no-noise", "-o", "outputs.npz")


def test_good_feeds_are_taken(small: Path) -> None:
    names = {port.name for port in package.load(small).session().get_inputs()}
    given_feeds = {name: array for name, array in feeds(3, 2).items() if name in names}
    assert given_feeds.keys() == names
    assert run(small, **given_feeds).code == 0
    assert Path("outputs.npz").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"input_idz": np.ones((1, 3), np.int64)}, "CB0602", ("input_idz", "did you mean 'input_ids'?")),
        ({"input_ids": None}, "CB0603", ("input_ids",)),
        ({"input_ids": np.ones((1, 3), np.float32)}, "CB0604", ("float32", "int64")),
        ({"input_ids": np.ones(3, np.int64)}, "CB0601", ("[3]",)),
        ({"past_key_values.0.key": np.zeros((1, 4, 2, 15), np.float32)}, "CB0601", ("15", "16")),
        ({"attention_mask": np.ones((1, 9), np.int64)}, "CB0601", ("9", "5")),
    ],
)
def test_bad_feeds(small: Path, change: dict[str, np.ndarray | None], code: str, words: tuple[str, ...]) -> None:
    names = {port.name for port in package.load(small).session().get_inputs()}
    good = {name: array for name, array in feeds(3, 2).items() if name in names}
    arrays = {name: array for name, array in {**good, **change}.items() if array is not None}
    refused(run(small, **arrays), code, *words)
    assert not Path("outputs.npz").exists()


def test_a_shape_that_the_model_fixes() -> None:
    model = SMALL.parents[1] / "dynamo18_static_kv_llama" / "model.onnx"
    assert crossbank("compile", model, "-o", "static.bin").code == 0
    done = crossbank("generate", "static.bin", "--prompt-ids", "1,2,3", "-n", 1)
    refused(done, "CB0601", "[1, 3]", "[2, 5]", "the model fixes it")


def test_more_than_the_context_or_the_batch(small: Path) -> None:
    names = {port.name for port in package.load(small).session().get_inputs()}
    for args, code, words in (
        ((1, CONTEXT), "CB0605", (str(CONTEXT), f"--context {CONTEXT + 1}")),
        ((CONTEXT + 3, 0), "CB0605", (str(CONTEXT + 3), str(CONTEXT))),
        ((1, 1, MAX_BATCH + 1), "CB0606", (str(MAX_BATCH + 1), str(MAX_BATCH))),
    ):
        arrays = {name: array for name, array in feeds(*args).items() if name in names}
        refused(run(small, **arrays), code, *words)
    refused(crossbank("generate", small, "--prompt-ids", "1,2,3", "-n", CONTEXT), "CB0605", str(CONTEXT))
    refused(crossbank("cost", small, "--prompt", CONTEXT, "--generate", 9), "CB0705", str(CONTEXT))
    refused(crossbank("cost", small, "--batch", 3, "--prompt", 1, "--generate", 1), "CB0706", "3", "2")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"hello"])
def test_inputs_that_are_no_npz(small: Path, content: bytes) -> None:
    Path("inputs.npz").write_bytes(content)
    refused(crossbank("run", small, "--inputs", "inputs.npz"), "CB0814", "inputs.npz")


def test_inputs_that_hide_something(small: Path) -> None:
    refused(crossbank("run", small, "--inputs", "absent.npz"), "CB0814", "absent.npz")
    np.save("one.npy", np.ones(3))
    refused(crossbank("run", small, "--inputs", "one.npy"), "CB0814", "one.npy")
    np.savez("objects.npz", input_ids=np.array([{}, {}], dtype=object))
    refused(crossbank("run", small, "--inputs", "objects.npz"), "CB0814", "objects.npz")
    refused(crossbank("run", small, "--inputs", small), "CB0814", small.name, "is no array")


def test_tokens_outside_the_vocabulary(small: Path) -> None:
    refused(crossbank("generate", small, "--prompt-ids", "1,100000", "-n", 1), "CB0570", "100000", "512")


def test_weights_that_changed_after_compiling() -> None:
    Path("model.onnx").write_bytes(SMALL.read_bytes())
    package.compile("model.onnx", context=8, quiet=True).save("a.bin")
    with Path("model.onnx").open("r+b") as file:
        file.seek(len(SMALL.read_bytes()) // 2)
        file.write(b"\x01\x02\x03")
    refused(crossbank("cost", "a.bin"), "CB0506", "model.onnx")
    Path("model.onnx").write_bytes(b"short")
    refused(crossbank("cost", "a.bin"), "CB0506", "5 bytes")


def test_weights_that_are_gone() -> None:
    Path("model.onnx").write_bytes(SMALL.read_bytes())
    package.compile("model.onnx", context=8, quiet=True).save("a.bin")
    Path("model.onnx").unlink()
    assert crossbank("cost", "a.bin", "--prompt", 2, "--generate", 2).code == 0
    refused(crossbank("generate", "a.bin", "--prompt-ids", "1", "-n", 1), "CB0402", "model.onnx")


# ------------------------------------------------------------------ usage, and our bugs


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",), ("compile",), ("compile", "m.onnx", "--chips", "many"), ("compile", "m.onnx", "--weights", "none"),
        ("generate", "p.cbk"), ("generate", "p.cbk", "--prompt-ids", "1,x"), ("generate", "p.cbk", "--prompt-ids", ""),
        ("generate", "p.cbk", "--prompt-ids", "1", "--prompt-text", "x"),
        ("generate", "p.cbk", "--prompt-ids", "9" * 30), ("cost",), ("cost", "p.cbk", "--by", "moon"), ("run", "p.cbk"),
        ("evaluate", "m.onnx"),
        ("run", "p.cbk", "--inputs", "x.npz", "--check", "torch"), ("cost", "p.cbk", "--prompt", "many"),
    ],
)  # fmt: skip
def test_usage_errors_exit_with_2(arguments: tuple[str, ...]) -> None:
    done = crossbank(*arguments)
    assert done.code == 2
    assert not done.out
    assert "Usage: crossbank" in done.err


def test_our_bugs_exit_with_70_and_leave_a_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InternalError("place, pass place-weights", "builtin.module {}\n") from KeyError("oops")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("crossbank.compiler.driver.compile_to_module", fail)
    assert building.compile_command
    done = crossbank("compile", SMALL, "-o", "two words.cbk")
    assert done.code == 70
    assert not done.out
    assert "bug of crossbank" in done.err
    assert f"crossbank compile {SMALL} -o 'two words.cbk'" in done.err
    (folder,) = tmp_path.glob("crossbank-crash-*")
    assert str(folder) in done.err
    assert (folder / "module.mlir").read_text() == "builtin.module {}\n"
    assert "KeyError" in (folder / "traceback.txt").read_text()
    facts = json.loads((folder / "command.json").read_text())
    assert facts["where"] == "place, pass place-weights"
    assert facts["versions"]["crossbank"]


def test_a_cache_that_no_device_holds() -> None:
    model = ROOT / "samples" / "tiny_llama" / "tiny_llama.onnx"
    done = crossbank("compile", model, "-t", "aim", "--context", 1_000_000, "-o", "a.cbk")
    refused(done, "CB0311", "the cache of 8 sequences needs", "which has 14336", "a smaller --context or --max-batch")


@pytest.mark.parametrize("target", ["ideal", "hermes", "aim"])
def test_capacities_that_no_address_reaches(target: str) -> None:
    model = ROOT / "samples" / "tiny_llama" / "tiny_llama.onnx"
    refused(crossbank("compile", model, "-t", target, "--context", 1 << 40, "--max-batch", 1 << 20), "CB0804", "tokens")
    done = crossbank("compile", model, "-t", target, "--context", 1 << 40, "--max-batch", 1)
    refused(done, re.search(r"CB031[12]", done.err)[0])  # pyright: ignore[reportOptionalSubscript]
