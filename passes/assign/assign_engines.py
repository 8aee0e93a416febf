"""Pass assign-engines: each operation gets the engine of the system that likes it best."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.dialects.llm import CacheOp
from crossbank.dialects.location import node_name
from crossbank.dialects.onnx import DimsValueOp
from crossbank.passes.assign.macs import macs_of
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import ZERO, Expr
from crossbank.runtime.program import ProgramError

if TYPE_CHECKING:
    from crossbank.backends.system import EngineSpec

SHOWN_REFUSALS = 20


@dataclass
class EngineShare:
    """What the engines of one kind got: operations of all calls, MACs as an expression, bytes of each weight read."""

    nodes: int = 0
    macs: Expr = ZERO
    weights: dict[str, int] = field(default_factory=dict[str, int])

    def as_dict(self) -> dict[str, Any]:
        """The share as a note."""
        return {"nodes": self.nodes, "macs": str(self.macs), "weight_bytes": sum(self.weights.values())}


def calls_of(module: ModuleOp) -> dict[str, int]:
    """How often each function runs in a step: 1 for @main, the counts of its repeats for any other."""
    calls: dict[str, int] = defaultdict(int)
    for op in module.walk():
        if isinstance(op, RepeatOp):
            calls[op.callee.root_reference.data] += op.count.value.data
    calls["main"] = 1
    return calls


def worked(func: FuncOp) -> Iterator[Operation]:
    """The operations of a function that an engine must run."""
    for op in func.body.block.ops:
        if not isinstance(op, ReturnOp | RepeatOp | UseOp) and op.name != "onnx.Constant":
            yield op


@dataclass(frozen=True)
class AssignEnginesPass(ModulePass):
    """Ask every engine for each operation and note the one that takes it with the highest preference.

    Before: `%y = "llm.linear"(%x, %w) <{transposed = false}>`
    After:  `%y = "llm.linear"(%x, %w) <{transposed = false}> {engine = "matrix"}`

    Notes "engines" (by kind) and "host" (the operations that fell to an engine named in `fallback`, with the others'
    reasons). ProgramError CB0301 lists every operation that no engine takes.
    """

    name = "assign-engines"
    fallback: str = "host"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        weights = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, WeightOp)}
        caches = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, CacheOp)}
        calls = calls_of(op)
        shares: dict[str, EngineShare] = defaultdict(EngineShare)
        refused: list[str] = []
        remedies: Counter[str] = Counter()
        fell: list[dict[str, Any]] = []
        for func in [entry for entry in op.body.block.ops if isinstance(entry, FuncOp)]:
            for entry in worked(func):
                engine, reasons, ways = _choose(ctx, entry)
                if engine is None:
                    if not isinstance(entry, DimsValueOp):
                        refused.append(_refusal(entry, reasons))
                        remedies.update(list(dict.fromkeys(ways)))
                    continue
                entry.attributes["engine"] = StringAttr(engine.name)
                if isinstance(entry, DimsValueOp):
                    continue
                share = shares[engine.kind]
                share.nodes += calls[func.sym_name.data]
                share.macs += macs_of(entry, caches) * calls[func.sym_name.data]
                _note_weights(ctx, entry, weights, share)
                if engine.kind == self.fallback:
                    fell.append({"node": node_name(entry), "op": entry.name, "reasons": reasons})
        if refused:
            shown = refused[:SHOWN_REFUSALS]
            more = [f"and {len(refused) - len(shown)} more"] if len(refused) > len(shown) else []
            count = "1 operation runs" if len(refused) == 1 else f"{len(refused)} operations run"
            raise ProgramError(
                "CB0301",
                f"{count} on no engine of {ctx.system.name}:\n   " + "\n   ".join(shown + more),
                where=ctx.model_name,
                help=self.way_out(ctx, remedies),
            )
        ctx.notes["engines"] = {kind: share.as_dict() for kind, share in shares.items()}
        ctx.notes["host"] = fell

    def way_out(self, ctx: CompileContext, remedies: Counter[str]) -> str:
        """What helps most of the operations that no engine takes, and isn't done yet."""
        done = ctx.system.engine(self.fallback) is not None
        left = [text for text, _ in remedies.most_common() if not (done and f"{self.fallback} engine" in text)]
        return left[0] if left else "replace them in the model"


def _choose(ctx: CompileContext, op: Operation) -> tuple[EngineSpec | None, list[str], list[str]]:
    """The engine for an operation, the others' reasons, and their remedies."""
    best: EngineSpec | None = None
    best_preference = 0
    reasons: list[str] = []
    remedies: list[str] = []
    for engine in ctx.system.engines.values():
        legality = ctx.backend(engine.kind).accepts(op, engine)
        if not legality.legal:
            remedy = f" ({legality.remedy})" if legality.remedy else ""
            reasons.append(f"{engine.name}: {legality.reason}{remedy}")
            if legality.remedy:
                remedies.append(legality.remedy)
        elif best is None or legality.preference > best_preference:
            best, best_preference = engine, legality.preference
    return best, reasons, remedies


def _refusal(op: Operation, reasons: list[str]) -> str:
    return f"{node_name(op) or 'a node'} ({op.name}): {'; '.join(reasons) or 'the system has no engines'}"


def _note_weights(ctx: CompileContext, op: Operation, weights: dict[str, WeightOp], share: EngineShare) -> None:
    for operand in op.operands:
        if isinstance(operand.owner, UseOp):
            for tensor in weights[operand.owner.weight.root_reference.data].tensors:
                share.weights[tensor.data] = ctx.tensors.entry(tensor.data).size_bytes
