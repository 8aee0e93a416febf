"""The rules of the house that no other test would notice to be broken: who imports whom, names, sizes, packaging."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from xdsl.universe import Universe

import crossbank
from crossbank.backends.interface import Backend
from crossbank.backends.system import KINDS, load_system, read_system, target_names
from crossbank.compiler.phases import all_passes
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.program import ProgramError
from crossbank.runtime.registry import instruction_set, set_names

ROOT = Path(__file__).parents[1]
ROOMS = ("runtime", "dialects", "backends", "passes", "compiler")
ALLOWED = {
    "runtime": {"runtime"},
    "dialects": {"dialects", "runtime"},
    "backends": {"backends", "dialects", "runtime"},
    "passes": {"passes", "dialects", "runtime"},
    "compiler": set(ROOMS),
}
SOURCES = {room: sorted((ROOT / room).rglob("*.py")) for room in ROOMS}
EVERYWHERE = [path for room in (*ROOMS, "tests", "samples", "benchmarks") for path in (ROOT / room).rglob("*.py")]
LONGEST_FILE = 500
COMPILER_ONLY = ("xdsl", "onnx", "onnx_ir", "onnxruntime", "lark", "typer", "rich", "torch")


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a file imports when it runs, at any depth; not those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
        yield from imported(node)


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each name and string of a file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.NAME, tokenize.STRING):
            yield token.start[0], token.string


def run_python(program: str) -> str:
    """The output of a fresh Python."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------- imports


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_below(room: str) -> None:
    for path in SOURCES[room]:
        for name in imported(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[0] == "crossbank":
                assert parts[1] in ALLOWED[room], f"{path} imports {name}"
            assert parts[0] not in ROOMS, f"{path} imports {name} from outside of the package"


def test_the_runtime_names_no_library_of_the_compiler() -> None:
    allowed = {"runtime/assembly/assembler.py": {"lark"}}
    for path in SOURCES["runtime"]:
        found = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))} & set(COMPILER_ONLY)
        assert found <= allowed.get(str(path.relative_to(ROOT)), set()), path


def test_instruction_sets_load_without_the_compiler() -> None:
    program = f"""
import sys
from crossbank.runtime.registry import instruction_set, set_names
for name in set_names():
    instruction_set(name)
print(*sorted(set({COMPILER_ONLY!r}) & sys.modules.keys()))
print(*sorted(name for name in sys.modules if name.startswith(("crossbank.compiler", "crossbank.passes",
    "crossbank.dialects")) or name.endswith(".lower")))
"""
    assert run_python(program).split() == []


def test_a_program_runs_and_costs_without_the_compiler(tmp_path: Path) -> None:
    model = ROOT / "samples" / "tiny_llama" / "tiny_llama.onnx"
    path = tmp_path / "tiny.cbk"
    crossbank.compile(model, context=64, quiet=True).save(path)
    program = f"""
import sys
import crossbank
program = crossbank.load({str(path)!r})
print(len(program.session().generate([1, 2, 3], 2)), program.cost(prompt=3, generate=2).macs > 0)
print(*sorted(set({COMPILER_ONLY!r}) & sys.modules.keys()))
"""
    assert run_python(program).split() == ["2", "True"]


# ------------------------------------------------------------ names and sizes


def test_passes_name_no_chip_and_no_family() -> None:
    chips = re.compile(rf"\b({'|'.join(target_names())}|aim|hermes|gpu|gddr6|pcm|dram|rram|crossbar)\b", re.IGNORECASE)
    families = {f'"{kind}"' for kind in KINDS if kind != "host"}
    for path in SOURCES["passes"]:
        for line, text in words(path):
            assert not chips.search(text), f"{path}:{line}: {text}"
            assert text not in families, f"{path}:{line}: {text}"


def test_files_are_short() -> None:
    long = {str(path): n for path in EVERYWHERE if (n := len(path.read_text().splitlines())) > LONGEST_FILE}
    assert not long


def test_files_are_named_after_one_idea() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not [path for path in EVERYWHERE if path.stem in vague or path.parent.name in vague]


def test_nothing_is_left_for_later() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in EVERYWHERE:
        if path != Path(__file__):
            assert not left.search(path.read_text()), path


def test_no_test_is_skipped_and_no_type_error_hidden_wholesale() -> None:
    for path in EVERYWHERE:
        text = path.read_text()
        if path != Path(__file__):
            assert not re.search(r"pytest\.(mark\.)?(skip|xfail|skipif)\b", text), path
        if path.relative_to(ROOT).parts[0] in ROOMS:
            assert not re.search(r"#\s*(type|pyright): ignore(?!\[)|# type:", text), path


def test_every_module_says_what_it_is_for() -> None:
    for room in ROOMS:
        for path in SOURCES[room]:
            text = path.read_text()
            assert not text.strip() or ast.get_docstring(ast.parse(text)), path


def test_a_pass_is_called_like_its_file_and_class() -> None:
    for name, kind in all_passes().items():
        assert kind.__module__.split(".")[-1] == name.replace("-", "_")
        assert kind.__name__ == "".join(part.capitalize() for part in name.split("-")) + "Pass"
        assert kind.__doc__


# ---------------------------------------------------- instruction sets, systems


def sets() -> dict[str, InstructionSet]:
    return {name: instruction_set(name) for name in set_names()}


def test_instruction_sets_have_numbers_of_their_own() -> None:
    numbers = [isa.number for isa in sets().values()]
    assert len(set(numbers)) == len(numbers) and all(0 < number < 256 for number in numbers)


@pytest.mark.parametrize("isa", sets().values(), ids=lambda isa: isa.name)
def test_instructions_are_declared_once_and_documented(isa: InstructionSet) -> None:
    assert isa.doc and isa.version > 0
    assert [entry.code for entry in isa.instructions.values()] == list(isa.by_code)
    opcodes = [isa.opcode(entry) for entry in isa.instructions.values()]
    assert len(set(opcodes)) == len(opcodes)
    for entry in isa.instructions.values():
        assert entry.doc
        names = [name for name, _ in entry.slots]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("target", target_names())
def test_every_number_of_a_system_has_a_unit_and_a_source(target: str) -> None:
    raw = tomllib.loads((ROOT / "backends" / "targets" / f"{target}.toml").read_text())

    def check(node: Any, path: str) -> None:
        if isinstance(node, dict) and "value" in node:
            origins = [node[key] for key in ("source", "assumed", "calibrated") if key in node]
            assert len(origins) == 1 and len(origins[0]) > 3, path
            assert node.get("unit"), path
        elif isinstance(node, dict):
            for key, value in node.items():
                check(value, f"{path}.{key}")
        elif isinstance(node, list):
            for i, value in enumerate(node):
                check(value, f"{path}[{i}]")
        else:
            assert isinstance(node, str), f"{path}: {node} has no unit and source"

    check(raw, target)
    system = load_system(target)
    assert all(quantity.origin and quantity.unit for quantity in system.quantities.values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rows = 256", "toy.size.rows: the number 256 has no unit and source"),
        ('rows = { value = 256, unit = "rows" }', "exactly one of source, assumed, calibrated"),
        ('rows = { value = 256, source = "data sheet" }', "a number needs a unit"),
        ('rows = { value = 256, unit = "rows", source = "a", assumed = "b" }', "exactly one"),
        ('rows = { value = 256, unit = "rows", sauce = "a" }', "unknown key 'sauce'"),
    ],
)
def test_numbers_without_unit_or_source_are_refused(line: str, message: str) -> None:
    text = f'name = "toy"\n[[engine]]\nname = "toy"\nkind = "simd"\n[engine.size]\n{line}\n'
    with pytest.raises(ProgramError, match=re.escape(message)):
        read_system(text, "toy.toml")


# ------------------------------------------------------------------ packaging


def scripts() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]


def test_entry_points_load() -> None:
    for group, entries in scripts().items():
        installed = {entry.name: entry for entry in entry_points(group=group) if entry.value.startswith("crossbank.")}
        assert {name: entry.value for name, entry in installed.items()} == entries
        for entry in installed.values():
            assert entry.load() is not None


def test_families_are_of_the_kind_that_they_are_found_by() -> None:
    for entry in entry_points(group="crossbank.backends"):
        backend: Backend = entry.load()
        assert backend.kind == entry.name
        assert instruction_set(backend.isa.name) is backend.isa


def test_the_tools_of_xdsl_know_the_dialects_and_passes() -> None:
    found = Universe.get_multiverse()
    for name in ("onnx", "llm", "imc", *(name for name in set_names() if name != "core")):
        assert found.all_dialects[name]().name == name
    for name, kind in all_passes().items():
        assert found.all_passes[name]() is kind


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for room in ROOMS for path in SOURCES[room]}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]
    for room in ROOMS:
        assert (ROOT / "crossbank" / room).resolve() == ROOT / room
        assert not (ROOT / "crossbank" / room).readlink().is_absolute()


def test_the_type_checker_reads_every_room() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["basedpyright"]
    assert set(config["include"]) >= {f"crossbank/{room}" for room in ROOMS}
    assert config["typeCheckingMode"] == "strict"


@pytest.mark.slow
def test_the_type_checker_finds_no_error() -> None:
    tool = Path(sys.executable).with_name("basedpyright")
    done = subprocess.run([tool, "--stats"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    checked = re.search(r"Total files checked: (\d+)", done.stdout)
    assert checked and int(checked[1]) >= sum(map(len, SOURCES.values()))


@pytest.mark.slow
def test_the_wheel_installs_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crossbank"} and len(tops) == 2
    data = {f"crossbank/backends/targets/{target}.toml" for target in target_names()}
    modules = {f"crossbank/{path.relative_to(ROOT)}" for room in ROOMS for path in SOURCES[room]}
    assert names >= modules | data | {"crossbank/py.typed", "crossbank/runtime/assembly/grammar.lark"}
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import crossbank
assert crossbank.__file__.startswith({str(tmp_path)!r})
from crossbank.backends.system import load_system
print(*load_system("ideal").engines)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == list(load_system("ideal").engines), done.stderr
