"""What the phases write about a weight or cache: its engine, tiling and placement, as attributes and back."""

from __future__ import annotations

from typing import cast

from xdsl.dialects.builtin import ArrayAttr, BoolAttr, DictionaryAttr, IntegerAttr, StringAttr, i64
from xdsl.ir import Attribute, Operation

from crossbank.dialects.mapping import Dimension, Placement, Reduction, Split, Tiling
from crossbank.passes.context import CompileContext
from crossbank.runtime.program import ProgramError

MAPPING = "mapping"


def mapping_of(op: Operation) -> dict[str, Attribute]:
    """What has been decided about a weight or cache, empty at first."""
    found = op.properties.get(MAPPING) or op.attributes.get(MAPPING)
    return dict(found.data) if isinstance(found, DictionaryAttr) else {}


def set_mapping(op: Operation, mapping: dict[str, Attribute], inherent: bool = True) -> None:
    """Write what has been decided; caches have it as a discardable attribute (`inherent` false)."""
    (op.properties if inherent else op.attributes)[MAPPING] = DictionaryAttr(mapping)


def split_attribute(splits: tuple[Split, ...]) -> DictionaryAttr:
    """A split as an attribute, by dimension and what it is spread over: `{columns = {channel = 32, bank = 16}}`."""
    dimensions = dict.fromkeys(split.dimension for split in splits)
    return DictionaryAttr(
        {
            dimension.value: DictionaryAttr(
                {split.over: IntegerAttr(split.parts, i64) for split in splits if split.dimension is dimension}
            )
            for dimension in dimensions
        }
    )


def splits_of(op: Operation) -> tuple[Split, ...] | None:
    """The split in a weight's mapping; None where it has none. ProgramError CB0314 where it can't be read."""
    found = mapping_of(op).get("split")
    if found is None:
        return None
    try:
        return tuple(
            Split(Dimension(name), over, _integer(parts))
            for name, inner in cast("DictionaryAttr", found).data.items()
            for over, parts in cast("DictionaryAttr", inner).data.items()
        )
    except (AttributeError, AssertionError, ValueError):
        raise ProgramError(
            "CB0314", f"{found} is no split", help="write it as {columns = {channel = 32 : i64, bank = 16 : i64}}"
        ) from None


def tiling_attributes(tiling: Tiling) -> dict[str, Attribute]:
    """A tiling as attributes."""
    return {
        "tiles": _pair(tiling.grid),
        "tile": _pair(tiling.tile),
        "units": IntegerAttr(tiling.units, i64),
        "units_per_group": IntegerAttr(tiling.units_per_group, i64),
        "within_group": BoolAttr.from_bool(tiling.within_group),
        "bytes": IntegerAttr(tiling.bytes, i64),
        "padded_bytes": IntegerAttr(tiling.padded_bytes, i64),
        "unit_name": StringAttr(tiling.unit_name),
        "group_name": StringAttr(tiling.group_name),
    }


def tiling_of(op: Operation) -> Tiling | None:
    """The tiling in an operation's mapping; None where it has none."""
    mapping = mapping_of(op)
    if "units" not in mapping:
        return None
    return Tiling(
        grid=_two(mapping["tiles"]),
        tile=_two(mapping["tile"]),
        units=_integer(mapping["units"]),
        units_per_group=_integer(mapping["units_per_group"]),
        within_group=bool(_integer(mapping["within_group"])),
        bytes=_integer(mapping["bytes"]),
        padded_bytes=_integer(mapping["padded_bytes"]),
        unit_name=_text(mapping["unit_name"]),
        group_name=_text(mapping["group_name"]),
    )


def placement_of(op: Operation, ctx: CompileContext) -> Placement | None:
    """Where the instances of a weight or cache lie; None if in plain memory."""
    tiling, mapping = tiling_of(op), mapping_of(op)
    if tiling is None or "placement" not in mapping:
        return None
    reduction = Reduction(_text(mapping["reduction"])) if "reduction" in mapping else Reduction.ENGINE
    return Placement(tiling, ctx.tables[_text(mapping["placement"])], reduction)


def _pair(values: tuple[int, int]) -> Attribute:
    return ArrayAttr([IntegerAttr(value, i64) for value in values])


def _two(attribute: Attribute) -> tuple[int, int]:
    first, second = cast("ArrayAttr[IntegerAttr]", attribute)
    return first.value.data, second.value.data


def _integer(attribute: Attribute) -> int:
    assert isinstance(attribute, IntegerAttr)
    return attribute.value.data


def _text(attribute: Attribute) -> str:
    assert isinstance(attribute, StringAttr)
    return attribute.data
