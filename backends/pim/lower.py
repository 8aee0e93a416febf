"""DRAM that computes as a family: linears and attention over a KV cache run where weights and caches lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from crossbank.backends.interface import Lowering
from crossbank.backends.pim.isa import ISA
from crossbank.backends.pim.layout import ELEMENT_BYTES, Device, GemvLayout
from crossbank.backends.pim.loops import repeated
from crossbank.backends.pim.lower_attention import BankCache, cache_layout, lower_attention, refuses_attention
from crossbank.backends.simd.views import at, remade, reshaped, sliced
from crossbank.backends.system import EngineSpec
from crossbank.dialects import imc, llm
from crossbank.dialects.imc import ViewAttr, contiguous
from crossbank.dialects.mapping import (
    CacheInfo,
    CacheSplit,
    Dimension,
    Legality,
    Placement,
    Split,
    Tiling,
    WeightInfo,
    parts_of,
)
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ZERO, Expr, product
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.program import ProgramError

PREFERENCE = 90
WORD_BYTES = 4
"""Activations travel between devices as the vector unit has them."""
FORMATS = ("float32", "float16", "bfloat16")


def first_rows(placement: Placement, device: Device) -> NDArray[np.int64]:
    """The first row of each instance, counted over all devices, working rows included."""
    units = placement.tiling.units_per_group
    return placement.first_unit // units * device.rows + placement.first_unit % units


@dataclass(frozen=True)
class Span:
    """Waves of equal size in a pass: `count` from wave `first` on, `outputs` each."""

    first: int
    count: int
    outputs: int


@dataclass(frozen=True)
class Gemv:
    """A matrix times one vector: x [K] and y [N] of a token, the matrix from `row` on."""

    to: Lowering
    engine: str
    layout: GemvLayout
    row: Expr
    x: ViewAttr
    y: ViewAttr
    bias: ViewAttr | None

    def emit(self) -> None:
        """Passes over as many waves as there are accumulators; the sums over K stay in them."""
        layout, latches = self.layout, self.layout.device.latches
        passes = -(-layout.waves // latches)
        size = -(-layout.waves // passes)
        if passes > 1:
            with repeated(self.to, passes - 1) as i:
                self._pass(i * size, [Span(0, size, layout.per_wave)])
        done = (passes - 1) * size
        rest = layout.waves - done
        last = layout.outputs - (layout.waves - 1) * layout.per_wave
        if last == layout.per_wave:
            self._pass(Expr.of(done), [Span(0, rest, last)])
            return
        full = [Span(0, rest - 1, layout.per_wave)] if rest > 1 else []
        self._pass(Expr.of(done), [*full, Span(rest - 1, 1, last)])

    def _pass(self, first: Expr, spans: list[Span]) -> None:
        """Bias, all parts of K, read-out, for the waves from `first` on."""
        to, layout = self.to, self.layout
        elements = layout.device.row_elements
        for span in spans:
            with repeated(to, span.count) as i:
                bias = None if self.bias is None else self._outputs(self.bias, first + span.first + i, span)
                to.emit(self.engine, "wr_bias", src=bias, latch=i + span.first, **self._channels(span))
        whole, rest = divmod(layout.inputs, elements)
        if whole:
            with repeated(to, whole) as part:
                self._part(first, spans, part, elements)
        if rest:
            self._part(first, spans, Expr.of(whole), rest)
        for span in spans:
            with repeated(to, span.count) as i:
                y = self._outputs(self.y, first + span.first + i, span)
                to.emit(self.engine, "rd_mac", dst=y, latch=i + span.first, **self._channels(span))

    def _part(self, first: Expr, spans: list[Span], part: Expr, elements: int) -> None:
        to, layout = self.to, self.layout
        x = sliced(self.x, 0, part * layout.device.row_elements, elements)
        driven = max((self._channels(span) for span in spans), key=lambda c: c["channels"])
        to.emit(self.engine, "wr_gb", src=x, **driven)
        for span in spans:
            with repeated(to, span.count) as i:
                to.emit(
                    self.engine,
                    "mac_abk",
                    row=self.row + (first + span.first + i) * layout.k_rows + part,
                    column=0,
                    columns=layout.device.columns(elements),
                    buffer_column=0,
                    latch=i + span.first,
                    macs=elements * span.outputs,
                    **self._channels(span),
                )

    def _outputs(self, view: ViewAttr, wave: Expr, span: Span) -> ViewAttr:
        return sliced(view, 0, wave * self.layout.per_wave, span.outputs)

    def _channels(self, span: Span) -> dict[str, int]:
        return {"first_channel": 0, "channels": self.layout.device.channels_for(span.outputs).constant}


class PimBackend:
    """The family `pim`."""

    kind = "pim"
    isa: InstructionSet = ISA

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Linears with static weights, and attention over a cache; all else has nothing in banks."""
        if isinstance(op, llm.AttentionOp):
            reason = refuses_attention(op, Device.of(engine.config))
            if reason is not None:
                return Legality(False, reason=reason, remedy="it runs on a simd engine")
            return Legality(True, PREFERENCE)
        if not isinstance(op, llm.LinearOp):
            return Legality(False, reason="only products with static weights run in banks", remedy="add a simd engine")
        if not isinstance(op.weight.owner, imc.UseOp):
            return Legality(False, reason="the weight is computed, not stored", remedy="run it on a simd engine")
        if not all(dim.is_constant for dim in shape_of(op.weight)):
            return Legality(False, reason="the weight's shape is not known", remedy="export with static weights")
        if dtype_of(op.x) not in FORMATS or (op.scales is None and dtype_of(op.weight) not in FORMATS):
            return Legality(False, reason=f"banks hold bf16, not {dtype_of(op.weight)}", remedy="export as float32")
        return Legality(True, PREFERENCE)

    def split_weight(self, weight: WeightInfo, engine: EngineSpec) -> tuple[Split, ...]:
        """Columns over the banks of all channels, or of as many as do in as few turns."""
        layout = GemvLayout.widest(Device.of(engine.config), weight.in_features, weight.out_features)
        return (
            Split(Dimension.COLUMNS, "channel", layout.channels),
            Split(Dimension.COLUMNS, "bank", layout.device.banks),
        )

    def tile(self, weight: WeightInfo, splits: tuple[Split, ...], engine: EngineSpec) -> Tiling:
        """An output per bank and K along the row; rows of one device."""
        device = Device.of(engine.config)
        channels, rest = divmod(parts_of(splits, Dimension.COLUMNS), device.banks)
        if rest or not 1 <= channels <= device.channels or parts_of(splits, Dimension.ROWS) > 1:
            raise ProgramError(
                "CB0314",
                f"{weight.name}: columns over {channels * device.banks + rest} banks, rows over "
                f"{parts_of(splits, Dimension.ROWS)}; a device has {device.channels} channels of {device.banks} banks",
                help=f"split columns over 1 to {device.channels} channels and all {device.banks} banks, and no rows",
            )
        layout = GemvLayout(device, weight.in_features, weight.out_features, channels)
        return tiling(
            layout.device,
            (layout.k_rows, layout.waves),
            (layout.device.row_elements, layout.per_wave),
            layout.rows,
            weight.in_features * weight.out_features,
        )

    def split_cache(self, cache: CacheInfo, engine: EngineSpec) -> CacheSplit:
        """Tokens of keys over all banks; heads of values over channels, their dimensions over banks."""
        layout = cache_layout(cache, Device.of(engine.config))
        channels, banks = layout.device.channels, layout.device.banks
        return CacheSplit(
            keys=(Split(Dimension.TOKENS, "channel", channels), Split(Dimension.TOKENS, "bank", banks)),
            values=(
                Split(Dimension.HEADS, "channel", layout.heads),
                Split(Dimension.TOKENS, "channel", layout.sets),
                Split(Dimension.HEAD_DIM, "channel", layout.value_channels),
                Split(Dimension.HEAD_DIM, "bank", banks),
            ),
        )

    def cache_units(self, cache: CacheInfo, engine: EngineSpec) -> Tiling:
        """Keys a token per bank, values a dimension per bank; rows of one device."""
        layout = cache_layout(cache, Device.of(engine.config))
        elements = 2 * cache.max_batch * cache.groups * cache.context * cache.head_dim
        return tiling(
            layout.device,
            (layout.key_rows, layout.value_rows),
            (layout.device.row_elements, layout.device.width),
            layout.rows,
            elements,
        )

    def lower_cache_import(
        self, symbol: str, keys: ViewAttr, values: ViewAttr, engine: EngineSpec, to: Lowering
    ) -> None:
        """Write the past to its banks."""
        _cache(symbol, engine, to).append(keys, values, ZERO)

    def lower_cache_export(
        self, symbol: str, keys: ViewAttr, values: ViewAttr, engine: EngineSpec, to: Lowering
    ) -> None:
        """Read all tokens back from their banks."""
        _cache(symbol, engine, to).export(keys, values)

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Write the instructions of a linear or an attention."""
        if isinstance(op, llm.AttentionOp):
            assert op.cache is not None
            lower_attention(op, simd_of(to), _cache(op.cache.root_reference.data, engine, to))
        else:
            assert isinstance(op, llm.LinearOp)
            self._linear(op, engine, to)

    def _linear(self, op: llm.LinearOp, engine: EngineSpec, to: Lowering) -> None:
        """Load the matrix once, then multiply every token's vector, in parallel trips."""
        assert isinstance(op.weight.owner, imc.UseOp)
        symbol = op.weight.owner.weight.root_reference.data
        placement, info = to.placement(symbol), to.info(symbol)
        assert placement is not None
        device = Device.of(engine.config)
        channels = placement.tiling.tile[1] // device.banks
        layout = GemvLayout(device, info.in_features, info.out_features, channels)
        row = to.param(f"{symbol}_row", first_rows(placement, layout.device))
        to.setup(
            engine.name,
            "load",
            to.calls,
            weights=to.view(op.weight),
            row=row,
            waves=layout.waves,
            k_rows=layout.k_rows,
            channels=layout.channels,
            transposed="yes" if info.transposed else "no",
            scales=None if op.scales is None else to.view(op.scales),
            zeros=None if op.zeros is None else to.view(op.zeros),
        )
        x, dst = _tokens(to.view(op.x), to), to.result(op.y)
        tokens = x.shape_exprs[0]
        y = remade(dst, [tokens, info.out_features], contiguous([tokens, info.out_features]))
        bias = None if op.bias is None else to.view(op.bias)
        while bias is not None and len(bias.shape) > 1:
            bias = at(bias, 0, 0)
        hops = device_changes(op, engine, to)
        if hops:
            to.emit(engine.name, "move", bytes=tokens * (info.in_features * WORD_BYTES), hops=hops)
        with to.loop(tokens, parallel=True) as token:
            Gemv(to, engine.name, layout, row, at(x, 0, token), at(y, 0, token), bias).emit()


def device_changes(op: Operation, engine: EngineSpec, to: Lowering) -> int:
    """How often activations change device on the way to an operation of @main from the one before it in banks.

    The transfers between the layers of a repeat are charged here together: layers run one after another, they add up.
    """
    func = op.parent_op()
    module = func.parent_op() if func is not None else None
    if not isinstance(func, FuncOp) or not isinstance(module, ModuleOp) or func.sym_name.data != "main":
        return 0
    functions = {entry.sym_name.data: entry for entry in module.body.block.ops if isinstance(entry, FuncOp)}
    devices: list[int] = []
    for entry in func.body.block.ops:
        if isinstance(entry, imc.RepeatOp):
            inner = functions[entry.callee.root_reference.data].body.block.ops
            columns = [found for found in (_devices(each, engine, to) for each in inner) if found]
            devices += [column[i] for i in range(entry.count.value.data) for column in columns]
        elif found := _devices(entry, engine, to):
            if entry is op:
                devices.append(found[0])
                break
            devices = [found[0]]
    return sum(a != b for a, b in pairwise(devices))


def _devices(op: Operation, engine: EngineSpec, to: Lowering) -> list[int]:
    """The device of each instance of what an operation has in banks of this engine; empty where it has nothing."""
    if op.attributes.get("engine") != StringAttr(engine.name):
        return []
    if isinstance(op, llm.LinearOp) and isinstance(op.weight.owner, imc.UseOp):
        symbol = op.weight.owner.weight.root_reference.data
    elif isinstance(op, llm.AttentionOp) and op.cache is not None:
        symbol = op.cache.root_reference.data
    else:
        return []
    placement = to.placement(symbol)
    return [] if placement is None else (placement.first_unit // placement.tiling.units_per_group).tolist()


def simd_of(to: Lowering) -> str:
    """The vector unit beside the banks."""
    simd = to.system.engine("simd")
    if simd is None:
        raise ProgramError(
            "CB0304", f"{to.system.name} has no vector unit", help="add a simd engine to the system file"
        )
    return simd.name


def _cache(symbol: str, engine: EngineSpec, to: Lowering) -> BankCache:
    placement = to.placement(symbol)
    assert placement is not None
    layout = cache_layout(to.cache_info(symbol), Device.of(engine.config))
    return BankCache(to, engine.name, layout, to.param(f"{symbol}_row", first_rows(placement, layout.device)))


def tiling(device: Device, grid: tuple[int, int], tile: tuple[int, int], rows: int, elements: int) -> Tiling:
    """Consecutive rows of one device."""
    return Tiling(
        grid=grid,
        tile=tile,
        units=rows,
        units_per_group=device.units,
        within_group=True,
        bytes=elements * ELEMENT_BYTES,
        padded_bytes=rows * device.width * device.row_elements * ELEMENT_BYTES,
        unit_name="row",
        group_name="device",
    )


def _tokens(view: ViewAttr, to: Lowering) -> ViewAttr:
    """x as [tokens, K]; copied where its tokens do not follow each other evenly."""
    shape = view.shape_exprs
    flat = [product(shape[:-1]), shape[-1]]
    found = reshaped(view, flat)
    if found is not None:
        return found
    copy = to.scratch(view.dtype.data, list(shape))
    to.emit(simd_of(to), "copy", dst=copy, src=view)
    return remade(copy, flat, contiguous(flat))


BACKEND = PimBackend()
