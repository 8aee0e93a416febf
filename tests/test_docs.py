"""The documentation: pages made from the code are current, links lead somewhere, examples work."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from crossbank.compiler.cli import app
from crossbank.runtime.program import OF_INSTRUCTIONS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "samples").rglob("*.md")])
FAMILY = ROOT / "samples" / "family"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["instructions", "operators", "passes"])
def test_pages_made_from_the_code_are_current(page: str) -> None:
    make: Any = run_path(str(ROOT / "docs" / "pages.py"))[f"{page}_page"]
    assert (ROOT / "docs" / f"{page}.md").read_text() == make(), "python docs/pages.py writes it anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    from typer.main import get_command

    lines = re.findall(r"^(?:    |\$ )?(crossbank [a-z].*)$", page.read_text(), flags=re.MULTILINE)
    for line in lines:
        if "…" in line or "|" in line:
            continue
        words = shlex.split(re.split(r"\s+# ", line)[0].split(" > ")[0])[1:]
        command: Any = get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert command.name != "crossbank", line
        unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
        assert not unknown, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_parses(page: Path) -> None:
    for text in blocks(page, "python"):
        ast.parse(text if not text.startswith("    ") else f"if True:\n{text}")


SOURCES = [
    path
    for folder in ("compiler", "dialects", "passes", "backends", "runtime")
    for path in (ROOT / folder).rglob("*.py")
]


def test_the_page_of_errors_has_every_code_once() -> None:
    raised = {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"CB0\d{3}", node.value)
    }
    assert re.findall(r"^\| (CB0\d{3}) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE) == sorted(raised)


def test_every_error_has_a_line_that_helps() -> None:
    """Codes of instructions share one."""
    helpless = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("ProgramError", "FrontendError")
        and len(node.args) < 4
        and all(keyword.arg != "help" for keyword in node.keywords)
        and isinstance(node.args[0], ast.Constant)
        and int(str(node.args[0].value)[2:]) not in OF_INSTRUCTIONS
    ]
    assert helpless == []


def test_the_page_on_backends_shows_the_sample_family() -> None:
    files = "\n".join(path.read_text() for path in [*FAMILY.rglob("*.py"), FAMILY / "pyproject.toml"])
    for text in (*blocks(ROOT / "docs" / "backends.md", "python"), *blocks(ROOT / "docs" / "backends.md", "toml")):
        assert text in files


def test_the_readme_says_what_it_does(tmp_path: Path) -> None:
    """The Python example of the first screen, on a copy of the sample and with few tokens."""
    shutil.copytree(ROOT / "samples" / "tiny_llama", tmp_path / "samples" / "tiny_llama")
    text = blocks(ROOT / "README.md", "python")[0]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    generated, *figures = done.stdout.rsplit(maxsplit=3)
    assert len(ast.literal_eval(generated)) == 16
    assert all(float(figure) > 0 for figure in figures)


def test_a_family_of_ones_own(tmp_path: Path) -> None:
    """The sample family, installed beside the package as a plug-in, compiles, agrees with onnxruntime, and costs."""
    shutil.copytree(FAMILY / "systolic", tmp_path / "systolic")
    info = tmp_path / "crossbank_systolic-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crossbank-systolic\nVersion: 0.1.0\n")
    table = (FAMILY / "pyproject.toml").read_text()
    groups = re.findall(r'\[project\.entry-points\."([\w.]+)"\]\n(\w+) = "([\w.:]+)"', table)
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {value}\n" for group, name, value in groups))
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    names = " or ".join(("verifies", "ideal_mode_equals", "summary", "macs", "energy", "short_cost", "assembly"))
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "conformance"),
            "--target", str(FAMILY / "system.toml"), "-k", names, "-m", "not slow",
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
