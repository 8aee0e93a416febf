"""Where IR came from and how far it has been: a resumed compilation goes on with nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

from xdsl.dialects.builtin import ModuleOp, StringAttr

from crossbank.compiler.phases import PHASES
from crossbank.dialects.imc import BlockOp, BufferOp, WeightOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of
from crossbank.passes.split.split_weights import products
from crossbank.runtime.program import ProgramError

MAPPED = {"split": "split", "tile": "tiles", "place": "placement"}
"""What each phase writes into the mapping of a weight or cache that an engine holds."""


def origin_of(ctx: CompileContext) -> dict[str, str]:
    """Names and hashes of the model's nodes and of the target, noted for who resumes a compilation."""
    nodes, system = ctx.notes.get("nodes", ()), ctx.system.as_config()
    return {
        "model": ctx.model_name, "nodes": _hash(list(nodes)), "target": ctx.system.name, "system": _hash(system),
    }  # fmt: skip


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_origin(ctx: CompileContext, module: ModuleOp, now: dict[str, str], phase: str, ir: Path) -> None:
    """See that IR is of this model and, once engines are assigned, for this target; ProgramError CB0803.

    `now` is `origin_of` before the notes beside the IR were read; CB0810 where there are none though they are needed.
    """
    noted = ctx.notes.get("origin")
    if PHASES.index(phase) > PHASES.index("raise") and not isinstance(noted, dict):
        raise ProgramError(
            "CB0810", "the notes of the phases before are not beside the IR", str(ir.parent / "tables" / "notes.json"),
            "keep the folder tables where the IR is",
        )  # fmt: skip
    found = cast("dict[str, str]", noted) if isinstance(noted, dict) else now
    if found.get("nodes") != now["nodes"] or not _weights_fit(ctx, module):
        raise ProgramError(
            "CB0803", f"the IR was made of another model ({found.get('model')}) than {now['model']}", str(ir),
            "resume with the model that it was made of",
        )  # fmt: skip
    if PHASES.index(phase) > PHASES.index("assign") and found.get("system") != now["system"]:
        same = found.get("target") == now["target"]
        text = f"{now['target']} as it was then" if same else f"target {found.get('target')}, not {now['target']}"
        raise ProgramError("CB0803", f"the IR was made for {text}", str(ir), "resume from assign or before")


def check_engines(ctx: CompileContext, module: ModuleOp, where: Path) -> None:
    """See that the target has the engines that operations are assigned to; ProgramError CB0803."""
    for op in module.walk():
        engine = op.attributes.get("engine")
        if isinstance(engine, StringAttr) and engine.data not in ctx.system.engines:
            raise ProgramError(
                "CB0803", f"target {ctx.system.name} has no engine {engine.data!r}, which {op.name} is assigned to",
                str(where), "give the target that the IR was made for: -t TARGET",
            )  # fmt: skip


def _weights_fit(ctx: CompileContext, module: ModuleOp) -> bool:
    for op in module.body.block.ops:
        if isinstance(op, WeightOp):
            form = (dtype_of(op.type), tuple(dim.constant for dim in shape_of(op.type)))
            for name in (entry.data for entry in op.tensors):
                if name not in ctx.tensors or (ctx.tensors.entry(name).dtype, ctx.tensors.entry(name).shape) != form:
                    return False
    return True


def check_progress(ctx: CompileContext, module: ModuleOp, phase: str, ir: Path) -> None:
    """See that IR has been through all phases before `phase`, and not through it; ProgramError CB0807."""
    before = PHASES[PHASES.index(phase) - 1]
    done, missing = _done(module), _missing(ctx, module, before)
    if PHASES.index(done) > PHASES.index(before):
        why, way = f"has been through {done}", f"resume with --from {PHASES[PHASES.index(done) + 1]}"
    elif missing:
        why, way = f"has not been through {missing}", f"resume with --from {missing} or before"
    else:
        return
    raise ProgramError("CB0807", f"--from {phase}: the IR {why}", str(ir), way)


def _done(module: ModuleOp) -> str:
    """The last phase that has left a trace that can be told: raising leaves none."""
    ops = list(module.walk())
    if any(isinstance(op, BlockOp) for op in ops):
        return "schedule" if any(isinstance(op, BufferOp) and op.address is not None for op in ops) else "lower"
    mappings = [mapping_of(op) for op in module.body.block.ops]
    for phase in reversed(MAPPED):
        if any(MAPPED[phase] in mapping for mapping in mappings):
            return phase
    return "assign" if any("engine" in op.attributes for op in ops) else "import"


def _missing(ctx: CompileContext, module: ModuleOp, before: str) -> str:
    """The first phase up to `before` whose traces are absent; "" for none."""
    ops, last = list(module.walk()), PHASES.index(before)
    lowered = any(isinstance(op, BlockOp) for op in ops)
    if last >= PHASES.index("schedule") and any(isinstance(op, BufferOp) and op.address is None for op in ops):
        return "schedule"
    if lowered or last < PHASES.index("assign"):
        return ""
    if not any("engine" in op.attributes for op in ops):
        return "assign"
    weights = {op.sym_name.data: mapping_of(op) for op in module.body.block.ops if isinstance(op, WeightOp)}
    held = [
        weights[symbol]
        for user, symbol, _ in products(module)
        if isinstance(name := user.attributes.get("engine"), StringAttr)
        and (engine := ctx.system.engines.get(name.data)) is not None
        and hasattr(ctx.backend(engine.kind), "split_weight")
    ]
    held += [mapping for op in module.body.block.ops if not isinstance(op, WeightOp) and (mapping := mapping_of(op))]
    for phase, key in MAPPED.items():
        if last >= PHASES.index(phase) and any(key not in mapping for mapping in held):
            return phase
    return "lower" if last >= PHASES.index("lower") else ""
