"""Writes the pages that are made from the code: docs/instructions.md and docs/passes.md.

    python docs/pages.py

tests/test_docs.py holds the committed pages to what this gives.
"""

from __future__ import annotations

from dataclasses import fields
from inspect import cleandoc
from pathlib import Path

from xdsl.passes import ModulePass

from crossbank.compiler.phases import PHASES, passes_of
from crossbank.runtime.assembly.reference import reference_page
from crossbank.runtime.registry import instruction_set

SETS = ("core", "xbar", "pim", "matrix", "simd", "host")
HERE = Path(__file__).parent
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


def main() -> None:
    """Write both pages."""
    (HERE / "instructions.md").write_text(instructions_page(), encoding="utf-8")
    (HERE / "passes.md").write_text(passes_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
