"""The transformer: linears, attention over a KV cache, norms, rotary embedding, gated MLP, token embedding.

Every operation has a numpy meaning, stated in its docstring; shapes use B batch, S new tokens, T all tokens (past and
new), H query heads, G key/value heads (H a multiple of G), D head dimension.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ArrayAttr, BoolAttr, Float64Type, FloatAttr, IntegerAttr, StringAttr, SymbolRefAttr
from xdsl.ir import Dialect, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import Expr


def _must_have_shape(value: SSAValue, shape: tuple[Expr, ...], name: str) -> None:
    if shape_of(value) != shape:
        raise VerifyException(f"{name} must be {'x'.join(map(str, shape))}, not {'x'.join(map(str, shape_of(value)))}")


def _must_be_known(activation: StringAttr) -> None:
    if activation.data not in ACTIVATIONS:
        raise VerifyException(f"unknown activation {activation.data}")


ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "sigmoid", "tanh", "quick_gelu")


@irdl_op_definition
class LinearOp(IRDLOperation):
    """y = x @ W + bias with a static W: x [.., K], weight [K, N] (or [N, K] if `transposed`), y [.., N]."""

    name = "llm.linear"
    x = operand_def()
    weight = operand_def()
    bias = opt_operand_def()
    transposed = prop_def(BoolAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        weight = shape_of(self.weight)
        if len(weight) != 2:
            raise VerifyException("weight must be a matrix")
        k, n = weight[::-1] if self.transposed.value.data else weight
        if shape_of(self.x)[-1] != k:
            raise VerifyException(f"x has {shape_of(self.x)[-1]} features, the weight takes {k}")
        _must_have_shape(self.y, (*shape_of(self.x)[:-1], n), "y")


@irdl_op_definition
class RmsNormOp(IRDLOperation):
    """y = x / sqrt(mean(x², last axis) + epsilon) * weight."""

    name = "llm.rms_norm"
    x = operand_def()
    weight = operand_def()
    epsilon = prop_def(FloatAttr[Float64Type])
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_have_shape(self.y, shape_of(self.x), "y")


@irdl_op_definition
class LayerNormOp(IRDLOperation):
    """y = (x - mean) / sqrt(var + epsilon) * weight + bias over the last axis."""

    name = "llm.layer_norm"
    x = operand_def()
    weight = operand_def()
    bias = opt_operand_def()
    epsilon = prop_def(FloatAttr[Float64Type])
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_have_shape(self.y, shape_of(self.x), "y")


@irdl_op_definition
class RotaryOp(IRDLOperation):
    """Rotate pairs of features of x [.., S, D] by angles: cos, sin broadcast to x[..., :R], R the rotated width.

    Half form: y = x*cos + concat(-x[R/2:R], x[:R/2])*sin. Interleaved: pairs are (0, 1), (2, 3) ….
    Features from R on pass through.
    """

    name = "llm.rotary"
    x = operand_def()
    cos = operand_def()
    sin = operand_def()
    interleaved = prop_def(BoolAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_have_shape(self.y, shape_of(self.x), "y")


@irdl_op_definition
class GatedOp(IRDLOperation):
    """y = activation(gate) * up, the element-wise middle of a gated MLP."""

    name = "llm.gated"
    gate = operand_def()
    up = operand_def()
    activation = prop_def(StringAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_be_known(self.activation)
        _must_have_shape(self.up, shape_of(self.gate), "up")
        _must_have_shape(self.y, shape_of(self.gate), "y")


@irdl_op_definition
class ActivationOp(IRDLOperation):
    """y = activation(x), element by element."""

    name = "llm.activation"
    x = operand_def()
    activation = prop_def(StringAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_be_known(self.activation)
        _must_have_shape(self.y, shape_of(self.x), "y")


@irdl_op_definition
class EmbeddingOp(IRDLOperation):
    """y = table[ids]: table [V, E], ids [..] of int64 or int32, y [.., E]; negative ids count from the end."""

    name = "llm.embedding"
    table = operand_def()
    ids = operand_def()
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_have_shape(self.y, (*shape_of(self.ids), *shape_of(self.table)[1:]), "y")


@irdl_op_definition
class CacheOp(IRDLOperation):
    """A pair of KV caches per call of the function that uses it: device state [B, G, T, D] that grows by S each step.

    `keys_in`/`keys_out` and `values_in`/`values_out` name, one entry per call, the program inputs and outputs that
    stand for the cache before and after a step.
    """

    name = "llm.cache"
    sym_name = prop_def(StringAttr)
    key_value_heads = prop_def(IntegerAttr)
    head_dim = prop_def(IntegerAttr)
    dtype = prop_def(StringAttr)
    batch = prop_def(StringAttr)
    past = prop_def(StringAttr)
    new = prop_def(StringAttr)
    keys_in = prop_def(ArrayAttr[StringAttr])
    keys_out = prop_def(ArrayAttr[StringAttr])
    values_in = prop_def(ArrayAttr[StringAttr])
    values_out = prop_def(ArrayAttr[StringAttr])
    traits = traits_def(SymbolOpInterface())

    def verify_(self) -> None:
        named = [len(names) for names in (self.keys_in, self.keys_out, self.values_in, self.values_out)]
        if len({count for count in named if count}) > 1:
            raise VerifyException(f"{', '.join(map(str, named))} inputs and outputs don't belong to as many calls")


@irdl_op_definition
class AttentionOp(IRDLOperation):
    """y = softmax(scale * q kᵀ + mask) v, head h of q with head h // (H/G) of k and v.

    q [B, H, S, D], k [B, G, S, D] and v [B, G, S, Dv]; with `cache` k and v are appended to it first and attention is
    over all T = past + S tokens; without, T = S' is k's own length. `mask`, broadcast to [B, H, S, T]: float is added
    to the scaled scores, bool keeps where true. `causal`: query i also sees only keys j <= i + (T - S). `softcap` c >
    0: scores become c * tanh(scores / c) before the mask. A row with nothing to see gives 0 if `nan_to_zero`. y
    is [B, H, S, Dv].
    """

    name = "llm.attention"
    q = operand_def()
    k = operand_def()
    v = operand_def()
    mask = opt_operand_def()
    cache = opt_prop_def(SymbolRefAttr)
    scale = prop_def(FloatAttr[Float64Type])
    softcap = prop_def(FloatAttr[Float64Type])
    causal = prop_def(BoolAttr)
    nan_to_zero = prop_def(BoolAttr)
    y = result_def()
    traits = traits_def()

    def verify_(self) -> None:
        for name in ("q", "k", "v"):
            if len(shape_of(getattr(self, name))) != 4:
                raise VerifyException(f"{name} must be [batch, heads, tokens, head_dim]")
        heads, groups = shape_of(self.q)[1], shape_of(self.k)[1]
        if heads.is_constant and groups.is_constant and heads.constant % groups.constant:
            raise VerifyException(f"{heads} query heads are no multiple of {groups} key/value heads")
        if dtype_of(self.q) != dtype_of(self.y):
            raise VerifyException("q and y differ in dtype")


LLM = Dialect(
    "llm",
    [
        LinearOp,
        RmsNormOp,
        LayerNormOp,
        RotaryOp,
        GatedOp,
        ActivationOp,
        EmbeddingOp,
        CacheOp,
        AttentionOp,
    ],
)
