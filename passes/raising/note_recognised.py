"""What raising reached: how many of each construct, what products and softmaxes remain, what the dimensions mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from crossbank.dialects.llm import AttentionOp, EmbeddingOp
from crossbank.dialects.location import node_name
from crossbank.dialects.shape import shape_of
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.architecture import architecture
from crossbank.passes.raising.matching import is_routing, kind
from crossbank.passes.raising.notes import roles_of, unrecognised
from crossbank.passes.rewriting import entry_block, functions, multiplicity
from crossbank.runtime.expr import ONE

KINDS = {
    "llm.linear": "linear",
    "llm.attention": "attention",
    "llm.rms_norm": "rms_norm",
    "llm.layer_norm": "layer_norm",
    "llm.rotary": "rotary",
    "llm.gated": "gated_mlp",
    "llm.activation": "activation",
    "llm.embedding": "embedding",
}
REASONS = {
    "MatMul": "linear: the second operand is no static matrix; attention: no softmax that fits",
    "Gemm": "linear: the second operand is no static matrix, or alpha, beta, transA differ from 1, 1, 0",
    "Softmax": "attention: no pattern fits",
    "GroupQueryAttention": "attention: a fused operator of com.microsoft, which runs as it is",
    "MultiHeadAttention": "attention: a fused operator of com.microsoft, which runs as it is",
}


@dataclass(frozen=True)
class NoteRecognisedPass(ModulePass):
    """Note `recognised`, `unrecognised`, `architecture` and `dims` in the context; the module stays as it is."""

    name = "note-recognised"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if not isinstance(ctx, CompileContext):
            return
        counts = dict.fromkeys(("linear", "attention", "kv_cache", *list(KINDS.values())[2:]), 0)
        runs = multiplicity(op)
        total: Counter[str] = Counter()
        noted = {(name, node) for name, node, _ in ctx.notes.setdefault("unrecognised", [])}
        for name, function in functions(op).items():
            for found in entry_block(function).ops:
                if found.name in KINDS:
                    total[KINDS[found.name]] += runs[name]
                if isinstance(found, AttentionOp) and found.cache is not None:
                    total["kv_cache"] += runs[name]
                reason = REASONS.get(kind(found).rpartition(":")[2])
                if reason and (kind(found), node_name(found)) not in noted and not _is_something_else(found):
                    unrecognised(ctx, found, reason)
        ctx.notes["recognised"] = {**counts, **total}
        ctx.notes["architecture"] = architecture(op)
        _note_dims(ctx, op)


def _is_something_else(op: Operation) -> bool:
    """A product over one element, as of positions and rotary frequencies; the softmax of a router."""
    if kind(op) == "Softmax":
        return is_routing(op)
    return kind(op) == "MatMul" and shape_of(op.operands[0])[-1] == ONE


def _note_dims(ctx: CompileContext, module: ModuleOp) -> None:
    """Without caches, batch and sequence are those of the first embedding's ids."""
    dims = roles_of(ctx)
    if "sequence" in dims:
        return
    for found in module.walk():
        if isinstance(found, EmbeddingOp) and len(shape_of(found.ids)) == 2:
            for role, dim in zip(("batch", "sequence"), shape_of(found.ids), strict=True):
                if not dim.is_constant:
                    dims.setdefault(role, str(dim))
            return
