"""Which dimensions the inputs of fused operators have: as words, where one word is one size throughout a node.

"B S H" are three dimensions, "|" stands between forms, "..." for any dimensions before, "*" for any size, a number for
itself and "@num_heads" for an attribute. Forms as in https://github.com/microsoft/onnxruntime/blob/main/docs/
ContribOperators.md; operators of ai.onnx as in https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossbank.compiler.frontend.algebra import decide_equal
from crossbank.compiler.frontend.step import Step
from crossbank.runtime.expr import Expr

NORM = ("B S H|T H", "B S H|1 S H|S H|T H", "H", "H", "H")
NUMBER = "|1"
BINARY = ("", NUMBER, NUMBER, "", NUMBER, NUMBER, NUMBER, NUMBER)
CONTRACTS: Mapping[str, Sequence[str]] = {
    "com.microsoft:SkipLayerNormalization": NORM,
    "com.microsoft:SkipSimplifiedLayerNormalization": NORM[:-1],
    "SkipSimplifiedLayerNormalization": NORM[:-1],
    "com.microsoft:GroupQueryAttention": (
        "B S W", "B S K", "B S K", "B @kv_num_heads P D", "B @kv_num_heads P D", "B|B 1", NUMBER, "M R", "M R", "B S",
        "* * * *", "@num_heads", "", "", "D", "D",
    ),
    "com.microsoft:MultiHeadAttention": (
        "B S W|B S @num_heads 3 D", "B T W|B T @num_heads 2 D|B @num_heads T D", "B T V|B @num_heads T E", "X",
        "*|B N|B * N", "* * * N", "B @num_heads P D", "B @num_heads P E",
    ),
    "com.microsoft:Attention": (
        "B S I", "I O", "O", "*|B N|B S N|B * * *", "2 B @num_heads P D", "* * S N", NUMBER,
    ),
    "com.microsoft:RotaryEmbedding": ("B S W|B H S D", "1|B S", "M R", "M R"),
    "RotaryEmbedding": ("B S W|B H S D", "M R|B S R", "M R|B S R", "B S"),
    "com.microsoft:EmbedLayerNormalization": ("B S", "B S", "V H", "P H", "U H", "H", "H", "B S", "B S|1 S"),
    "com.microsoft:BiasGelu": ("... H", "H"),
    "com.microsoft:FastGelu": ("... H", "H"),
    "com.microsoft:QLinearAdd": BINARY,
    "com.microsoft:QLinearMul": BINARY,
    "com.microsoft:QLinearSigmoid": ("", NUMBER, NUMBER, NUMBER, NUMBER),
    "com.microsoft:QLinearSoftmax": ("", NUMBER, NUMBER, NUMBER, NUMBER),
    "com.microsoft:FusedGemm": ("* *", "* *", "|*|* *"),
    "com.microsoft:QGemm": ("* *", NUMBER, NUMBER, "* *", "|*", "|*", "", NUMBER, NUMBER),
    "com.microsoft:MoE": ("B S H|T H", "T E", "E * *", "E *", "E * *", "E *", "E * *", "E *"),
    "com.microsoft:QMoE": (
        "B S H|T H", "T E", "E * *", "E *|E * *", "E *", "E * *", "E *|E * *", "E *", "E * *", "E *|E * *", "E *",
    ),
}  # fmt: skip


def check_contract(step: Step) -> None:
    """Refuse a node of a fused operator whose inputs have other dimensions than the operator wants."""
    sizes: dict[str, Expr] = {}
    for i, forms in enumerate(CONTRACTS.get(step.node.key, ())):
        if not forms or not step.has(i):
            continue
        shape = step.shape(i)
        choices = [words for form in forms.split("|") if (words := _words(form, len(shape))) is not None]
        if not choices:
            step.refuse(f"input {i} has {len(shape)} dimensions where {' or '.join(forms.split('|'))} are wanted")
        fits = (words for sure in (True, False) for words in choices if _fits(step, words, shape, sizes, sure))
        words = next(fits, choices[0])
        for word, dim in zip(words, shape, strict=True):
            wanted = _size(step, word, sizes)
            if wanted is not None:
                step.expect(dim, wanted, f"input {i}, {word.removeprefix('@')}")
            elif word != "*":
                sizes[word] = dim


def _words(form: str, rank: int) -> list[str] | None:
    """The words for so many dimensions; None if a form has others."""
    words = form.split()
    if words[:1] == ["..."] and rank >= len(words) - 1:
        return ["*"] * (rank - len(words) + 1) + words[1:]
    return words if len(words) == rank else None


def _fits(step: Step, words: Sequence[str], shape: Sequence[Expr], sizes: Mapping[str, Expr], sure: bool) -> bool:
    """Whether a shape has this form: for certain, or by what dimensions may yet turn out to be."""
    pairs = ((_size(step, word, sizes), dim) for word, dim in zip(words, shape, strict=True))
    resolve = step.world.resolve
    equal = ((wanted is None) or decide_equal(resolve(wanted), resolve(dim)) for wanted, dim in pairs)
    return all(known is True or (known is None and not sure) for known in equal)


def _size(step: Step, word: str, sizes: Mapping[str, Expr]) -> Expr | None:
    """What a word stands for so far."""
    if word.startswith("@"):
        return Expr.of(int(step.attribute(word[1:], 0)))
    return Expr.of(int(word)) if word.isdigit() else sizes.get(word)
