"""Operators of onnxruntime's com.microsoft domain that transformer exports use."""

from __future__ import annotations

from crossbank.compiler.frontend.graph import Info
from crossbank.compiler.frontend.step import Outputs, Step, rule
from crossbank.runtime.expr import ONE, ZERO, Expr, maximum, product


@rule(
    "com.microsoft:SkipSimplifiedLayerNormalization",
    "com.microsoft:SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
)
def skip_norm(step: Step) -> Outputs:
    x = Info(step.dtype(0), step.shape(0))
    statistics = Info("float32", (*step.shape(0)[:-1], ONE))
    return [x, statistics, statistics, x]


@rule("com.microsoft:GroupQueryAttention")
def group_query_attention(step: Step) -> Outputs:
    """Inputs: query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache."""
    query = step.shape(0)
    heads, kv_heads = step.attribute("num_heads"), step.attribute("kv_num_heads")
    size = query[2] // heads if step.has(1) else query[2] // (heads + 2 * kv_heads)
    if step.has(3):
        cache = step.shape(3)
        step.expect(cache[3], size, "head size")
        total = step.exprs(6)
        length = total[0] if total else cache[2] if cache[2].is_constant else cache[2] + query[1]
        if cache[2] == ZERO:  # no room that past and new tokens could share
            length = query[1]
        elif cache[2].is_constant:
            length = maximum(cache[2], length) if length.is_constant else cache[2]
        if step.attribute("sliding_window_cache", 0):
            length = cache[2]
    else:
        length = query[1]
    present = Info(step.dtype(0), (query[0], Expr.of(kv_heads), length, size))
    return [Info(step.dtype(0), (query[0], query[1], size * heads)), present, present]


@rule("com.microsoft:MultiHeadAttention")
def multi_head_attention(step: Step) -> Outputs:
    """Inputs: query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value."""
    query, heads = step.shape(0), step.attribute("num_heads")
    packed = query if len(query) == 5 else step.shape(1) if step.has(1) and not step.has(2) else None
    if packed is not None and len(packed) == 5:
        new, size, value_size = packed[1], packed[4], packed[4]
    elif len(query) == 3 and step.has(1) and step.has(2):
        key, value_ = step.shape(1), step.shape(2)
        by_head = len(key) == 4
        new, size = (key[2], key[3]) if by_head else (key[1], key[2] // heads)
        value_size = value_[3] if by_head else value_[2] // heads
    else:
        step.refuse("queries, keys and values of these dimensions aren't supported")
    past = step.shape(6)[2] if step.has(6) else Expr.of(0)
    batch, count, total = query[0], Expr.of(heads), past + new
    if step.has(5):
        step.expect(step.shape(5)[-1], total, "the addend's columns and all keys")
    return [
        Info(step.dtype(0), (batch, query[1], value_size * heads)),
        Info(step.dtype(0), (batch, count, total, size)),
        Info(step.dtype(0), (batch, count, total, value_size)),
    ]


@rule("com.microsoft:Attention")
def attention(step: Step) -> Outputs:
    """Inputs: input, packed weights, bias, mask_index, past (2, batch, heads, length, size)."""
    x, weight, heads = step.shape(0), step.shape(1), step.attribute("num_heads")
    sizes = step.attribute("qkv_hidden_sizes")
    hidden = Expr.of(sizes[2]) if sizes else weight[1] // 3
    past = step.shape(4)[3] if step.has(4) else Expr.of(0)
    if step.has(3) and len(step.shape(3)) in (2, 3):
        step.expect(step.shape(3)[-1], past + x[1], "the mask's columns and all tokens")
    present = (Expr.of(2), x[0], Expr.of(heads), past + x[1], hidden // heads)
    return [Info(step.dtype(0), (x[0], x[1], hidden)), Info(step.dtype(0), present)]


@rule("com.microsoft:EmbedLayerNormalization")
def embed_layer_norm(step: Step) -> Outputs:
    ids, table = step.shape(0), step.shape(2)
    x = Info(step.dtype(2), (*ids, table[1]))
    return [x, Info("int32", (ids[0],)), x]


@rule("com.microsoft:QLinearAdd", "com.microsoft:QLinearMul")
def qlinear_binary(step: Step) -> Outputs:
    return [Info(step.dtype(0), step.broadcast(step.shape(0), step.shape(3)))]


@rule("com.microsoft:QLinearConcat")
def qlinear_concat(step: Step) -> Outputs:
    shapes = [step.shape(i) for i in range(2, len(step.inputs), 3)]
    axis = step.axis(step.attribute("axis", 0), len(shapes[0]))
    out = list(shapes[0])
    for shape in shapes[1:]:
        out[axis] = out[axis] + shape[axis]
    return [Info(step.dtype(2), tuple(out))]


@rule("com.microsoft:QMoE", "com.microsoft:MoE")
def mixture_of_experts(step: Step) -> Outputs:
    step.expect(step.shape(1)[0], product(step.shape(0)[:-1]), "the router's rows and the tokens")
    return [Info(step.dtype(0), step.shape(0))]
