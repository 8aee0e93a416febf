"""The mapping, free of technology: static weights and where they sit, repeated layers, buffers, views and blocks.

Two forms live here. In value form (phases import to place) functions compute on tensors, `imc.weight` declares a static
tensor per call of the function that uses it, and `imc.repeat` calls one function for many equal layers. In buffer form
(phases lower to emit) a block is a list of instructions, one IR operation each, on `#imc.view`s of `imc.buffer`s, with
`imc.loop` and `imc.call` around them.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    ArrayAttr,
    BoolAttr,
    DenseArrayBase,
    DictionaryAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
)
from xdsl.ir import Dialect, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import (
    AttrSizedOperandSegments,
    AttrSizedResultSegments,
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    opt_prop_def,
    param_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import NoTerminator, Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from crossbank.runtime.expr import Expr, ExprError

# ---------------------------------------------------------------- value form


@irdl_op_definition
class WeightOp(IRDLOperation):
    """A static tensor: `tensors` names it in the tensor store, one entry per call of the function that uses it.

    The phases write what they decide into `mapping`: `engine` (assign), `parts` (split), `tiles` (tile), `placement`
    (place). Absent until then.
    """

    name = "imc.weight"
    sym_name = prop_def(StringAttr)
    type = prop_def(TypeAttribute)
    tensors = prop_def(ArrayAttr[StringAttr])
    mapping = opt_prop_def(DictionaryAttr)
    traits = traits_def(SymbolOpInterface())


@irdl_op_definition
class UseOp(IRDLOperation):
    """The value of a weight inside a function."""

    name = "imc.use"
    weight = prop_def(SymbolRefAttr)
    value = result_def()
    traits = traits_def(Pure())


@irdl_op_definition
class RepeatOp(IRDLOperation):
    """Call `callee` `count` times: a layer stack as one operation.

    The callee takes (carried…, shared…, each…) and returns (carried…, each…): call i gets the carried results of call
    i - 1 (the operands for the first), every shared operand, and operand `slot * count + i` of each `each` slot; its
    own `each` results land at the same places.
    """

    name = "imc.repeat"
    callee = prop_def(SymbolRefAttr)
    count = prop_def(IntegerAttr)
    carried = var_operand_def()
    shared = var_operand_def()
    each = var_operand_def()
    carried_out = var_result_def()
    each_out = var_result_def()
    irdl_options = (AttrSizedOperandSegments(as_property=True), AttrSizedResultSegments(as_property=True))

    def verify_(self) -> None:
        calls = self.count.value.data
        if calls < 1 or len(self.each) % calls or len(self.each_out) % calls:
            raise VerifyException(
                f"{len(self.each)} operands and {len(self.each_out)} results don't divide over {calls} calls"
            )
        if [v.type for v in self.carried] != [v.type for v in self.carried_out]:
            raise VerifyException("carried operands and results differ in type")


# --------------------------------------------------------------- buffer form


def _must_be_expressions(*texts: StringAttr) -> None:
    try:
        for text in texts:
            Expr.of(text.data)
    except ExprError as error:
        raise VerifyException(str(error)) from error


@irdl_attr_definition
class ViewAttr(ParametrizedAttribute):
    """A strided tensor in a buffer, or in a weight of the same symbol name: offset in bytes, strides in elements."""

    name = "imc.view"
    buffer: StringAttr = param_def()
    offset: StringAttr = param_def()
    dtype: StringAttr = param_def()
    shape: ArrayAttr[StringAttr] = param_def()
    strides: ArrayAttr[StringAttr] = param_def()

    @staticmethod
    def of(
        buffer: str,
        dtype: str,
        shape: Sequence[int | Expr],
        strides: Sequence[int | Expr] | None = None,
        offset: int | Expr = 0,
    ) -> ViewAttr:
        """A view; C-contiguous where no strides are given."""
        if strides is None:
            strides = contiguous(shape)
        texts = [ArrayAttr([StringAttr(str(Expr.of(d))) for d in part]) for part in (shape, strides)]
        return ViewAttr(StringAttr(buffer), StringAttr(str(Expr.of(offset))), StringAttr(dtype), *texts)

    @property
    def shape_exprs(self) -> tuple[Expr, ...]:
        return tuple(Expr.of(d.data) for d in self.shape)

    @property
    def stride_exprs(self) -> tuple[Expr, ...]:
        return tuple(Expr.of(d.data) for d in self.strides)

    @property
    def offset_expr(self) -> Expr:
        return Expr.of(self.offset.data)

    def verify(self) -> None:
        if len(self.shape) != len(self.strides):
            raise VerifyException(f"{len(self.shape)} dimensions but {len(self.strides)} strides")
        _must_be_expressions(self.offset, *self.shape, *self.strides)


def contiguous(shape: Sequence[int | Expr]) -> tuple[Expr, ...]:
    """The element strides of a C-contiguous tensor."""
    strides: list[Expr] = []
    step = Expr.of(1)
    for dim in reversed(shape):
        strides.append(step)
        step = step * dim
    return tuple(reversed(strides))


@irdl_op_definition
class BufferOp(IRDLOperation):
    """Memory for one tensor: `space` names the memory, `size` is an expression in bytes.

    `address` (bytes within the space) is absent until buffers are allocated. `kept` buffers (ports, caches) live
    throughout; others share memory when their lives don't overlap.
    """

    name = "imc.buffer"
    sym_name = prop_def(StringAttr)
    space = prop_def(StringAttr)
    size = prop_def(StringAttr)
    kept = prop_def(BoolAttr)
    address = opt_prop_def(IntegerAttr)
    traits = traits_def(SymbolOpInterface())

    def verify_(self) -> None:
        _must_be_expressions(self.size)


@irdl_op_definition
class PortOp(IRDLOperation):
    """An input or output of a program function, C-contiguous in the buffer of `view`."""

    name = "imc.port"
    function = prop_def(StringAttr)
    port = prop_def(StringAttr)
    output = prop_def(BoolAttr)
    view = prop_def(ViewAttr)


@irdl_op_definition
class StateOp(IRDLOperation):
    """A cache tensor kept on the device, for which a program input and output stand (see `runtime.program.State`)."""

    name = "imc.state"
    state = prop_def(StringAttr)
    input = opt_prop_def(StringAttr)
    output = opt_prop_def(StringAttr)
    axis = prop_def(IntegerAttr)
    past = prop_def(StringAttr)

    def verify_(self) -> None:
        _must_be_expressions(self.past)


@irdl_op_definition
class ParamOp(IRDLOperation):
    """A register of block `block` that each call sets to its own value: a column of the block's constants table."""

    name = "imc.param"
    sym_name = prop_def(StringAttr)
    block = prop_def(StringAttr)
    values = prop_def(DenseArrayBase)
    traits = traits_def(SymbolOpInterface())


@irdl_op_definition
class BlockOp(IRDLOperation):
    """Instructions in program order, for all engines together; `entry` blocks are program functions.

    `calls` is how many rows its constants table has. `values` says where operations leave tensors of the ONNX file, see
    `dialects.block_values`.
    """

    name = "imc.block"
    sym_name = prop_def(StringAttr)
    entry = prop_def(BoolAttr)
    calls = prop_def(IntegerAttr)
    values = opt_prop_def(ArrayAttr)
    body = region_def("single_block")
    traits = traits_def(SymbolOpInterface(), NoTerminator())


@irdl_op_definition
class LoopOp(IRDLOperation):
    """Repeat the body with register `counter` from 0 to trips - 1; see `runtime.core_isa.LoopKind` for `parallel`."""

    name = "imc.loop"
    counter = prop_def(StringAttr)
    trips = prop_def(StringAttr)
    parallel = prop_def(BoolAttr)
    body = region_def("single_block")
    traits = traits_def(NoTerminator())

    def verify_(self) -> None:
        _must_be_expressions(self.trips)


@irdl_op_definition
class CallOp(IRDLOperation):
    """Run a block `rows` times, from row `first` of its constants table on."""

    name = "imc.call"
    callee = prop_def(SymbolRefAttr)
    first = prop_def(IntegerAttr)
    rows = prop_def(IntegerAttr)


@irdl_op_definition
class SignalOp(IRDLOperation):
    """`engine` adds one to `token` when all before has finished."""

    name = "imc.signal"
    engine = prop_def(StringAttr)
    token = prop_def(IntegerAttr)


@irdl_op_definition
class WaitOp(IRDLOperation):
    """`engine` stands until `token` is at least one, then takes one."""

    name = "imc.wait"
    engine = prop_def(StringAttr)
    token = prop_def(IntegerAttr)


IMC = Dialect(
    "imc",
    [
        WeightOp,
        UseOp,
        RepeatOp,
        BufferOp,
        PortOp,
        StateOp,
        ParamOp,
        BlockOp,
        LoopOp,
        CallOp,
        SignalOp,
        WaitOp,
    ],
    [ViewAttr],
)
