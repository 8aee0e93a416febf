"""The matrix engine as a family: products and attention, with the vector unit for what is left of them."""

from __future__ import annotations

from xdsl.ir import Operation

from crossbank.backends.interface import Lowering
from crossbank.backends.matrix.isa import ISA
from crossbank.backends.simd.lower import handler_name, judge
from crossbank.backends.simd.lower_llm import attention_result, keys_and_values, refuses_attention
from crossbank.backends.simd.lower_rows import add_scaled, product_views
from crossbank.backends.simd.views import padded, remade, swapped
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.backends.system import EngineSpec
from crossbank.dialects import llm
from crossbank.dialects.mapping import Legality
from crossbank.runtime.expr import ONE
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.program import ProgramError

PREFERENCE = 50


def _vector_unit(w: Writer) -> str:
    found = w.to.system.engine("simd")
    if found is None:
        raise ProgramError(
            "CB0321",
            f"{w.op.name} on {w.engine} needs a vector unit beside it",
            help='add an engine of kind "simd" to the system',
        )
    return found.name


def _linear(w: Writer) -> None:
    op = w.op
    assert isinstance(op, llm.LinearOp)
    w.emit(
        "gemm",
        dst=w.result(),
        x=w.to.view(op.x),
        w=w.to.view(op.weight),
        bias=None if op.bias is None else w.to.view(op.bias),
        transposed="yes" if op.transposed.value.data else "no",
        scales=None if op.scales is None else w.to.view(op.scales),
        zeros=None if op.zeros is None else w.to.view(op.zeros),
    )


def _matmul(w: Writer) -> None:
    a, b, dst = w.view(0), w.view(1), w.result()
    if len(b.shape) == 2 and len(a.shape) >= 2:
        w.emit("gemm", dst=dst, x=a, w=b, bias=None, transposed="no")
        return
    dst, a, b = product_views(w, a, b, dst)
    w.emit("matmul", dst=dst, a=a, b=b, scale=1.0)


def _fused_matmul(w: Writer) -> None:
    a, b = w.view(0), w.view(1)
    a = swapped(a) if w.attribute("transA", 0) else a
    b = swapped(b) if w.attribute("transB", 0) else b
    rank = len(w.shape)
    w.emit("matmul", dst=w.result(), a=padded(a, rank), b=padded(b, rank), scale=w.attribute("alpha", 1.0))


def _gemm(w: Writer) -> None:
    a, b, dst = w.view(0), w.view(1), w.result()
    alpha, beta = float(w.attribute("alpha", 1.0)), float(w.attribute("beta", 1.0))
    a = swapped(a) if w.attribute("transA", 0) else a
    bias = w.view_or_none(2)
    row = bias is not None and bias.shape_exprs[-1:] == w.shape[-1:]
    row = row and bias is not None and all(dim == ONE for dim in bias.shape_exprs[:-1])
    if alpha == 1.0 and beta == 1.0 and (bias is None or row):
        line = None if bias is None else remade(bias, bias.shape_exprs[-1:], bias.stride_exprs[-1:])
        w.emit("gemm", dst=dst, x=a, w=b, bias=line, transposed="yes" if w.attribute("transB", 0) else "no")
        return
    w.emit("matmul", dst=dst, a=a, b=swapped(b) if w.attribute("transB", 0) else b, scale=alpha)
    if bias is not None and beta != 0.0:
        add_scaled(w, dst, beta, _vector_unit(w))


def _attention(w: Writer) -> None:
    op = w.op
    assert isinstance(op, llm.AttentionOp)
    keys, values = keys_and_values(w, op, _vector_unit(w) if op.cache is not None else w.engine)
    q = w.to.view(op.q)
    w.emit(
        "attention",
        dst=attention_result(w),
        q=q,
        k=keys,
        v=values,
        mask=None if op.mask is None else padded(w.to.view(op.mask), 4),
        scale=op.scale.value.data,
        softcap=op.softcap.value.data,
        causal="yes" if op.causal.value.data else "no",
        past=keys.shape_exprs[2] - q.shape_exprs[2] if op.causal.value.data else 0,
        nan_to_zero="yes" if op.nan_to_zero.value.data else "no",
    )


def _refuses_sinks(op: Operation) -> str | None:
    assert isinstance(op, llm.AttentionOp)
    return refuses_attention(op) if op.sink is None else "a sink beside the scores"


HANDLERS: dict[str, Handler] = {
    "llm.linear": Handler(_linear),
    "MatMul": Handler(_matmul),
    "com.microsoft:FusedMatMul": Handler(_fused_matmul),
    "Gemm": Handler(_gemm),
    "llm.attention": Handler(_attention, _refuses_sinks),
}


class MatrixBackend:
    """The family `matrix`."""

    kind = "matrix"
    isa: InstructionSet = ISA

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Products and attention."""
        return judge(HANDLERS, op, PREFERENCE, engine)

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Write the instructions of one operation."""
        HANDLERS[handler_name(op)].lower(Writer(op, engine.name, to))


BACKEND = MatrixBackend()
