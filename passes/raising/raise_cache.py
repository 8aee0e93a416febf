"""KV caches: concatenate-and-return of past and new keys and values becomes device state that attention appends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from crossbank.dialects.imc import RepeatOp
from crossbank.dialects.llm import AppendOp, AttentionOp, CacheOp, EvictOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.capacity import DEFAULT_CONTEXT
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.cast_caches import in_wider_type
from crossbank.passes.raising.matching import axis_of, made_by, users
from crossbank.passes.raising.notes import note_growth, roles_of, unrecognised
from crossbank.passes.raising.signature import drop_parts, names_of
from crossbank.passes.rewriting import (
    argument_index,
    calls_of,
    copy_location,
    entry_block,
    functions,
    owner_of,
    replace,
)
from crossbank.runtime.expr import ZERO, Expr

TOKENS = 2


@dataclass(frozen=True)
class RaiseCachePass(ModulePass):
    """Where attention reads past and new tokens whose past is an input and which are an output: an `llm.cache`.

    Past and new are put together by Concat, or by `llm.append` at each sequence's own place. The output is all of them
    or what `llm.evict` leaves. Where they are cast to 16 bits on the way in and back on the way out, attention and
    cache are in the wider type.
    """

    name = "raise-cache"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        calls = calls_of(op)
        count = 0
        for name, function in functions(op).items():
            parts: list[_Part] = []
            for raised in [found for found in entry_block(function).ops if isinstance(found, AttentionOp)]:
                if raised.cache is not None or _over_encoder(ctx, raised):
                    continue
                attention = in_wider_type(raised) or raised
                found = _pair(attention, function, calls.get(name, []))
                if not isinstance(found, str):
                    found = _too_long(ctx, found) or found
                if isinstance(found, str):
                    if found:
                        unrecognised(ctx, attention, f"kv cache: {found}")
                    continue
                _raise(op, attention, found, f"cache{count}")
                _note_dims(ctx, found)
                parts += found
                count += 1
            if parts:
                drop_parts(function, calls.get(name, []), {p.argument for p in parts}, {p.result for p in parts})
                calls = calls_of(op)


def _over_encoder(ctx: Context, attention: AttentionOp) -> bool:
    """Whether keys and values are those of an encoder's tokens, fed or computed: no step makes them more."""
    fed: set[str] = set(ctx.notes.get("dims", {}).get("empty", ())) if isinstance(ctx, CompileContext) else set()
    return not fed.isdisjoint(shape_of(attention.k)[TOKENS].symbols)


@dataclass(frozen=True)
class _Part:
    """The keys or values of one attention: past and new, where they enter and leave, as whom the file knows them."""

    joined: Operation
    evict: EvictOp | None
    past: SSAValue
    new: SSAValue
    argument: int
    result: int
    inputs: Sequence[str]
    outputs: Sequence[str]

    @property
    def kept(self) -> SSAValue:
        """Past and new tokens as they are returned."""
        return self.joined.results[0] if self.evict is None else self.evict.y


def _pair(attention: AttentionOp, function: FuncOp, calls: Sequence[RepeatOp]) -> tuple[_Part, _Part] | str:
    """Keys and values of an attention over a cache; a text says what is missing, empty where there is no cache."""
    keys = _part(attention.k, attention, function, calls)
    values = _part(attention.v, attention, function, calls)
    if isinstance(keys, str):
        return keys
    if isinstance(values, str):
        return values
    if shape_of(keys.past) != shape_of(values.past) or dtype_of(keys.past) != dtype_of(values.past):
        return "keys and values differ in shape"
    if not _alike(keys, values):
        return "keys and values are appended differently"
    heads, size = shape_of(keys.past)[1], shape_of(keys.past)[3]
    if not heads.is_constant or not size.is_constant:
        return f"{heads} heads of {size} features"
    return keys, values


def _too_long(ctx: Context, parts: tuple[_Part, _Part]) -> str:
    """Why a past of a fixed length does not fit the context that a cache is made for; empty where it does."""
    past, total = shape_of(parts[0].past)[TOKENS], shape_of(parts[0].joined.results[0])[TOKENS]
    if not past.is_constant or total == past:
        return ""
    context = (ctx.options.context if isinstance(ctx, CompileContext) else None) or DEFAULT_CONTEXT
    fits = total.is_constant and total.constant <= context
    return "" if fits else f"a past of always {past} tokens, {total} in all, in a context of {context}"


def _alike(keys: _Part, values: _Part) -> bool:
    left, right = keys.joined, values.joined
    if (keys.evict and keys.evict.first) is not (values.evict and values.evict.first):
        return False
    if isinstance(left, AppendOp) and isinstance(right, AppendOp):
        return left.starts is right.starts and left.properties == right.properties
    return left.name == right.name


def _joined(value: SSAValue) -> tuple[Operation, SSAValue, SSAValue] | str:
    """What puts past and new tokens together, the past and the new ones."""
    op = owner_of(value)
    if isinstance(op, AppendOp):
        return op, op.past, op.new
    concat = made_by(value, "Concat")
    if concat is None:
        return ""
    if len(concat.operands) != 2 or axis_of(concat, "axis", 0, value) != TOKENS:
        return "the concatenation isn't [past, new] along the tokens"
    return concat, concat.operands[0], concat.operands[1]


def _part(value: SSAValue, attention: AttentionOp, function: FuncOp, calls: Sequence[RepeatOp]) -> _Part | str:
    found = _joined(value)
    if isinstance(found, str):
        return found
    joined, past, new = found
    argument = argument_index(past, function)
    if argument is None:
        return "the past is no input"
    if users(past) != [joined]:
        return "the past is used elsewhere too"
    evict = next((user for user in users(value) if isinstance(user, EvictOp)), None)
    kept = value if evict is None else evict.y
    returns = [use for use in kept.uses if isinstance(use.operation, ReturnOp)]
    known = [attention, *(use.operation for use in returns), *([] if evict is None else [evict])]
    if len(returns) != 1 or any(user not in known for user in (*users(value), *users(kept))):
        return f"past and new tokens together are returned {len(returns)} times or used elsewhere"
    named = names_of(function, calls, argument, returns[0].index)
    if isinstance(named, str):
        return named
    return _Part(joined, evict, past, new, argument, returns[0].index, *named)


def _raise(module: ModuleOp, attention: AttentionOp, parts: tuple[_Part, _Part], name: str) -> None:
    keys, values = parts
    batch, heads, past, size = shape_of(keys.past)
    texts = [
        ArrayAttr([StringAttr(text) for text in names])
        for names in (keys.inputs, keys.outputs, values.inputs, values.outputs)
    ]
    cache = CacheOp.build(
        properties={
            "sym_name": StringAttr(name),
            "key_value_heads": IntegerAttr(heads.constant, i64),
            "head_dim": IntegerAttr(size.constant, i64),
            "dtype": StringAttr(dtype_of(keys.past)),
            "batch": StringAttr(str(batch)),
            "past": StringAttr(str(past)),
            "new": StringAttr(str(_growth(keys))),
            **dict(zip(("keys_in", "keys_out", "values_in", "values_out"), texts, strict=True)),
        }
    )
    copy_location(cache, keys.joined)
    first = next(op for op in module.ops if isinstance(op, FuncOp))
    Rewriter.insert_op(cache, InsertPoint.before(first))
    placed = keys.joined if isinstance(keys.joined, AppendOp) else None
    appended = attention.with_cache(name, keys.new, values.new, placed, keys.evict)
    for part in parts:
        for use in list(part.kept.uses):
            if isinstance(use.operation, ReturnOp):
                use.operation.operands[use.index] = part.past
        if part.evict is not None:
            replace(part.evict, [], [None])
    replace(attention, [appended])


def _growth(part: _Part) -> Expr:
    """By how many tokens a step makes the cache longer."""
    return shape_of(part.kept)[TOKENS] - shape_of(part.past)[TOKENS]


def _note_dims(ctx: Context, parts: tuple[_Part, _Part]) -> None:
    if isinstance(ctx, CompileContext):
        batch, _, past, _ = shape_of(parts[0].past)
        sequence = shape_of(parts[0].new)[TOKENS]
        roles = roles_of(ctx)
        for name in (str(batch), *([str(past)] if _growth(parts[0]) == ZERO else [])):
            if roles.get("past") == name:  # a guess from the inputs' shapes
                del roles["past"]
        length = "slots" if _growth(parts[0]) == ZERO else "past"
        for role, dim in (("batch", batch), ("sequence", sequence), (length, past)):
            if not dim.is_constant:
                roles.setdefault(role, str(dim))
        note_growth(ctx, _growth(parts[0]))
