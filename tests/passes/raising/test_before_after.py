"""Each pass on IR text: `// RUN: pass-name, …` names the passes, CHECK lines say what must come out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import Options
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.func import Func
from xdsl.parser import Parser as IrParser
from xdsl.printer import Printer

from crossbank.dialects.imc import IMC
from crossbank.dialects.llm import LLM
from crossbank.dialects.onnx import ONNX
from crossbank.passes.context import CompileContext
from crossbank.passes.raising import PASSES

FOLDER = Path(__file__).parent
NAMED = {kind.name: kind for kind in PASSES}


def load_dialects(ctx: Context) -> None:
    """Everything that value form is written in."""
    for dialect in (Builtin, Func, ONNX, LLM, IMC):
        ctx.load_dialect(dialect)


def after(path: Path) -> str:
    """The module of a file after its passes, verified, as text."""
    text = path.read_text()
    first = text.splitlines()[0]
    assert first.startswith("// RUN: "), path
    ctx = CompileContext()
    load_dialects(ctx)
    module = IrParser(ctx, text, path.name).parse_module()
    module.verify()
    for name in first.removeprefix("// RUN: ").split(", "):
        NAMED[name]().apply(ctx, module)
        module.verify()
    out = io.StringIO()
    Printer(out, print_generic_format=True).print_op(module)
    return out.getvalue()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.mlir")), ids=lambda path: path.stem)
def test_before_after(path: Path, tmp_path: Path) -> None:
    result = tmp_path / "after.mlir"
    result.write_text(after(path))
    matcher = Matcher.from_opts(Options(str(path), input_file=str(result)))
    matcher.stderr = io.StringIO()
    assert matcher.run() == 0, matcher.stderr.getvalue() + result.read_text()


def test_every_pass_has_a_text() -> None:
    assert {path.stem for path in FOLDER.glob("*.mlir")} >= NAMED.keys() - {"note-recognised"}
