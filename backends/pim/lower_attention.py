"""Attention over a KV cache in banks: new tokens are written where they belong, both products are all-bank MACs.

For each query token, in parallel trips: the query's heads go to the global buffers, every bank multiplies them with the
keys of its token, wave by wave; softmax runs on the vector unit; the probabilities go to the global buffers, each
channel's part of them, and every bank sums one dimension of its tokens' values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crossbank.backends.interface import Lowering
from crossbank.backends.pim.layout import CacheLayout, Device
from crossbank.backends.pim.loops import repeated
from crossbank.backends.simd.lower_llm import attention_result
from crossbank.backends.simd.views import at, expanded, padded, permuted, remade, sliced, split
from crossbank.backends.simd.writer import Writer
from crossbank.dialects import llm
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.mapping import CacheInfo
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr, ceildiv, minimum


def cache_layout(cache: CacheInfo, device: Device) -> CacheLayout:
    """Where a cache lies."""
    return CacheLayout(device, cache.groups, cache.head_dim, cache.max_batch, cache.context)


def refuses_attention(op: llm.AttentionOp, device: Device) -> str | None:
    """Why an attention can't run in banks."""
    if op.cache is None:
        return "attention without a cache has nothing in banks"
    if op.starts is not None or op.sink is not None:
        return "sequences of different lengths, or a sink beside the scores"
    if shape_of(op.q)[2] != shape_of(op.k)[2]:
        return f"{shape_of(op.q)[2]} queries for {shape_of(op.k)[2]} new tokens"
    groups, heads, head_dim = shape_of(op.k)[1], shape_of(op.q)[1], shape_of(op.q)[3]
    if not (groups.is_constant and heads.is_constant and head_dim.is_constant):
        return "the number of heads or their size is not known"
    if shape_of(op.v)[3] != head_dim:
        return "keys and values differ in size"
    if any(dtype_of(value) != "float32" for value in (op.q, op.k, op.v)):
        return f"banks hold bf16, not {dtype_of(op.k)}"
    if any(getattr(op, name, None) is not None for name in ("sink", "starts")):
        return "sinks, and places of new tokens that depend on data, have no schedule in banks"
    layout = CacheLayout(device, groups.constant, head_dim.constant, 1, 1)
    if head_dim.constant > device.row_elements or layout.value_waves > device.latches:
        return f"a head of {head_dim} dimensions exceeds a row or the accumulators"
    return None


@dataclass(frozen=True)
class Dims:
    """Dimensions of heads that lie in one row: `size` from `start` on, in wave `wave`."""

    wave: Expr
    start: Expr
    size: int


@dataclass(frozen=True)
class BankCache:
    """The cache of one layer, from `row` on."""

    to: Lowering
    engine: str
    layout: CacheLayout
    row: Expr

    def append(self, keys: ViewAttr, values: ViewAttr, past: Expr) -> None:
        """Write keys and values [batch, G, new, D] behind `past` tokens, all tokens in parallel."""
        with self._tokens(keys) as (batch, token):
            self._keys("wr_sbk", "src", keys, batch, token, past + token)
            self._values("wr_abk", "src", values, batch, token, past + token)

    def export(self, keys: ViewAttr, values: ViewAttr) -> None:
        """Read all keys and values [batch, G, tokens, D] back."""
        with self._tokens(keys) as (batch, token):
            self._keys("rd_sbk", "dst", keys, batch, token, token)
            self._values("rd_abk", "dst", values, batch, token, token)

    def _tokens(self, view: ViewAttr) -> _Tokens:
        batch, _, tokens, _ = view.shape_exprs
        return _Tokens(self.to, batch, tokens)

    def _keys(self, instruction: str, operand: str, keys: ViewAttr, batch: Expr, token: Expr, place: Expr) -> None:
        layout, device = self.layout, self.layout.device
        heads = at(at(keys, 2, token), 0, batch)
        bank = place % device.width
        for first, part, size in parts(layout.groups, layout.part_heads):
            with repeated(self.to, part) as i:
                self.to.emit(
                    self.engine,
                    instruction,
                    channel=bank // device.banks,
                    bank=place % device.banks,
                    row=self.row + layout.key_row(batch, place // device.width, first // layout.part_heads + i),
                    column=0,
                    **{operand: sliced(heads, 0, i * size + first, size)},
                )

    def _values(self, instruction: str, operand: str, values: ViewAttr, batch: Expr, token: Expr, place: Expr) -> None:
        layout, lanes = self.layout, self.layout.device.lanes
        heads = at(at(values, 2, token), 0, batch)
        chosen, block = (place // lanes) % layout.sets, place // layout.block_tokens
        column = place % layout.block_tokens // (lanes * layout.sets)
        with repeated(self.to, layout.passes) as turn:
            for count, dims in self.dims():
                with repeated(self.to, count) as i:
                    source = sliced(heads, 0, turn * layout.heads, layout.heads)
                    found = _stepped(dims, i, layout)
                    self.to.emit(
                        self.engine,
                        instruction,
                        row=self.row + layout.value_row(batch, turn, found.wave, block),
                        element=column * lanes + place % lanes,
                        first_channel=chosen * layout.set_channels,
                        channels=layout.set_channels,
                        **{operand: sliced(source, 1, found.start, found.size)},
                    )

    def dims(self) -> Iterator[tuple[int, Dims]]:
        """Waves with equally many dimensions: how many, and the first of them."""
        width = self.layout.value_channels * self.layout.device.banks
        for first, count, size in parts(self.layout.head_dim, width):
            yield count, Dims(Expr.of(first // width), Expr.of(first), size)


class _Tokens:
    """A parallel loop over the tokens of all sequences; gives sequence and token."""

    def __init__(self, to: Lowering, batch: Expr, tokens: Expr) -> None:
        self.tokens, self._loop = tokens, to.loop(batch * tokens, parallel=True)

    def __enter__(self) -> tuple[Expr, Expr]:
        trip = self._loop.__enter__()
        return trip // self.tokens, trip % self.tokens

    def __exit__(self, *error: object) -> None:
        self._loop.__exit__(None, None, None)


def parts(total: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Parts of equal size and the rest: (first, how many, size)."""
    whole, rest = divmod(total, size)
    if whole:
        yield 0, whole, size
    if rest:
        yield whole * size, 1, rest


def _stepped(dims: Dims, i: Expr, layout: CacheLayout) -> Dims:
    return Dims(dims.wave + i, dims.start + i * (layout.value_channels * layout.device.banks), dims.size)


@dataclass(frozen=True)
class Query:
    """One query token's attention: `q` and `out` [H, D], `weights` [H, padded tokens] scratch, `tokens` in all."""

    cache: BankCache
    batch: Expr
    q: ViewAttr
    out: ViewAttr
    weights: ViewAttr
    tokens: Expr

    @property
    def ratio(self) -> int:
        """Query heads of each key head."""
        return self.q.shape_exprs[0].constant // self.cache.layout.groups

    def scores(self) -> None:
        """q kᵀ for all heads and tokens."""
        layout, to = self.cache.layout, self.cache.to
        full = (self.tokens - 1) // layout.device.width if layout.key_waves > 1 else ZERO
        for first, count, size in parts(layout.groups, layout.part_heads):
            with repeated(to, count) as part:
                row = first // layout.part_heads + part
                head = (first + part * size) * self.ratio
                chunk = min(layout.fitting, size * self.ratio)
                for start, chunks, heads in parts(size * self.ratio, chunk):
                    with repeated(to, chunks) as i:
                        begin = i * heads + start
                        q = sliced(self.q, 0, head + begin, heads)
                        channels = layout.device.channels_for(minimum(self.tokens, layout.device.width))
                        to.emit(self.cache.engine, "wr_gb", src=q, first_channel=0, channels=channels)
                        if layout.key_waves > 1:
                            with to.loop(full) as wave:
                                self._wave(row, head, begin, heads, wave, Expr.of(layout.device.width))
                        self._wave(row, head, begin, heads, full, self.tokens - full * layout.device.width)

    def _wave(self, part: Expr, head: Expr, begin: Expr, heads: int, wave: Expr, tokens: Expr) -> None:
        """The scores of a chunk of heads with the tokens of one wave."""
        layout, to, engine = self.cache.layout, self.cache.to, self.cache.engine
        columns, driven = layout.head_columns, layout.device.channels_for(tokens)
        with repeated(to, heads) as i:
            to.emit(engine, "wr_bias", latch=i, first_channel=0, channels=driven)
        with repeated(to, heads) as i:
            to.emit(
                engine,
                "mac_abk",
                row=self.cache.row + layout.key_row(self.batch, wave, part),
                column=(begin + i) // self.ratio * columns,
                columns=columns,
                buffer_column=i * columns,
                latch=i,
                first_channel=0,
                channels=driven,
                macs=tokens * layout.head_dim,
            )
        with repeated(to, heads) as i:
            dst = sliced(at(self.weights, 0, head + begin + i), 0, wave * layout.device.width, tokens)
            to.emit(engine, "rd_mac", dst=dst, latch=i, first_channel=0, channels=driven)

    def sums(self, simd: str) -> None:
        """The probabilities times the values, over token sets on the vector unit."""
        layout, to = self.cache.layout, self.cache.to
        sets = minimum(layout.sets, ceildiv(self.tokens, layout.device.lanes))
        groups, ratio, width = layout.groups, self.ratio, layout.head_dim
        out = split(self.out, 0, groups, ratio)
        partial = out if layout.sets == 1 else to.scratch("float32", [layout.sets, groups, ratio, width], "private")
        with repeated(to, layout.passes) as turn, repeated(to, ratio) as r:
            axis = len(partial.shape) - 3
            here = sliced(at(partial, axis + 1, r), axis, turn * layout.heads, layout.heads)
            self._turn(turn, r, sets, here if layout.sets == 1 else sliced(here, 0, 0, sets))
        if layout.sets > 1:
            summed = permuted(sliced(partial, 0, 0, sets), [1, 2, 3, 0])
            to.emit(simd, "reduce", dst=out, src=summed, op="sum", axes=1)

    def _turn(self, turn: Expr, r: Expr, sets: Expr, dst: ViewAttr) -> None:
        """The r-th query heads of one pass's key heads, to `dst` [.., heads, D]."""
        layout, to, engine = self.cache.layout, self.cache.to, self.cache.engine
        driven: dict[str, Expr | int] = {"first_channel": 0, "channels": sets * layout.set_channels}
        with repeated(to, layout.value_waves) as i:
            to.emit(engine, "wr_bias", latch=i, **driven)
        full = (self.tokens - 1) // layout.block_tokens if layout.value_blocks > 1 else ZERO
        if layout.value_blocks > 1:
            with to.loop(full) as block:
                self._block(turn, r, sets, block, Expr.of(layout.block_tokens), driven)
        self._block(turn, r, sets, full, self.tokens - full * layout.block_tokens, driven)
        for count, dims in self.cache.dims():
            with repeated(to, count) as i:
                found = _stepped(dims, i, layout)
                to.emit(
                    engine,
                    "rd_mac",
                    dst=sliced(dst, len(dst.shape) - 1, found.start, found.size),
                    latch=found.wave,
                    **driven,
                )

    def _block(self, turn: Expr, r: Expr, sets: Expr, block: Expr, tokens: Expr, driven: dict[str, Expr | int]) -> None:
        """The tokens of one row."""
        layout, to, engine = self.cache.layout, self.cache.to, self.cache.engine
        lanes = layout.device.lanes
        columns = ceildiv(tokens, lanes * layout.sets)
        step = self.weights.stride_exprs[0]
        probabilities = remade(
            self.weights,
            [sets, layout.heads, columns, lanes],
            [Expr.of(lanes), step * self.ratio, Expr.of(lanes * layout.sets), ONE],
            (turn * (layout.heads * self.ratio) + r) * step + block * layout.block_tokens,
        )
        to.emit(engine, "wr_gb", src=probabilities, **driven)
        for count, dims in self.cache.dims():
            with repeated(to, count) as i:
                found = _stepped(dims, i, layout)
                to.emit(
                    engine,
                    "mac_abk",
                    row=self.cache.row + layout.value_row(self.batch, turn, found.wave, block),
                    column=0,
                    columns=columns,
                    buffer_column=0,
                    latch=found.wave,
                    macs=tokens * (layout.heads * found.size),
                    **driven,
                )


def lower_attention(op: llm.AttentionOp, simd: str, cache: BankCache) -> None:
    """Append, then attend, for every query token in parallel trips."""
    assert op.cache is not None
    to, layout = cache.to, cache.layout
    batch, past, new = to.cache_extent(op.cache.root_reference.data)
    cache.append(to.view(op.k), to.view(op.v), past)
    q, out = to.view(op.q), attention_result(Writer(op, simd, to))
    mask = None if op.mask is None else padded(to.view(op.mask), 4)
    heads, tokens = q.shape_exprs[1], past + new
    step = layout.sets * layout.device.lanes
    room = ceildiv(tokens, step) * step
    with _Tokens(to, batch, new) as (b, s):
        weights = to.scratch("float32", [heads, room], "private")
        query = Query(cache, b, _row(q, b, s), _row(out, b, s), weights, tokens)
        query.scores()
        used = sliced(weights, 1, 0, tokens)
        to.emit(
            simd,
            "mask_softmax",
            dst=used,
            src=used,
            mask=None if mask is None else expanded(_row(mask, b, s), [heads, tokens]),
            scale=op.scale.value.data,
            softcap=op.softcap.value.data,
            limit=past + s + 1 if op.causal.value.data else tokens,
            nan_to_zero="yes" if op.nan_to_zero.value.data else "no",
        )
        to.emit(simd, "fill", dst=sliced(weights, 1, tokens, room - tokens), value=0.0)
        query.sums(simd)


def _row(view: ViewAttr, batch: Expr, token: Expr) -> ViewAttr:
    """[H, X] of one sequence and token of a tensor [B, H, S, X]; dimensions of 1 repeat."""
    dims = view.shape_exprs
    return at(at(view, 2, ZERO if dims[2] == ONE else token), 0, ZERO if dims[0] == ONE else batch)
