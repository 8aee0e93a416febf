"""The transformer: linears, attention over a KV cache, norms, rotary embedding, gated MLP, token embedding.

Every operation has a numpy meaning, stated in its docstring; shapes use B batch, S new tokens, T all tokens (past and
new), H query heads, G key/value heads (H a multiple of G), D head dimension.

A quantised matrix w [K, N] comes with `scales` and, where they aren't 0, `zeros` of its rank, whose dimensions divide
w's: element (i, j) stands for (w[i, j] - zeros[i', j']) * scales[i', j'], i' and j' the blocks that i and j are in.
"""

from __future__ import annotations

from xdsl.dialects.builtin import (
    ArrayAttr,
    BoolAttr,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    f64,
)
from xdsl.ir import Attribute, Dialect, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
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
from crossbank.runtime.expr import ONE, Expr


def _some(value: SSAValue | None) -> list[SSAValue]:
    return [] if value is None else [value]


def _must_have_shape(value: SSAValue, shape: tuple[Expr, ...], name: str) -> None:
    if shape_of(value) != shape:
        raise VerifyException(f"{name} must be {'x'.join(map(str, shape))}, not {'x'.join(map(str, shape_of(value)))}")


def _must_be_known(activation: StringAttr) -> None:
    if activation.data not in ACTIVATIONS:
        raise VerifyException(f"unknown activation {activation.data}")


def _must_divide(parts: SSAValue, whole: SSAValue, name: str) -> None:
    """Each dimension of `parts` is that of `whole` over a block size."""
    small, large = shape_of(parts), shape_of(whole)
    if len(small) != len(large):
        raise VerifyException(f"{name} have {len(small)} dimensions, what they belong to {len(large)}")
    for a, b in zip(small, large, strict=True):
        if (
            a != b
            and a != ONE
            and not (a.is_constant and b.is_constant and a.constant and b.constant % a.constant == 0)
        ):
            raise VerifyException(f"{a} of {name} do not divide {b}")


ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "sigmoid", "tanh", "quick_gelu")


@irdl_op_definition
class LinearOp(IRDLOperation):
    """y = x @ W + bias with a static W: x [.., K], weight [K, N] (or [N, K] if `transposed`), y [.., N].

    With `scales` (and `zeros`) the weight is quantised; W is what it stands for.
    """

    name = "llm.linear"
    x = operand_def()
    weight = operand_def()
    bias = opt_operand_def()
    scales = opt_operand_def()
    zeros = opt_operand_def()
    transposed = prop_def(BoolAttr)
    y = result_def()
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def(Pure())

    @staticmethod
    def of(
        x: SSAValue,
        weight: SSAValue,
        result: Attribute,
        *,
        transposed: bool = False,
        bias: SSAValue | None = None,
        scales: SSAValue | None = None,
        zeros: SSAValue | None = None,
    ) -> LinearOp:
        """A linear by its parts."""
        return LinearOp.build(
            operands=[x, weight, _some(bias), _some(scales), _some(zeros)],
            properties={"transposed": BoolAttr.from_bool(transposed)},
            result_types=[result],
        )

    def verify_(self) -> None:
        weight = shape_of(self.weight)
        if len(weight) != 2:
            raise VerifyException("weight must be a matrix")
        k, n = weight[::-1] if self.transposed.value.data else weight
        if shape_of(self.x)[-1] != k:
            raise VerifyException(f"x has {shape_of(self.x)[-1]} features, the weight takes {k}")
        _must_have_shape(self.y, (*shape_of(self.x)[:-1], n), "y")
        if self.scales is not None:
            _must_divide(self.scales, self.weight, "scales")
        if self.zeros is not None:
            if self.scales is None:
                raise VerifyException("zeros without scales")
            _must_divide(self.zeros, self.scales, "zeros")


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
    Features from R on pass through. R is `width`, and cos and sin may have one angle for each pair: R/2 features.
    Without `width` it is the last dimension of cos.
    """

    name = "llm.rotary"
    x = operand_def()
    cos = operand_def()
    sin = operand_def()
    interleaved = prop_def(BoolAttr)
    width = opt_prop_def(IntegerAttr)
    y = result_def()
    traits = traits_def(Pure())

    @property
    def rotated(self) -> Expr:
        """R."""
        return shape_of(self.cos)[-1] if self.width is None else Expr.of(self.width.value.data)

    def verify_(self) -> None:
        _must_have_shape(self.y, shape_of(self.x), "y")
        if shape_of(self.cos)[-1] not in (self.rotated, self.rotated // 2):
            raise VerifyException(f"{shape_of(self.cos)[-1]} angles for {self.rotated} features")


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
class AppendOp(IRDLOperation):
    """Past tokens with new ones in between or behind: past [B, G, P, D], new [B, G, S, D], y [B, G, T, D], T >= P.

    y[b, :, :P] is past[b], then y[b, :, starts[b] : starts[b] + S] is new[b]; starts [B] are integers of at least 0
    with starts[b] + S <= T (`circular`: tokens count modulo T). With `clear`, y[b, :, starts[b] + S :] is 0. Tokens
    that lie neither in past nor in new are undefined.
    """

    name = "llm.append"
    past = operand_def()
    new = operand_def()
    starts = operand_def()
    clear = prop_def(BoolAttr)
    circular = opt_prop_def(BoolAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        past, new, y = shape_of(self.past), shape_of(self.new), shape_of(self.y)
        if not len(past) == len(new) == len(y) == 4:
            raise VerifyException("past, new and y must be [batch, heads, tokens, head_dim]")
        if (past[1], past[3]) != (new[1], new[3]) or (past[1], past[3]) != (y[1], y[3]):
            raise VerifyException("past, new and y differ in heads or head_dim")
        _must_have_shape(self.starts, y[:1], "starts")


@irdl_op_definition
class EvictOp(IRDLOperation):
    """What stays of tokens when the first leave: x [B, G, T, D], first [B], y [B, G, P, D].

    y[b, :, i] is x[b, :, first[b] + i], 0 where there is none; first [B] are integers of at least 0.
    """

    name = "llm.evict"
    x = operand_def()
    first = operand_def()
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        x, y = shape_of(self.x), shape_of(self.y)
        if len(x) != 4 or len(y) != 4 or (x[0], x[1], x[3]) != (y[0], y[1], y[3]):
            raise VerifyException("x and y must be [batch, heads, tokens, head_dim] of as many but tokens")
        _must_have_shape(self.first, y[:1], "first")


@irdl_op_definition
class AttentionOp(IRDLOperation):
    """y = softmax(scale * q kᵀ + mask) v, head h of q with head h // (H/G) of k and v.

    q [B, H, S, D], k [B, G, S, D] and v [B, G, S, Dv]; with `cache` k and v are appended to it first and attention is
    over all T = past + S tokens; without, T = S' is k's own length. `mask`, broadcast to [B, H, S, T]: float is added
    to the scaled scores, bool keeps where true. `causal`: query i also sees only keys j <= i + (T - S). `softcap` c >
    0: scores become c * tanh(scores / c) before the mask. `sink` [H] is one more score of each head, for a value of 0.
    A row with nothing to see gives 0 if `nan_to_zero`. y is [B, H, S, Dv].

    With `starts` [B] a cache takes the new tokens as `llm.append` does, `clear` and `circular` included, and T is the
    cache's own past + new.

    With `first` [B] too a cache of P tokens does not grow: attention is over T = P + S, new tokens placed among them,
    and what the cache holds afterwards is what `llm.evict` leaves of these.
    """

    name = "llm.attention"
    q = operand_def()
    k = operand_def()
    v = operand_def()
    mask = opt_operand_def()
    sink = opt_operand_def()
    starts = opt_operand_def()
    first = opt_operand_def()
    cache = opt_prop_def(SymbolRefAttr)
    scale = prop_def(FloatAttr[Float64Type])
    softcap = prop_def(FloatAttr[Float64Type])
    causal = prop_def(BoolAttr)
    nan_to_zero = prop_def(BoolAttr)
    clear = opt_prop_def(BoolAttr)
    circular = opt_prop_def(BoolAttr)
    y = result_def()
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    traits = traits_def()

    @staticmethod
    def of(
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        result: Attribute,
        *,
        scale: float,
        mask: SSAValue | None = None,
        sink: SSAValue | None = None,
        softcap: float = 0.0,
        causal: bool = False,
        nan_to_zero: bool = False,
    ) -> AttentionOp:
        """An attention without a cache, by its parts."""
        return AttentionOp.build(
            operands=[q, k, v, _some(mask), _some(sink), [], []],
            properties={
                "scale": FloatAttr(scale, f64),
                "softcap": FloatAttr(softcap, f64),
                "causal": BoolAttr.from_bool(causal),
                "nan_to_zero": BoolAttr.from_bool(nan_to_zero),
            },
            result_types=[result],
        )

    def with_cache(
        self,
        cache: str,
        k: SSAValue,
        v: SSAValue,
        append: AppendOp | None = None,
        evict: EvictOp | None = None,
    ) -> AttentionOp:
        """The same attention over a cache that takes k and v as `append` does and keeps what `evict` leaves."""
        more: dict[str, Attribute] = {"cache": SymbolRefAttr(cache)}
        starts = None
        if append is not None:
            starts, more["clear"] = append.starts, append.clear
            more |= {} if append.circular is None else {"circular": append.circular}
        kept = {name: value for name, value in self.properties.items() if name != "operandSegmentSizes"}
        return AttentionOp.build(
            operands=[self.q, k, v, _some(self.mask), _some(self.sink), _some(starts), _some(evict and evict.first)],
            properties={**kept, **more},
            result_types=[self.y.type],
        )

    def verify_(self) -> None:
        for name in ("q", "k", "v"):
            if len(shape_of(getattr(self, name))) != 4:
                raise VerifyException(f"{name} must be [batch, heads, tokens, head_dim]")
        heads, groups = shape_of(self.q)[1], shape_of(self.k)[1]
        if heads.is_constant and groups.is_constant and heads.constant % groups.constant:
            raise VerifyException(f"{heads} query heads are no multiple of {groups} key/value heads")
        if dtype_of(self.q) != dtype_of(self.y):
            raise VerifyException("q and y differ in dtype")
        if self.starts is not None and self.cache is None:
            raise VerifyException("starts without a cache")
        if self.first is not None and self.starts is None:
            raise VerifyException("first without starts")


@irdl_op_definition
class RoundBlocksOp(IRDLOperation):
    """y = x rounded as if quantised to int8 in blocks of the last axis: rint(x * (127 / most)) * (most / 127).

    `most` is the block's own max|x|; a block of zeros stays as it is. The last dimension is a multiple of `block`.
    onnxruntime's MatMulNBits treats its input so at accuracy level 4.
    """

    name = "llm.round_blocks"
    x = operand_def()
    block = prop_def(IntegerAttr)
    y = result_def()
    traits = traits_def(Pure())

    def verify_(self) -> None:
        _must_have_shape(self.y, shape_of(self.x), "y")
        size, block = shape_of(self.x)[-1], self.block.value.data
        if block < 1 or not size.is_constant or size.constant % block:
            raise VerifyException(f"{size} features are no multiple of {block}")


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
        AppendOp,
        EvictOp,
        AttentionOp,
        RoundBlocksOp,
    ],
)
