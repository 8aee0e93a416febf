"""Analog arrays as a family: a linear's weights fill a group of arrays, which every token passes once."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from crossbank.backends.interface import Lowering
from crossbank.backends.simd.views import remade, reshaped, swapped
from crossbank.backends.system import EngineSpec
from crossbank.backends.xbar.converters import Ranges
from crossbank.backends.xbar.isa import ISA
from crossbank.dialects import imc, llm
from crossbank.dialects.imc import ViewAttr, contiguous
from crossbank.dialects.mapping import Dimension, Legality, Placement, Reduction, Split, Tiling, WeightInfo, parts_of
from crossbank.dialects.shape import shape_of
from crossbank.runtime.expr import Expr, product
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import ProgramError

PREFERENCE = 90


def _chips(placement: Placement) -> int:
    """The most chips that an instance of a weight lies on."""
    each, units = placement.tiling.units_per_group, placement.tiling.units
    first = placement.first_unit
    return int(((first + units - 1) // each - first // each).max()) + 1


class XbarBackend:
    """The family `xbar`."""

    kind = "xbar"
    isa: InstructionSet = ISA
    reductions = frozenset(Reduction)

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Linears with static weights; all else moves its operands, and arrays are slow and costly to write."""
        if not isinstance(op, llm.LinearOp):
            return Legality(False, reason="only products with static weights run on arrays", remedy="add a simd engine")
        owner = op.weight.owner
        if not isinstance(owner, imc.UseOp):
            return Legality(False, reason="the weight is computed, not stored", remedy="run it on a simd engine")
        if not all(dim.is_constant for dim in shape_of(op.weight)):
            return Legality(False, reason="the weight's shape is not known", remedy="export with static weights")
        return Legality(True, PREFERENCE)

    def split_weight(self, weight: WeightInfo, engine: EngineSpec) -> tuple[Split, ...]:
        """Rows and columns over arrays, as many as one has."""
        rows, columns = engine.integer("organisation", "rows"), engine.integer("organisation", "columns")
        return (
            Split(Dimension.ROWS, "array", -(-weight.in_features // rows)),
            Split(Dimension.COLUMNS, "array", -(-weight.out_features // columns)),
        )

    def tile(self, weight: WeightInfo, splits: tuple[Split, ...], engine: EngineSpec) -> Tiling:
        """Row tiles times column tiles, one array each, in consecutive arrays that may go on over the next chip."""
        rows, columns = engine.integer("organisation", "rows"), engine.integer("organisation", "columns")
        grid = parts_of(splits, Dimension.ROWS), parts_of(splits, Dimension.COLUMNS)
        _fits("rows", weight.in_features, grid[0], rows)
        _fits("columns", weight.out_features, grid[1], columns)
        arrays = grid[0] * grid[1]
        return Tiling(
            grid=grid,
            tile=(rows, columns),
            units=arrays,
            units_per_group=engine.integer("organisation", "arrays"),
            within_group=False,
            bytes=weight.in_features * weight.out_features,
            padded_bytes=arrays * rows * columns,
            unit_name="array",
            group_name="chip",
        )

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Set the arrays up once, then send every token's vector through them, in parallel trips."""
        assert isinstance(op, llm.LinearOp) and isinstance(op.weight.owner, imc.UseOp)
        symbol = op.weight.owner.weight.root_reference.data
        placement, info = to.placement(symbol), to.info(symbol)
        assert placement is not None
        tiling = placement.tiling
        group: dict[str, Expr | int] = {
            "array": to.param(f"{symbol}_array", placement.first_unit),
            "row_tiles": tiling.grid[0],
            "column_tiles": tiling.grid[1],
        }
        self._setup(symbol, info, placement, op, engine, to, group)
        x, dst = _rows(to.view(op.x), to), to.result(op.y)
        tokens = x.shape_exprs[0]
        chips = _chips(placement)
        with to.loop(tokens, parallel=True) as token:
            to.emit(engine.name, "mvm", x=_row(x, token), outputs=info.out_features, chips=chips, **group)
            flat = remade(dst, [tokens, dst.shape_exprs[-1]], contiguous([tokens, dst.shape_exprs[-1]]))
            bias = None if op.bias is None else to.view(op.bias)
            if placement.reduction is Reduction.ENGINE:
                to.emit(engine.name, "accumulate", dst=_row(flat, token), bias=bias, chips=chips, **group)
                return
            sums = to.scratch("float32", [tiling.grid[0], info.out_features], space="private")
            to.emit(engine.name, "read_out", dst=sums, chips=chips, **group)
            simd = _vector_unit(to)
            to.emit(simd, "reduce", dst=_row(flat, token), src=swapped(sums), op="sum", axes=1)
            if bias is not None:
                to.emit(simd, "binary", dst=_row(flat, token), a=_row(flat, token), b=bias, op="add")

    def _setup(
        self,
        symbol: str,
        info: WeightInfo,
        placement: Placement,
        op: llm.LinearOp,
        engine: EngineSpec,
        to: Lowering,
        group: dict[str, Expr | int],
    ) -> None:
        found: Mapping[str, Ranges] = to.option("calibration", {}).get(self.isa.name, {})
        ranges = [found[tensor] for tensor in info.tensors if tensor in found]
        known = len(ranges) == len(info.tensors)
        to.setup(
            engine.name,
            "program",
            to.calls,
            **group,
            weights=to.view(op.weight),
            input_bound=to.constant(f"{symbol}.input_bound", [r.input_bound for r in ranges]) if known else None,
            output_bound=to.constant(f"{symbol}.output_bound", [r.output_bound for r in ranges]) if known else None,
            transposed="yes" if info.transposed else "no",
            scales=None if op.scales is None else to.view(op.scales),
            zeros=None if op.zeros is None else to.view(op.zeros),
        )
        to.setup(engine.name, "drift", to.calls, **group)
        if to.option("drift_compensation", True):
            to.setup(engine.name, "compensate", to.calls, **group)


def _fits(dimension: str, size: int, parts: int, limit: int) -> None:
    """Each part fills an array but the last one: that is how the arrays are driven."""
    if parts != -(-size // limit):
        raise ProgramError(
            "CB0314",
            f"{size} {dimension} over {parts} arrays of {limit}",
            help=f"split them over {-(-size // limit)}",
        )


def _vector_unit(to: Lowering) -> str:
    found = to.system.engine("simd")
    if found is None:
        raise ProgramError(
            "CB0321", "analog arrays need a vector unit beside them", help='add an engine of kind "simd" to the system'
        )
    return found.name


def _rows(view: ViewAttr, to: Lowering) -> ViewAttr:
    """x as [tokens, K]; copied where its tokens do not follow each other evenly."""
    shape = view.shape_exprs
    flat = [product(shape[:-1]), shape[-1]]
    found = reshaped(view, flat)
    if found is not None:
        return found
    simd = _vector_unit(to)
    copy = to.scratch(view.dtype.data, list(shape))
    to.emit(simd, "copy", dst=copy, src=view)
    return remade(copy, flat, contiguous(flat))


def _row(view: ViewAttr, token: Expr) -> ViewAttr:
    stride = view.stride_exprs[0] * dtype_of(view.dtype.data).itemsize
    return ViewAttr.of(
        view.buffer.data,
        view.dtype.data,
        view.shape_exprs[1:],
        view.stride_exprs[1:],
        view.offset_expr + stride * token,
    )


BACKEND = XbarBackend()
