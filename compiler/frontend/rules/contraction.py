"""Matrix products and attention of ai.onnx."""

from __future__ import annotations

from crossbank.compiler.frontend.graph import Info
from crossbank.compiler.frontend.step import Outputs, Step, rule
from crossbank.dialects.einsum import parse
from crossbank.runtime.expr import ONE, Expr, ceildiv, product

_NBITS = {"N": 0, "K": 0, "bits": 4, "block_size": 0}


def matmul_shape(step: Step, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The shape of numpy's matmul."""
    if not a or not b:
        step.refuse("a scalar operand")
    left = (ONE, *a) if len(a) == 1 else a
    right = (*b, ONE) if len(b) == 1 else b
    step.expect(left[-1], right[-2], "inner dimensions")
    out = (*step.broadcast(left[:-2], right[:-2]), left[-2], right[-1])
    if len(a) == 1:
        out = (*out[:-2], out[-1])
    return out[:-1] if len(b) == 1 else out


@rule("MatMul")
def matmul(step: Step) -> Outputs:
    return [Info(step.dtype(0), matmul_shape(step, step.shape(0), step.shape(1)))]


@rule("MatMulInteger")
def matmul_integer(step: Step) -> Outputs:
    return [Info("int32", matmul_shape(step, step.shape(0), step.shape(1)))]


@rule("QLinearMatMul")
def qlinear_matmul(step: Step) -> Outputs:
    return [Info(step.dtype(7), matmul_shape(step, step.shape(0), step.shape(3)))]


@rule("Gemm")
def gemm(step: Step) -> Outputs:
    a, b = step.shape(0), step.shape(1)
    if len(a) != 2 or len(b) != 2:
        step.refuse(f"operands of {len(a)} and {len(b)} dimensions")
    m, k = a[::-1] if step.attribute("transA", 0) else a
    inner, n = b[::-1] if step.attribute("transB", 0) else b
    step.expect(k, inner, "inner dimensions")
    if step.has(2) and step.broadcast(step.shape(2), (m, n)) != step.broadcast((m, n)):
        step.refuse(f"an addend of {' x '.join(map(str, step.shape(2)))} to a product of {m} x {n}")
    return [Info(step.dtype(0), (m, n))]


@rule("Attention")
def attention(step: Step) -> Outputs:
    """Attention-23 and later: 3-D inputs carry heads in the last axis, 4-D ones as (batch, heads, length, size)."""
    q, k, v = step.shape(0), step.shape(1), step.shape(2)
    if not len(q) == len(k) == len(v) or len(q) not in (3, 4) or step.has(4) != step.has(5):
        step.refuse("queries, keys and values of these dimensions aren't supported")
    past = step.shape(4)[2] if step.has(4) else Expr.of(0)
    dtype = step.dtype(0)
    if len(q) == 3:
        heads, kv_heads = step.attribute("q_num_heads"), step.attribute("kv_num_heads")
        length, new = q[1], k[1]
        size, value_size = k[2] // kv_heads, v[2] // kv_heads
        out = (q[0], length, value_size * heads)
        kv, head_count = Expr.of(kv_heads), Expr.of(heads)
    else:
        head_count, kv, length, new, size, value_size = q[1], k[1], q[2], k[2], k[3], v[3]
        out = (q[0], head_count, length, value_size)
    total = past + new
    for i, wanted in (
        (1, (kv, new, size)),
        (2, (kv, new, value_size)),
        (4, (kv, past, size)),
        (5, (kv, past, value_size)),
    ):
        if step.has(i):
            given = step.shape(i)
            if i < 4 and len(q) == 3:
                given, wanted = given[:2], (q[0], new)
            else:
                wanted = (q[0], *wanted)
            if len(given) != len(wanted):
                step.refuse(f"input {i} has {len(given)} dimensions")
            for a, b in zip(given, wanted, strict=True):
                step.expect(a, b, f"input {i}")
    if not (head_count.is_constant and kv.is_constant and kv.constant > 0 and not head_count.constant % kv.constant):
        step.refuse(f"{head_count} query heads over {kv} key/value heads")
    if step.has(3):
        mask, scores = step.shape(3), (q[0], head_count, length, total)
        if len(mask) > 4 or not mask:
            step.refuse(f"a mask of {len(mask)} dimensions")
        joined = step.broadcast(mask[:-1], scores[4 - len(mask) : -1])
        for a, b in zip(joined, scores[4 - len(mask) : -1], strict=True):
            step.expect(a, b, "mask and scores")
    return [
        Info(dtype, out),
        Info(step.dtype(1), (q[0], kv, total, size)),
        Info(step.dtype(2), (q[0], kv, total, value_size)),
        Info(dtype, (q[0], head_count, length, total)),
    ]


@rule("QLinearConv", "ConvInteger")
def integer_conv(step: Step) -> Outputs:
    weight = step.shape(1 if step.node.op_type == "ConvInteger" else 3)
    free = [step.world.fresh(step.node) for _ in weight[2:]]
    dtype = "int32" if step.node.op_type == "ConvInteger" else step.dtype(7)
    return [Info(dtype, (step.shape(0)[0], weight[0], *free))]


@rule("com.microsoft:FusedMatMul")
def fused_matmul(step: Step) -> Outputs:
    a, b = step.shape(0), step.shape(1)
    a = (*a[:-2], a[-1], a[-2]) if step.attribute("transA", 0) else a
    b = (*b[:-2], b[-1], b[-2]) if step.attribute("transB", 0) else b
    return [Info(step.dtype(0), matmul_shape(step, a, b))]


@rule("com.microsoft:MatMulNBits")
def matmul_nbits(step: Step) -> Outputs:
    """Inputs: a, matrix [N, blocks, bytes of a block], scales, zero points, g_idx, bias."""
    n, k, bits, block = (int(step.attribute(name, given)) for name, given in _NBITS.items())
    if n < 1 or k < 1 or bits not in (2, 4, 8) or block < 8 // bits:
        step.refuse(f"N {n}, K {k}, {bits} bits in blocks of {block}")
    blocks = -(-k // block)
    step.expect(step.shape(0)[-1], Expr.of(k), "K")
    counts = (None, n * blocks * (block * bits // 8), n * blocks, None, None, n)
    for i, count in enumerate(counts):
        if count is not None and step.has(i):
            step.expect(product(step.shape(i)), Expr.of(count), f"elements of input {i}")
    if step.has(3):
        packed = step.dtype(3) == "uint8"
        count = n * (-(-blocks * bits // 8) if packed else blocks)
        step.expect(product(step.shape(3)), Expr.of(count), "elements of the zero points")
    return [Info(step.dtype(0), (*step.shape(0)[:-1], Expr.of(step.attribute("N"))))]


@rule("com.microsoft:MatMulBnb4")
def matmul_bnb4(step: Step) -> Outputs:
    """Inputs: a [.., K], matrix of N x K codes of 4 bits, the greatest absolute value of each block."""
    n, k, block = (int(step.attribute(name)) for name in ("N", "K", "block_size"))
    if n < 1 or k < 1 or block < 1 or not step.attribute("transB", 1):
        step.refuse(f"N {n}, K {k}, blocks of {block}, transB {step.attribute('transB', 1)}")
    step.expect(step.shape(0)[-1], Expr.of(k), "K")
    step.expect(product(step.shape(1)), Expr.of(-(-n * k // 2)), "bytes of the matrix")
    step.expect(product(step.shape(2)), Expr.of(-(-n * k // block)), "blocks")
    return [Info(step.dtype(0), (*step.shape(0)[:-1], Expr.of(n)))]


@rule("com.microsoft:FusedGemm")
def fused_gemm(step: Step) -> Outputs:
    a, b = step.shape(0), step.shape(1)
    m, k = (a[1], a[0]) if step.attribute("transA", 0) else (a[0], a[1])
    n, inner = (b[0], b[1]) if step.attribute("transB", 0) else (b[1], b[0])
    step.expect(inner, k, "K")
    return [Info(step.dtype(0), (m, n))]


@rule("com.microsoft:QGemm")
def qgemm(step: Step) -> Outputs:
    a, b = step.shape(0), step.shape(3)
    m = a[1] if step.attribute("transA", 0) else a[0]
    n = b[0] if step.attribute("transB", 0) else b[1]
    quantised = step.dtype(8) if step.has(8) else "uint8"
    return [Info(quantised if step.has(7) else "float32", (m, n))]


@rule("com.microsoft:MatMulIntegerToFloat", "com.microsoft:DynamicQuantizeMatMul")
def integer_to_float(step: Step) -> Outputs:
    return [Info("float32", matmul_shape(step, step.shape(0), step.shape(1)))]


@rule("com.microsoft:GatherBlockQuantized")
def gather_block_quantized(step: Step) -> Outputs:
    data, indices = step.shape(0), step.shape(1)
    axis = step.axis(step.attribute("gather_axis", 0), len(data))
    last = step.axis(step.attribute("quantize_axis", 1), len(data))
    bits, block = step.attribute("bits", 4), step.attribute("block_size", 128)
    if bits not in (2, 4, 8) or block < 1:
        step.refuse(f"{bits} bits in blocks of {block}")
    packed = 8 // bits if step.dtype(0) == "uint8" else 1
    for i in (2, 3):
        if step.has(i) and len(step.shape(i)) != len(data):
            step.refuse(f"input {i} has {len(step.shape(i))} dimensions, the data {len(data)}")
    for i, (dim, scale) in enumerate(zip(data, step.shape(2), strict=True)):
        step.expect(scale, ceildiv(dim * packed, block) if i == last else dim, f"scales along dimension {i}")
    shape = tuple(dim * packed if i == last else dim for i, dim in enumerate(data))
    return [Info(step.dtype(2), shape[:axis] + indices + shape[axis + 1 :])]


@rule("Einsum")
def einsum(step: Step) -> Outputs:
    shapes = [step.shape(i) for i in range(len(step.inputs))]
    try:
        equation = parse(step.attribute("equation", ""), [len(shape) for shape in shapes])
    except ValueError as error:
        step.refuse(str(error))
    sizes: dict[str, Expr] = {}
    for letters, shape in zip(equation.operands, shapes, strict=True):
        for letter, dim in zip(letters, shape, strict=True):
            sizes[letter] = step.join(sizes[letter], dim) if letter in sizes else dim
    return [Info(step.dtype(0), tuple(sizes[letter] for letter in equation.result))]
