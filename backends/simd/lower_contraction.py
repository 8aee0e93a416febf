"""Sums of products other than plain matrix products, in instructions of the vector unit: Einsum, Conv, integer ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import Operation

from crossbank.backends.simd.lower_rows import product_views
from crossbank.backends.simd.views import last, padded, remade, reshaped, sliced, swapped, unsqueezed, whole
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.dialects import onnx
from crossbank.dialects.einsum import parse
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr, product

# -------------------------------------------------------------------- einsum


@dataclass(frozen=True)
class _Lettered:
    """A tensor with a letter per dimension, each once."""

    view: ViewAttr
    letters: tuple[str, ...]

    def ordered(self, letters: Sequence[str], sizes: dict[str, Expr]) -> ViewAttr:
        """The view with these dimensions in this order; those that it lacks, or has as 1, repeat."""
        strides: list[Expr] = []
        for letter in letters:
            axis = self.letters.index(letter) if letter in self.letters else -1
            repeats = axis < 0 or (self.view.shape_exprs[axis] == ONE and sizes[letter] != ONE)
            strides.append(ZERO if repeats else self.view.stride_exprs[axis])
        return remade(self.view, [sizes[letter] for letter in letters], strides)


def _diagonal(view: ViewAttr, letters: Sequence[str]) -> _Lettered:
    """A view whose dimensions of one letter are walked together."""
    names = tuple(dict.fromkeys(letters))
    shape = [view.shape_exprs[letters.index(name)] for name in names]
    strides = [
        sum((stride for stride, letter in zip(view.stride_exprs, letters, strict=True) if letter == name), ZERO)
        for name in names
    ]
    return _Lettered(remade(view, shape, strides), names)


def _einsum(w: Writer) -> None:
    views = [w.view(i) for i in range(len(w.inputs))]
    equation = parse(w.attribute("equation", ""), [len(view.shape) for view in views])
    operands = [_diagonal(view, letters) for view, letters in zip(views, equation.operands, strict=True)]
    sizes: dict[str, Expr] = {}
    for operand in operands:
        for letter, dim in zip(operand.letters, operand.view.shape_exprs, strict=True):
            sizes[letter] = dim if sizes.get(letter, ONE) == ONE else sizes[letter]
    result = _Lettered(w.result(), equation.result)
    first, *others = operands
    while others:
        second = others.pop(0)
        kept = {*equation.result, *(letter for other in others for letter in other.letters)}
        first = _summed(w, first, kept | set(second.letters), sizes)
        second = _summed(w, second, kept | set(first.letters), sizes)
        first = _multiplied(w, first, second, kept, sizes, None if others else result)
    if len(operands) == 1:
        _summed(w, first, set(equation.result), sizes, result)


def _summed(
    w: Writer, operand: _Lettered, kept: set[str], sizes: dict[str, Expr], result: _Lettered | None = None
) -> _Lettered:
    """Sum over the letters that nothing else has."""
    gone = [i for i, letter in enumerate(operand.letters) if letter not in kept]
    letters = tuple(letter for letter in operand.letters if letter in kept)
    if not gone and result is None:
        return operand
    if result is None:
        result = _Lettered(
            w.to.scratch(w.dtype, [operand.view.shape_exprs[operand.letters.index(n)] for n in letters]), letters
        )
    dst = result.ordered(letters, sizes)
    if gone:
        w.emit("reduce", dst=dst, src=last(operand.view, gone), op="sum", axes=len(gone))
    else:
        w.emit("copy", dst=dst, src=operand.view)
    return result


def _multiplied(
    w: Writer, a: _Lettered, b: _Lettered, kept: set[str], sizes: dict[str, Expr], result: _Lettered | None
) -> _Lettered:
    """The product of two operands, summed over the letters of both that nothing else has."""
    both = [letter for letter in a.letters if letter in b.letters]
    batch = [letter for letter in both if letter in kept]
    inner = [letter for letter in both if letter not in kept]
    rows = [letter for letter in a.letters if letter not in both]
    columns = [letter for letter in b.letters if letter not in both]
    outer = [*batch, *rows[:-1], *columns[:-1]]
    letters = (*outer, *rows[-1:], *columns[-1:])
    if result is None:
        result = _Lettered(w.to.scratch(w.dtype, [sizes[letter] for letter in letters]), letters)
    dst = result.ordered(letters, sizes)
    if not inner:
        w.emit("binary", dst=dst, a=a.ordered(letters, sizes), b=b.ordered(letters, sizes), op="mul")
        return result
    left = _folded(w, a.ordered([*outer, *rows[-1:], *inner], sizes), len(inner))
    right = swapped(_folded(w, b.ordered([*outer, *columns[-1:], *inner], sizes), len(inner), bool(columns)))
    if not rows:
        left = unsqueezed(left, len(outer))
        dst = unsqueezed(dst, len(outer))
    if not columns:
        dst = unsqueezed(dst, len(outer) + 1)
    w.emit("matmul", dst=dst, a=left, b=right, scale=1.0)
    return result


def _folded(w: Writer, view: ViewAttr, inner: int, lined: bool = True) -> ViewAttr:
    """The last `inner` axes as one, by a copy where they don't lie so; a row axis before it if it isn't `lined`."""
    head = len(view.shape) - inner
    shape = [*view.shape_exprs[:head], product(view.shape_exprs[head:])]
    found = view if inner == 1 else reshaped(view, shape)
    if found is None:
        copied = w.to.scratch(view.dtype.data, view.shape_exprs)
        w.emit("copy", dst=copied, src=view)
        found = whole(copied, shape)
    return found if lined else unsqueezed(found, head)


def _refuse_equation(op: Operation) -> str | None:
    try:
        parse(onnx.attribute(op, "equation", ""), [len(shape_of(value)) for value in op.operands])
    except ValueError as error:
        return str(error)
    return None


# ---------------------------------------------------------------------- conv


def _conv(w: Writer) -> None:
    """Patches side by side [N, groups, C/groups * kernel, places], times the kernels [groups, M/groups, …]."""
    x, kernels, dst = w.view(0), w.view(1), w.result()
    groups, rank = int(w.attribute("group", 1)), len(x.shape) - 2
    kernel = [dim.constant for dim in kernels.shape_exprs[2:]]
    strides, dilations = (list(w.attribute(name) or [1] * rank) for name in ("strides", "dilations"))
    x = _surrounded(w, x, _pads(w, x, kernel, strides, dilations))
    batch, channels = x.shape_exprs[:2]
    places, steps = dst.shape_exprs[2:], x.stride_exprs[2:]
    patches = remade(
        x,
        [batch, groups, channels // groups, *kernel, *places],
        [
            x.stride_exprs[0], x.stride_exprs[1] * (channels // groups), x.stride_exprs[1],
            *(step * d for step, d in zip(steps, dilations, strict=True)),
            *(step * s for step, s in zip(steps, strides, strict=True)),
        ],
    )  # fmt: skip
    width, area = channels // groups * product([Expr.of(k) for k in kernel]), product(places)
    side_by_side = reshaped(patches, [batch, Expr.of(groups), width, area])
    if side_by_side is None:
        copied = w.to.scratch(w.dtype, patches.shape_exprs)
        w.emit("copy", dst=copied, src=patches)
        side_by_side = whole(copied, [batch, groups, width, area])
    features = kernels.shape_exprs[0]
    weights = padded(whole(kernels, [groups, features // groups, width]), 4)
    w.emit("matmul", dst=whole(dst, [batch, groups, features // groups, area]), a=weights, b=side_by_side, scale=1.0)
    bias = w.view_or_none(2)
    if bias is not None:
        bias = remade(bias, [ONE, features, *[ONE] * rank], [ZERO, bias.stride_exprs[0], *[ZERO] * rank])
        w.emit("binary", dst=dst, a=dst, b=bias, op="add")


def _pads(
    w: Writer, x: ViewAttr, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[Expr, Expr]]:
    """Elements to add before and behind each spatial axis."""
    rank, auto = len(kernel), str(w.attribute("auto_pad", "NOTSET"))
    if auto == "VALID":
        return [(ZERO, ZERO)] * rank
    if auto == "NOTSET":
        given = [Expr.of(n) for n in w.attribute("pads") or [0] * (2 * rank)]
        return list(zip(given[:rank], given[rank:], strict=True))
    found: list[tuple[Expr, Expr]] = []
    for size, out, k, s, d in zip(x.shape_exprs[2:], w.shape[2:], kernel, strides, dilations, strict=True):
        total = max(((out - 1) * s + (k - 1) * d + 1 - size).constant, 0)
        less = total // 2
        found.append(
            (Expr.of(total - less), Expr.of(less)) if auto == "SAME_LOWER" else (Expr.of(less), Expr.of(total - less))
        )
    return found


def _surrounded(w: Writer, x: ViewAttr, pads: Sequence[tuple[Expr, Expr]]) -> ViewAttr:
    """A tensor with zeros around its spatial axes."""
    if all(pair == (ZERO, ZERO) for pair in pads):
        return x
    around = [(ZERO, ZERO), (ZERO, ZERO), *pads]
    sizes = [a + dim + b for dim, (a, b) in zip(x.shape_exprs, around, strict=True)]
    full = w.to.scratch(x.dtype.data, sizes)
    w.emit("fill", dst=full, value=0.0)
    inner = full
    for axis, (dim, (before, _)) in enumerate(zip(x.shape_exprs, around, strict=True)):
        inner = sliced(inner, axis, before, dim)
    w.emit("copy", dst=inner, src=x)
    return full


def _refuse_conv(op: Operation) -> str | None:
    x, kernels = (shape_of(value) for value in op.operands[:2])
    if not all(dim.is_constant for dim in kernels) or not x[1].is_constant:
        return "the kernels' shape is not known"
    same = str(onnx.attribute(op, "auto_pad", "NOTSET")).startswith("SAME")
    if same and not all(dim.is_constant for dim in x[2:]):
        return "auto_pad over an axis that is not known"
    return None


# ------------------------------------------------------------ integer products


def _wide(w: Writer, i: int, zero: int, column: bool) -> ViewAttr:
    """An integer operand less its zero point, in int32."""
    source = w.view(i)
    wide = w.to.scratch("int32", source.shape_exprs)
    w.emit("cast", dst=wide, src=source)
    point = w.view_or_none(zero)
    if point is not None:
        small = w.to.scratch("int32", point.shape_exprs)
        w.emit("cast", dst=small, src=point)
        w.emit("binary", dst=wide, a=wide, b=_along(small, len(source.shape), column), op="sub")
    return wide


def _along(vector: ViewAttr, rank: int, column: bool) -> ViewAttr:
    """A zero point or scale per row (a `column` of them) or per column of a matrix, or one for all."""
    if column and len(vector.shape) == 1 and vector.shape_exprs != (ONE,) and rank > 1:
        vector = unsqueezed(vector, 1)
    if rank < len(vector.shape):
        vector = remade(vector, vector.shape_exprs[-rank:] if rank else [], vector.stride_exprs[-rank:] if rank else [])
    return padded(vector, rank)


def _integer_matmul(w: Writer) -> None:
    """MatMulInteger: operands less their zero points in int32, then an exact product."""
    a, b = _wide(w, 0, 2, column=True), _wide(w, 1, 3, column=False)
    dst, a, b = product_views(w, a, b, w.result())
    w.emit("matmul", dst=dst, a=a, b=b, scale=1.0)


def _quantised_matmul(w: Writer) -> None:
    """QLinearMatMul: an exact integer product, scaled by both operands' scales in float32 and quantised again."""
    a, b = _wide(w, 0, 2, column=True), _wide(w, 3, 5, column=False)
    total = w.to.scratch("int32", w.shape)
    dst, a, b = product_views(w, a, b, total)
    w.emit("matmul", dst=dst, a=a, b=b, scale=1.0)
    real = w.to.scratch("float32", w.shape)
    rank = len(w.shape)
    w.emit("dequantize", dst=real, src=total, scale=_along(_single(w, 1), rank, column=True), zero=None)
    w.emit("binary", dst=real, a=real, b=_along(_single(w, 4), rank, column=False), op="mul")
    zero = w.view_or_none(7)
    scale = _along(_single(w, 6), rank, column=True)
    w.emit("quantize", dst=w.result(), src=real, scale=scale, zero=None if zero is None else _along(zero, rank, True))


def _single(w: Writer, i: int) -> ViewAttr:
    """A scale in float32."""
    found = w.view(i)
    if found.dtype.data == "float32":
        return found
    single = w.to.scratch("float32", found.shape_exprs)
    w.emit("cast", dst=single, src=found)
    return single


def _refuse_float8(op: Operation) -> str | None:
    return "products of 8-bit floats have no instruction" if "float8" in dtype_of(op.operands[0]) else None


HANDLERS: dict[str, Handler] = {
    "Einsum": Handler(_einsum, _refuse_equation),
    "Conv": Handler(_conv, _refuse_conv),
    "MatMulInteger": Handler(_integer_matmul),
    "QLinearMatMul": Handler(_quantised_matmul, _refuse_float8),
}
