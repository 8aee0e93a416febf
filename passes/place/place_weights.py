"""Pass place-weights: units for each instance of each held matrix, and for each cache that its family holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.dialects.llm import AttentionOp, CacheOp
from crossbank.dialects.location import node_names
from crossbank.dialects.mapping import Tiling
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of, set_mapping, tiling_of
from crossbank.runtime.program import ProgramError


@dataclass
class Packing:
    """The units of one engine, group after group, filled from the front of each."""

    units_per_group: int
    used: list[int] = field(default_factory=list[int])
    """Units taken in each group so far."""

    @property
    def free(self) -> int:
        """Units left in the last group."""
        return self.units_per_group - self.used[-1] if self.used else self.units_per_group

    def place(self, tiling: Tiling) -> int:
        """The first of the consecutive units of one instance: first fit in the order of groups."""
        size = self.units_per_group
        if tiling.within_group:
            for group, used in enumerate(self.used):
                if used + tiling.units <= size:
                    self.used[group] += tiling.units
                    return group * size + used
            self.used.append(tiling.units)
            return (len(self.used) - 1) * size
        last = len(self.used) - 1
        first = last * size + self.used[last] if self.used and self.used[last] < size else len(self.used) * size
        end = first + tiling.units
        while len(self.used) * size < end:
            self.used.append(0)
        for group in range(first // size, -(-end // size)):
            self.used[group] = min(end - group * size, size)
        return first


@dataclass
class Slot:
    """A matrix or cache to place: one instance per call of the function that uses it."""

    op: WeightOp | CacheOp
    engine: str
    tiling: Tiling
    user: Operation | None = None
    first_unit: list[int] = field(default_factory=list[int])

    @property
    def name(self) -> str:
        return self.op.sym_name.data

    @property
    def count(self) -> int:
        if isinstance(self.op, WeightOp):
            return len(self.op.tensors)
        return max(len(self.op.keys_in), len(self.op.keys_out), 1)


@dataclass(frozen=True)
class PlaceWeightsPass(ModulePass):
    """Pack the instances of held matrices and caches into the units of their engines.

    A layer sits together: row i of every slot of a repeated function comes before row i + 1; what @main itself uses
    comes last. As many groups are taken as needed, or ProgramError CB0311 where the user allows fewer.

    Before: `mapping = {engine = "arrays", …, units = 8}`
    After:  `mapping = {engine = "arrays", …, units = 8, placement = "5d41402abc4b2a76", groups = 1}`

    The table of that hash is int64 (calls,): the first unit of each instance, counted over all groups (chips, devices);
    `groups` is the most that one instance is spread over.
    Notes "groups" and "units" (by engine: used, in all).
    """

    name = "place-weights"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        order = _in_order(op)
        packings: dict[str, Packing] = {}
        for slot, row in order:
            if slot.tiling.within_group and slot.tiling.units > slot.tiling.units_per_group:
                raise _too_large(ctx, slot, row)
            packing = packings.setdefault(slot.engine, Packing(slot.tiling.units_per_group))
            free = packing.free
            slot.first_unit.append(packing.place(slot.tiling))
            if ctx.options.groups is not None and len(packing.used) > ctx.options.groups:
                raise _too_few(ctx, slot, row, free, _groups(order))
        for slot, row in order:
            if row == 0:
                table = ctx.keep_table(np.array(slot.first_unit, np.int64))
                placed = {"placement": StringAttr(table), "groups": IntegerAttr(_spanned(slot), i64)}
                set_mapping(slot.op, {**mapping_of(slot.op), **placed}, isinstance(slot.op, WeightOp))
        ctx.notes["groups"] = max((len(packing.used) for packing in packings.values()), default=1)
        ctx.notes["units"] = {
            engine: {"used": sum(packing.used), "total": len(packing.used) * packing.units_per_group}
            for engine, packing in packings.items()
        }


def _spanned(slot: Slot) -> int:
    """The most groups that an instance is spread over."""
    size, units = slot.tiling.units_per_group, slot.tiling.units
    return max((first + units - 1) // size - first // size + 1 for first in slot.first_unit)


def _slots(func: FuncOp, symbols: dict[str, Slot]) -> list[Slot]:
    """The slots that a function uses, in the order of their use."""
    found: dict[str, Slot] = {}
    for op in func.body.block.ops:
        used = [value.owner.weight for value in op.operands if isinstance(value.owner, UseOp)]
        if isinstance(op, AttentionOp) and op.cache is not None:
            used.append(op.cache)
        for symbol in used:
            slot = symbols.get(symbol.root_reference.data)
            if slot is not None:
                if slot.user is None:
                    slot.user = op
                found[symbol.root_reference.data] = slot
    return list(found.values())


def _in_order(module: ModuleOp) -> list[tuple[Slot, int]]:
    """Every instance as (slot, row), in the order in which they are placed."""
    symbols = {slot.name: slot for slot in _held(module)}
    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, FuncOp)}
    repeated = [op.callee.root_reference.data for op in module.walk() if isinstance(op, RepeatOp)]
    order: dict[tuple[str, int], tuple[Slot, int]] = {}
    for name in (*dict.fromkeys(repeated), *(name for name in functions if name not in repeated)):
        slots = _slots(functions[name], symbols)
        for row in range(max((slot.count for slot in slots), default=0)):
            for slot in slots:
                if row < slot.count:
                    order.setdefault((slot.name, row), (slot, row))
    return list(order.values())


def _held(module: ModuleOp) -> Iterator[Slot]:
    """The matrices and caches that were tiled."""
    for op in module.body.block.ops:
        if isinstance(op, WeightOp | CacheOp):
            tiling, engine = tiling_of(op), mapping_of(op).get("engine")
            if tiling is not None and isinstance(engine, StringAttr):
                yield Slot(op, engine.data, tiling)


def _groups(order: Sequence[tuple[Slot, int]]) -> int:
    """How many groups all instances need."""
    packings: dict[str, Packing] = {}
    for slot, _ in order:
        packings.setdefault(slot.engine, Packing(slot.tiling.units_per_group)).place(slot.tiling)
    return max(len(packing.used) for packing in packings.values())


def _node(slot: Slot, row: int) -> str:
    nodes = node_names(slot.user) if slot.user is not None else ()
    return nodes[row % len(nodes)] if nodes else slot.name


def _too_large(ctx: CompileContext, slot: Slot, row: int) -> ProgramError:
    tiling, is_cache = slot.tiling, isinstance(slot.op, CacheOp)
    what = f"the cache of {ctx.options.max_batch} sequences" if is_cache else "a matrix"
    return ProgramError(
        "CB0311",
        f"{what} needs {tiling.units} {tiling.unit_name}s within one {tiling.group_name}, which has "
        f"{max(tiling.units_per_group, 0)} for weights and caches",
        f"{ctx.model_name}: {_node(slot, row)}",
        "give a smaller --context or --max-batch"
        if is_cache
        else f"choose a system whose {tiling.group_name} has more {tiling.unit_name}s",
    )


def _too_few(ctx: CompileContext, slot: Slot, row: int, free: int, needed: int) -> ProgramError:
    tiling, groups = slot.tiling, ctx.options.groups
    node = _node(slot, row)
    many = "" if groups == 1 else "s"
    what = f"({tiling.grid[0]}x{tiling.grid[1]} tiles of {tiling.tile[0]}x{tiling.tile[1]})"
    return ProgramError(
        "CB0311",
        f"weights do not fit the {tiling.unit_name}s of {groups} {tiling.group_name}{many} (--chips {groups})",
        f"{ctx.model_name}: {node}   {what}\n"
        f"   |  needs {tiling.units} {tiling.unit_name}s; {ctx.system.name} has {tiling.units_per_group} a "
        f"{tiling.group_name}, {free} free in the last one",
        f"let the compiler choose   --chips auto        ({needed} {tiling.group_name}s for the weights)",
    )
