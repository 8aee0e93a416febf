"""Where matrices and caches lie in banks, and how many rows they take.

A unit of placement is one DRAM row of a device: the same row number in all banks of all channels, 2 KiB or 1024 bf16
values of each bank. Working memory keeps the last rows of every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossbank.runtime.expr import Expr, ceildiv

ELEMENT_BYTES = 2


@dataclass(frozen=True)
class Device:
    """The organisation of one device: `row_elements` are bf16 values of one bank's row, `lanes` those of a column."""

    channels: int
    banks: int
    rows: int
    row_elements: int
    lanes: int
    latches: int
    working_rows: int

    @staticmethod
    def of(config: Mapping[str, Any]) -> Device:
        """From an engine's table."""
        organisation: Mapping[str, Any] = config["organisation"]
        elements = int(organisation["row_bytes"]) // ELEMENT_BYTES
        return Device(
            channels=int(organisation["channels"]),
            banks=int(organisation["banks"]),
            rows=int(organisation["rows"]),
            row_elements=elements,
            lanes=elements // int(organisation["columns"]),
            latches=int(organisation["latches"]),
            working_rows=int(config.get("placement", {}).get("working_rows", 0)),
        )

    @property
    def width(self) -> int:
        """Banks of all channels: what one all-bank command can drive."""
        return self.channels * self.banks

    @property
    def units(self) -> int:
        """Rows for weights and caches."""
        return self.rows - self.working_rows

    def columns(self, elements: int | Expr) -> Expr:
        """The 256-bit columns that some elements take."""
        return ceildiv(elements, self.lanes)

    def channels_for(self, outputs: int | Expr) -> Expr:
        """The channels that one output per bank takes."""
        return ceildiv(outputs, self.banks)


@dataclass(frozen=True)
class GemvLayout:
    """A matrix [K, N] with an output per bank and K along the row, waves of `channels` channels.

    Output n lies in bank n % `per_wave` of wave n // `per_wave`; K part j of wave w is row w * `k_rows` + j. The waves
    are of equal size, the last one excepted.
    """

    device: Device
    inputs: int
    outputs: int
    channels: int

    @staticmethod
    def widest(device: Device, inputs: int, outputs: int) -> GemvLayout:
        """As few waves as all channels allow, and of these channels as few as do for so many waves."""
        waves = -(-outputs // device.width)
        return GemvLayout(device, inputs, outputs, -(-outputs // (device.banks * waves)))

    @property
    def k_rows(self) -> int:
        """Rows of a wave: the parts of K."""
        return -(-self.inputs // self.device.row_elements)

    @property
    def waves(self) -> int:
        """How often banks are driven for all outputs."""
        return -(-self.outputs // self.per_wave)

    @property
    def per_wave(self) -> int:
        """Outputs of a wave, whole channels."""
        return self.channels * self.device.banks

    @property
    def rows(self) -> int:
        """Rows of the whole matrix."""
        return self.waves * self.k_rows


@dataclass(frozen=True)
class CacheLayout:
    """Keys and values of one layer: `groups` heads of `head_dim`, up to `max_batch` sequences of `context` tokens.

    Keys: token t of a sequence is in bank t % width of wave t // width, its heads one after another along the columns
    of `key_parts` rows, each head from a column of its own.

    Values: transposed, tokens along the row. A block of 16 tokens, one column, belongs to token set (t // 16) % `sets`;
    the dimensions of a head are `value_waves` rows of `value_channels` channels. Channel `(set * heads + head) *
    value_channels + c`, bank b, wave w hold dimension `(w * value_channels + c) * 16 + b`; with more heads than
    channels, `passes` groups of `heads` follow each other. Sums over token sets remain to be added.
    """

    device: Device
    groups: int
    head_dim: int
    max_batch: int
    context: int

    @property
    def head_columns(self) -> int:
        """Columns of a head's key."""
        return -(-self.head_dim // self.device.lanes)

    @property
    def fitting(self) -> int:
        """Heads of queries or keys that a row, the global buffer and the latches hold."""
        return min(self.device.row_elements // (self.head_columns * self.device.lanes), self.device.latches)

    @property
    def key_parts(self) -> int:
        """Rows of a token's keys."""
        return -(-self.groups // self.fitting)

    @property
    def part_heads(self) -> int:
        """Heads in each of them, the last one excepted."""
        return -(-self.groups // self.key_parts)

    @property
    def key_waves(self) -> int:
        """Waves of tokens."""
        return -(-self.context // self.device.width)

    @property
    def key_rows(self) -> int:
        """Rows of the keys of all sequences."""
        return self.max_batch * self.key_waves * self.key_parts

    @property
    def passes(self) -> int:
        """Groups of heads that take turns on the channels."""
        least = -(-self.groups // self.device.channels)
        return next(n for n in range(least, self.groups + 1) if self.groups % n == 0)

    @property
    def heads(self) -> int:
        """Heads of a pass, side by side."""
        return self.groups // self.passes

    @property
    def _dim_channels(self) -> int:
        return -(-self.head_dim // self.device.banks)

    @property
    def value_waves(self) -> int:
        """Rows that a head's dimensions take."""
        return -(-self._dim_channels // (self.device.channels // self.heads))

    @property
    def value_channels(self) -> int:
        """Channels of a head in each of them."""
        return -(-self._dim_channels // self.value_waves)

    @property
    def sets(self) -> int:
        """Sets of tokens that are summed side by side."""
        return max(1, self.device.channels // (self.heads * self.value_channels))

    @property
    def set_channels(self) -> int:
        """Channels of one token set."""
        return self.heads * self.value_channels

    @property
    def padded_dim(self) -> int:
        """Head dimensions with those of banks that hold none."""
        return self.value_waves * self.value_channels * self.device.banks

    @property
    def block_tokens(self) -> int:
        """Tokens in a row of all sets."""
        return self.sets * self.device.row_elements

    @property
    def value_blocks(self) -> int:
        """Rows along the tokens."""
        return -(-self.context // self.block_tokens)

    @property
    def value_rows(self) -> int:
        """Rows of the values of all sequences."""
        return self.max_batch * self.passes * self.value_waves * self.value_blocks

    @property
    def rows(self) -> int:
        """Rows of keys and values; the values follow the keys."""
        return self.key_rows + self.value_rows

    def key_row(self, batch: int | Expr, wave: int | Expr, part: int | Expr) -> Expr:
        """A row of keys, relative to the first row of the cache."""
        return (Expr.of(batch) * self.key_waves + wave) * self.key_parts + part

    def value_row(self, batch: int | Expr, turn: int | Expr, wave: int | Expr, block: int | Expr) -> Expr:
        """A row of values of pass `turn`, relative to the first row of the cache."""
        inner = (Expr.of(batch) * self.passes + turn) * self.value_waves + wave
        return inner * self.value_blocks + block + self.key_rows
