"""Writes the pages that are made from the code: docs/instructions.md, docs/operators.md and docs/passes.md.

    python docs/pages.py

tests/test_docs.py holds the committed pages to what this gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from xdsl.passes import ModulePass

from crossbank.backends.matrix.lower import HANDLERS as MATRIX
from crossbank.backends.simd.lower import HANDLERS as SIMD
from crossbank.compiler.frontend import rules as _rules
from crossbank.compiler.frontend.step import RULES, VALUES
from crossbank.compiler.phases import PHASES, passes_of
from crossbank.dialects.onnx import schemas
from crossbank.passes.raising import decompose_fused, mixture, raise_quantised
from crossbank.runtime.assembly.reference import reference_page
from crossbank.runtime.registry import instruction_set

SETS = ("core", "xbar", "pim", "matrix", "simd", "host")
HERE = Path(__file__).parent
assert _rules.__all__
TYPES = {
    "floats": "float float16 bfloat16 double",
    "8-bit floats": "float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz",
    "integers": "int8 int16 int32 int64 uint8 uint16 uint32 uint64",
    "4-bit integers": "int4 uint4",
    "2-bit integers": "int2 uint2",
    "bool": "bool",
}
PHASE_TEXTS = {
    "import": "Read the ONNX file: `onnx` operations over tensors with named dimensions, located at their nodes. Shape "
    "arithmetic is resolved to expressions, constants are folded, equal layers found on the graph become one function.",
    "raise": "Find the transformer: `onnx` becomes `llm` where it is recognised. What is not recognised stays, still "
    "runs, and is listed in the summary.",
    "assign": "Give every operation an engine.",
    "split": "Spread matrices and caches over units of their engine that work side by side: rows, columns, heads and "
    "tokens over arrays, banks and channels. What goes on over several chips or devices shows when it is placed.",
    "tile": "Count the units that the parts take: arrays, banks' rows.",
    "place": "Give every tile its unit.",
    "lower": "Write instructions over buffers: value form becomes buffer form.",
    "schedule": "Addresses, order, tokens between engines.",
    "emit": "Write records and tables, and verify the program.",
}
EXAMPLES = {
    "drop-identities": (
        '%1 = "onnx.Transpose"(%0) {perm = [1, 0]}\n%2 = "onnx.Transpose"(%1) {perm = [1, 0]}\nuse(%2)',
        "use(%0)",
    ),
    "eliminate-dead": ('%1 = "onnx.Relu"(%0)    // no use', ""),
    "merge-equal": ('%1 = "onnx.Cos"(%0)\n%2 = "onnx.Cos"(%0)\nuse(%1, %2)', '%1 = "onnx.Cos"(%0)\nuse(%1, %1)'),
    "hoist-invariants": (
        'func @layer0(%x, %mask) {\n  %m = "onnx.Cast"(%mask)\n  use(%x, %m)\n}',
        "func @layer0(%x, %m) {\n  use(%x, %m)\n}    // the cast now stands before imc.repeat @layer0",
    ),
    "decompose-fused": (
        '%y, %k1, %v1 = "onnx.Custom"(%q, %k, %v, %k0, %v0, …) {op = "GroupQueryAttention", …}',
        '%qr = "llm.rotary"(%q, %cos, %sin)\n%kr = "llm.rotary"(%k, %cos, %sin)\n'
        '%k1 = "llm.append"(%k0, %kr, …)\n%v1 = "llm.append"(%v0, %v, …)\n'
        '%y = "llm.attention"(%qr, %k1, %v1, …) <{causal = true, …}>',
    ),
    "raise-quantised": (
        '%y = "onnx.Custom"(%x, %packed, %scales, %zeros) {op = "MatMulNBits", bits = 4, block_size = 32, …}',
        '%y = "llm.linear"(%x, %w, %scales, %zeros) <{transposed = true}>    // %w: tensor<NxKxui4>',
    ),
    "raise-embedding": ('%y = "onnx.Gather"(%table, %ids) {axis = 0}', '%y = "llm.embedding"(%table, %ids)'),
    "raise-softmax": (
        '%1 = "onnx.ReduceMax"(%x, -1)\n%2 = "onnx.Sub"(%x, %1)\n%3 = "onnx.Exp"(%2)\n%4 = "onnx.ReduceSum"(%3, -1)\n'
        '%y = "onnx.Div"(%3, %4)',
        '%y = "onnx.Softmax"(%x) {axis = -1}',
    ),
    "raise-linear": (
        '%1 = "onnx.MatMul"(%x, %w)\n%y = "onnx.Add"(%1, %b)',
        '%y = "llm.linear"(%x, %w, %b) <{transposed = false}>',
    ),
    "raise-norm": (
        '%1 = "onnx.Pow"(%x, 2)\n%2 = "onnx.ReduceMean"(%1)\n%3 = "onnx.Add"(%2, 1e-5)\n%4 = "onnx.Sqrt"(%3)\n'
        '%5 = "onnx.Div"(%x, %4)\n%y = "onnx.Mul"(%5, %scale)',
        '%y = "llm.rms_norm"(%x, %scale) <{epsilon = 1e-5}>',
    ),
    "raise-rotary": (
        '%1 = "onnx.Mul"(%x, %cos)\n%2, %3 = "onnx.Split"(%x)\n%4 = "onnx.Neg"(%3)\n%5 = "onnx.Concat"(%4, %2)\n'
        '%6 = "onnx.Mul"(%5, %sin)\n%y = "onnx.Add"(%1, %6)',
        '%y = "llm.rotary"(%x, %cos, %sin) <{interleaved = false}>',
    ),
    "raise-attention": (
        '%1 = "onnx.MatMul"(%q, %kt)\n%2 = "onnx.Mul"(%1, 0.125)\n%3 = "onnx.Add"(%2, %mask)\n'
        '%4 = "onnx.Softmax"(%3)\n%y = "onnx.MatMul"(%4, %v)',
        '%y = "llm.attention"(%q, %k, %v, %mask) <{scale = 0.125, causal = false}>',
    ),
    "raise-cache": (
        '%k1 = "onnx.Concat"(%past_k, %k)\n%v1 = "onnx.Concat"(%past_v, %v)\n'
        '%y = "llm.attention"(%q, %k1, %v1)    // %past_* are inputs, %k1 and %v1 outputs',
        '"llm.cache"() <{sym_name = "cache0", …}>\n%y = "llm.attention"(%q, %k, %v) <{cache = @cache0}>',
    ),
    "raise-activation": (
        '%1 = "onnx.Sigmoid"(%x)\n%y = "onnx.Mul"(%x, %1)',
        '%y = "llm.activation"(%x) <{activation = "silu"}>',
    ),
    "raise-mlp": (
        '%1 = "llm.activation"(%g) <{activation = "silu"}>\n%y = "onnx.Mul"(%1, %u)',
        '%y = "llm.gated"(%g, %u) <{activation = "silu"}>',
    ),
}
"""Before and after, shortened, of passes whose own words have none; passes that only look have no entry."""
LOOKING = ("note-recognised", "check-dimensions")


def instructions_page() -> str:
    """The page of the instructions that come with the package."""
    return reference_page([instruction_set(name) for name in SETS])


def passes_page() -> str:
    """The page of all phases and passes in order."""
    lines = [
        "# Phases and passes",
        "",
        "<!-- made by docs/pages.py: change the passes, not this page -->",
        "",
        "A compilation runs these phases in order; `--stop-after PHASE` stops behind one, `--dump-ir DIR` writes a "
        "file per pass, `--from` resumes. Each pass is a file in `passes/<phase>/`, runs alone with `crossbank opt "
        "FILE -p NAME`, and takes its options in braces: `-p 'reduce-partial-sums{where=vector-unit}'`. IR is "
        "shortened here; in full it is "
        "xDSL's generic form, with types and locations.",
    ]
    for phase in PHASES:
        lines += ["", f"## {phase}", "", PHASE_TEXTS[phase]]
        for item in passes_of(phase):
            lines += ["", *_pass(type(item))]
    return "\n".join(lines) + "\n"


def _pass(kind: type[ModulePass]) -> list[str]:
    text = cleandoc(kind.__doc__ or "")
    lines = [f"### {kind.name}", ""]
    body, examples = _split(text)
    lines += [body.strip()]
    options = [f"`{field.name}` (default `{field.default}`)" for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    if options:
        lines += ["", f"Options: {', '.join(options)}."]
    before, after = examples or EXAMPLES.get(kind.name, ("", ""))
    if before:
        lines += [
            "",
            "```mlir",
            "// before",
            *before.splitlines(),
            "// after",
            *(after or "// nothing").splitlines(),
            "```",
        ]
    return lines


def _split(text: str) -> tuple[str, tuple[str, str] | None]:
    """The words of a pass, and its example: the lines from `Before:` and from `After:` to a blank line."""
    words: list[str] = []
    parts: dict[str, list[str]] = {}
    inside = ""
    for line in text.splitlines():
        head = line.split(":")[0]
        if head in ("Before", "After"):
            inside = head
            parts[inside] = [line.split(":", 1)[1]]
        elif inside and line.strip():
            parts[inside].append(line)
        else:
            inside = ""
            words.append(line)
    if len(parts) < 2:
        return text, None
    before, after = ("\n".join(_plain(line) for line in parts[name]) for name in ("Before", "After"))
    return "\n".join(words).replace("\n\n\n", "\n\n"), (before, after)


def _plain(line: str) -> str:
    return line.replace("`", "").strip() if line.startswith(" ") else line.replace("`", "")


def operators_page() -> str:
    """The page of all operators: versions, element types, and what runs them."""
    lines = [
        "# Operators",
        "",
        "<!-- made by docs/pages.py: change the code, not this page -->",
        "",
        "Every operator that a model may contain, from the tables that the compiler uses. *Since* lists the opset "
        "versions at which the operator changed, all of which are taken; *types* are the element types that its latest "
        "schema allows and the runtime has numbers for. Without a name in the last column an operator runs only where "
        "its result is known at compile time, or on a `host` engine, which the summary reports. An operator of ai.onnx "
        "that is not listed is spelt out by the function that its ONNX schema states, or refused by name.",
        "",
        "## ai.onnx",
        "",
        "| operator | since | types | runs as |",
        "|---|---|---|---|",
    ]
    names = {name for name in (*RULES, *VALUES, *_runs()) if not name.startswith("llm.")}
    for name in sorted(name for name in names if ":" not in name):
        versions = schemas().get(name, ())
        since = ", ".join(str(schema.since_version) for schema in versions) or "-"
        lines.append(f"| {name} | {since} | {_types(versions)} | {_runs().get(name, '')} |")
    lines += ["", "## com.microsoft", "", "| operator | runs as |", "|---|---|"]
    for name in sorted(name for name in names if ":" in name):
        lines.append(f"| {name.partition(':')[2]} | {_runs().get(name, '')} |")
    return "\n".join(lines) + "\n"


@cache
def _runs() -> dict[str, str]:
    """What each operator becomes, by the tables of the families and of the passes that spell it out."""
    found: dict[str, list[str]] = {}
    for text, table in (
        ("its parts (`decompose-fused`)", decompose_fused.RULES),
        ("its parts (`raise-experts`)", mixture.RULES),
        (
            "`llm.linear` or its parts (`raise-quantised`)",
            raise_quantised.PACKED | raise_quantised.RULES,
        ),
        ("`matrix`", MATRIX),
        ("`simd`", SIMD),
    ):
        for name in table:
            found.setdefault(name, []).append(text)
    return {name: ", ".join(texts) for name, texts in found.items()}


def _types(versions: Sequence[Any]) -> str:
    """The element types of an operator's inputs, in families: all floats as `floats`, and so on."""
    if not versions:
        return "floats"
    schema = versions[-1]
    allowed = {text for formal in (schema.inputs or schema.outputs) for text in formal.types}
    kinds = {name: {f"tensor({kind})" for kind in group.split()} & allowed for name, group in TYPES.items()}
    parts: list[str] = []
    for name, group in TYPES.items():
        whole = {f"tensor({kind})" for kind in group.split()}
        if kinds[name] == whole:
            parts.append(name)
        else:
            parts += sorted(kind[len("tensor(") : -1] for kind in kinds[name])
    return ", ".join(parts)


def main() -> None:
    """Write all pages."""
    (HERE / "operators.md").write_text(operators_page(), encoding="utf-8")
    (HERE / "instructions.md").write_text(instructions_page(), encoding="utf-8")
    (HERE / "passes.md").write_text(passes_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
