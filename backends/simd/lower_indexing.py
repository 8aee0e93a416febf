"""ONNX operators that pick and place by index, in instructions of the vector unit."""

from __future__ import annotations

from functools import partial

from crossbank.backends.simd.views import at, last, normalised, permuted, sliced
from crossbank.backends.simd.writer import Handler, Writer, known_integers, needs_known
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import shape_of
from crossbank.runtime.expr import Expr


def _gather(w: Writer) -> None:
    table = w.view(0)
    axis = w.axis(len(table.shape), default=0)
    known = known_integers(w.value(1))
    picked = shape_of(w.value(1))
    if known is not None and len(known) == 1:
        index = normalised(known[0], table.shape_exprs[axis])
        w.bind(at(table, axis, index) if not picked else sliced(table, axis, index, 1))
        return
    rest = [i for i in range(len(table.shape)) if i != axis]
    places = range(axis, axis + len(picked))
    dst = w.result()
    others = [i for i in range(len(w.shape)) if i not in places]
    w.emit("gather", dst=permuted(dst, [*places, *others]), table=permuted(table, [axis, *rest]), indices=w.view(1))


def _gather_nd(w: Writer) -> None:
    batch = int(w.attribute("batch_dims", 0))
    w.emit("gather_nd", dst=w.result(), data=w.view(0), indices=w.view(1), batch=batch)


def _gather_elements(w: Writer) -> None:
    axis = [w.axis(len(w.shape), default=0)]
    w.emit("gather_elements", dst=last(w.result(), axis), src=last(w.view(0), axis), indices=last(w.view(1), axis))


def _scatter(mnemonic: str, w: Writer) -> None:
    dst = w.result()
    w.emit("copy", dst=dst, src=w.view(0))
    views: list[ViewAttr] = [dst, w.view(1), w.view(2)]
    if mnemonic == "scatter_elements":
        axis = [w.axis(len(w.shape), default=0)]
        views = [last(view, axis) for view in views]
    op = str(w.attribute("reduction", "none"))
    w.emit(mnemonic, dst=views[0], indices=views[1], values=views[2], op=op)


def _trilu(w: Writer) -> None:
    diagonal = (known_integers(w.optional(1)) or [Expr.of(0)])[0]
    upper = "yes" if w.attribute("upper", 1) else "no"
    w.emit("trilu", dst=w.result(), src=w.view(0), upper=upper, diagonal=diagonal)


def _one_hot(w: Writer) -> None:
    axis = [w.axis(len(w.shape))]
    w.emit("one_hot", dst=last(w.result(), axis), indices=w.view(0), values=w.view(2))


HANDLERS: dict[str, Handler] = {
    "Gather": Handler(_gather),
    "GatherND": Handler(_gather_nd),
    "GatherElements": Handler(_gather_elements),
    "ScatterND": Handler(partial(_scatter, "scatter_nd")),
    "ScatterElements": Handler(partial(_scatter, "scatter_elements")),
    "Scatter": Handler(partial(_scatter, "scatter_elements")),
    "Trilu": Handler(_trilu, needs_known(1)),
    "OneHot": Handler(_one_hot),
}
