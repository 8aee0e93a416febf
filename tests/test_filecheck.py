"""IR texts beside the tests that they belong to: dialects print what they parse, passes do what they say.

`// RUN: pass-a,pass-b{option=1} --groups 1` names passes as `crossbank opt -p` takes them, and the limits of the
compilation; the target is the toy of `tests.passes.toy`. `// -----` separates modules, each of which may begin with a
RUN line of its own; one that is refused gives `error: …`. CHECK lines say what must come out.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import Options
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Dialect
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import ParseError, VerifyException

from crossbank.compiler.phases import all_passes
from crossbank.compiler.resuming import pipeline
from crossbank.dialects.imc import IMC, WeightOp
from crossbank.dialects.llm import LLM
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.context import CompileContext
from crossbank.runtime.program import ProgramError
from crossbank.runtime.tensors import TensorEntry
from tests.passes import toy

FOLDER = Path(__file__).parent
TEXTS = sorted(FOLDER.rglob("*.mlir"))
RUN, SPLIT = "// RUN:", "// -----\n"


def arguments(line: str) -> argparse.Namespace:
    """The passes and limits of a RUN line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("passes", nargs="*")
    parser.add_argument("--groups", type=int)
    parser.add_argument("--context", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=2)
    return parser.parse_args(line.removeprefix(RUN).split())


def declare_tensors(module: ModuleOp, ctx: CompileContext) -> None:
    """Give the weights of a module their shapes, without values."""
    for op in module.walk():
        if isinstance(op, WeightOp):
            shape = tuple(dim.constant for dim in shape_of(op.type))
            for name in op.tensors:
                ctx.tensors.declare(name.data, TensorEntry(dtype_of(op.type), shape, None))


def generic(module: ModuleOp) -> str:
    """The module as text, in generic form."""
    out = io.StringIO()
    Printer(out, print_generic_format=True).print_op(module)
    return out.getvalue() + "\n"


def after(text: str, where: str, asked: argparse.Namespace) -> str:
    """One module after its passes, verified after each; or the error."""
    ctx = toy.context(asked.context, asked.max_batch, asked.groups)
    try:
        module = Parser(ctx, text, where).parse_module()
        module.verify()
        declare_tensors(module, ctx)
        for item in pipeline("".join(asked.passes), all_passes()):
            item.apply(ctx, module)
            module.verify()
        found = generic(module)
        assert generic(Parser(ctx, found, where).parse_module()) == found
    except (ParseError, VerifyException) as error:
        return f"error: {error}\n"
    except ProgramError as error:
        return f"{error}\n"
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_text(path: Path, tmp_path: Path) -> None:
    run, results = "", list[str]()
    for part in path.read_text().split(SPLIT):
        first = part.partition("\n")[0]
        run = first if first.startswith(RUN) else run
        assert run, f"{path} starts with no {RUN}"
        results.append(after(part, path.name, arguments(run)))
    result = tmp_path / "after.mlir"
    result.write_text(SPLIT.join(results))
    matcher = Matcher.from_opts(Options(str(path), input_file=str(result)))
    matcher.stderr = io.StringIO()
    assert matcher.run() == 0, matcher.stderr.getvalue() + result.read_text()


def test_every_pass_has_a_text() -> None:
    assert {path.stem for path in (FOLDER / "passes").rglob("*.mlir")} == all_passes().keys() - {"note-recognised"}


def test_a_text_lies_in_the_folder_of_its_pass() -> None:
    folders = {name: kind.__module__.split(".")[-2] for name, kind in all_passes().items()}
    for path in (FOLDER / "passes").rglob("*.mlir"):
        assert path.parent.name == folders[path.stem], path


@pytest.mark.parametrize("dialect", [LLM, IMC], ids=lambda dialect: dialect.name)
def test_every_operation_stands_in_the_text_of_its_dialect(dialect: Dialect) -> None:
    text = (FOLDER / "dialects" / f"{dialect.name}.mlir").read_text()
    checked = "".join(line for line in text.splitlines() if line.startswith("// CHECK"))
    assert not [op.name for op in dialect.operations if f'"{op.name}"' not in checked]
