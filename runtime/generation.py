"""Greedy decoding: prompt, then token by token, with the cache on the device, fed back, or (without one) recomputed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import Code, Port, ProgramError

if TYPE_CHECKING:
    from crossbank.runtime.session import Session

Tokens = NDArray[np.int64]
IDS = "input_ids"
_POSITIONS = ("position_ids", "cache_position")
_CACHE_NAME = re.compile(r"^(past|present)(_key_values)?[._]?")


class Decoding:
    """The generation of one session: which inputs carry what, and which outputs come back as inputs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.past_name = session.code.context_of.get("past")
        main = session.main
        self.logits = _logits(main.outputs)
        inputs = {port.name: port for port in main.inputs}
        if IDS not in inputs:
            raise ProgramError(
                "CB0609",
                f"generation needs an input {IDS}, the program has {', '.join(inputs) or 'none'}",
                help="call session.run step by step and feed it yourself",
            )
        others = [port for name, port in inputs.items() if not _is_conventional(name)]
        self.returned = _matched(others, [port for port in main.outputs if port.name != self.logits])
        unfilled = [port.name for port in others if port.name not in self.returned]
        if unfilled:
            raise ProgramError(
                "CB0609",
                f"generation can't fill input {', '.join(unfilled)}",
                help="call session.run step by step and feed it yourself",
            )
        self.cached = bool(session.code.states or self.returned)

    def tokens(self, prompt_ids: ArrayLike, max_new_tokens: int, eos: int | Collection[int] | None) -> Iterator[Tokens]:
        """The next token of each row (batch,), at most `max_new_tokens` times."""
        ids = _prompt(prompt_ids)
        if max_new_tokens < 1:
            return
        ends = np.array([eos] if isinstance(eos, int) else sorted(eos or ()), np.int64)
        self._check_room(ids, max_new_tokens)
        done = np.zeros(len(ids), bool)
        last = np.zeros(len(ids), np.int64)
        past, kept = 0, dict[str, NDArray[Any]]()
        steps = self.session.steps
        for new in range(max_new_tokens):
            if new and self.session.steps != steps:
                raise ProgramError(
                    "CB0612",
                    "the session ran something else while it generated: its cache is another one's",
                    help="take a session for each; program.session() makes one",
                )
            dimensions = self._step(ids, past, kept)
            steps = self.session.steps
            logits = self.session.result(self.logits, dimensions)
            scores = logits[:, -1] if logits.ndim == 3 else logits
            chosen = np.asarray(scores, np.float32).argmax(axis=-1).astype(np.int64)
            last = np.where(done, last, chosen)
            yield last
            done |= np.isin(last, ends)
            if done.all():
                return
            kept = {name: self.session.result(out, dimensions).copy() for name, out in self.returned.items()}
            if self.cached:
                past, ids = past + ids.shape[1], last[:, None]
            else:
                ids = np.concatenate([ids, last[:, None]], axis=1)

    def _step(self, ids: Tokens, past: int, kept: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        session = self.session
        feeds = {p.name: self._filled(p, ids, past) for p in session.main.inputs if p.name not in self.returned}
        known = {self.past_name: past} if self.past_name in session.code.dimensions and self.past_name else {}
        if not kept:
            known |= self._empty_caches(feeds, known)
        dimensions = session.bind(feeds | dict(kept), known)
        for port in session.main.inputs:
            if port.name in self.returned and not kept:
                dims = tuple(int(np.asarray(dim.evaluate(dimensions))) for dim in port.shape)
                feeds[port.name] = np.zeros(dims, dtype_of(port.dtype))
        session.step(feeds | dict(kept), dimensions)
        return dimensions

    def _empty_caches(self, feeds: Mapping[str, NDArray[Any]], known: Mapping[str, int]) -> dict[str, int]:
        """Dimensions that only caches have, which are fed back and start empty; caches that do not grow have room."""
        main = self.session.main
        said = frozenset[str](known).union(*(d.symbols for p in main.inputs if p.name in feeds for d in p.shape))
        own = frozenset[str]().union(*(d.symbols for p in main.inputs if p.name in self.returned for d in p.shape))
        code = self.session.code
        slots, room = code.context_of.get("slots"), code.limits.get("context", 0)
        return {name: room if name == slots else 0 for name in own - said if name in code.dimensions}

    def _filled(self, port: Port, ids: Tokens, past: int) -> NDArray[Any]:
        dtype, (batch, new) = dtype_of(port.dtype), ids.shape
        if port.name == IDS:
            return ids.astype(dtype)
        if port.name in _POSITIONS:
            positions = np.arange(past, past + new, dtype=np.int64).astype(dtype)
            return positions if len(port.shape) == 1 else np.tile(positions, (batch, 1))
        if port.name == "attention_mask":
            return np.ones((batch, past + new), dtype)
        if port.name == "use_cache_branch":
            return np.array([past > 0])
        return np.zeros((batch, new), dtype)

    def _check_room(self, ids: Tokens, max_new_tokens: int) -> None:
        roles = self.session.code.context_of
        batch, tokens = ids.shape
        wanted = {"batch": batch, "sequence": tokens}
        if self.cached and "past" in roles:
            self.session.check_limits({roles[r]: n for r, n in wanted.items() if r in roles} | {roles["past"]: 0})
            wanted |= {"sequence": 1, "past": tokens + max_new_tokens - 2} if max_new_tokens > 1 else {"past": 0}
        else:
            wanted["sequence"] = tokens + max_new_tokens - 1
        if max_new_tokens > 1:
            self.session.check_limits({roles[r]: n for r, n in wanted.items() if r in roles})


def recomputes(code: Code) -> bool:
    """Whether each further token takes a step over all tokens: nothing is kept on the device or fed back."""
    return not code.states and all(_is_conventional(port.name) for port in code.functions["main"].inputs)


def fixed_sizes(code: Code) -> tuple[int | None, int | None]:
    """The batch and the tokens of a step where the file fixes them; None where a call says."""
    ids = next((port for port in code.functions["main"].inputs if port.name == IDS), None)
    dims = [dim.constant if dim.is_constant else None for dim in ids.shape] if ids is not None else []
    return (dims[0], dims[1]) if len(dims) == 2 else (None, None)


def _is_conventional(name: str) -> bool:
    return name in (IDS, "attention_mask", "token_type_ids", "use_cache_branch", *_POSITIONS)


def _prompt(prompt_ids: ArrayLike) -> Tokens:
    try:
        ids = np.asarray(prompt_ids)
    except ValueError as error:
        raise ProgramError(
            "CB0610", f"a prompt of uneven rows can't be continued: {error}", help="give rows of one length"
        ) from error
    if ids.ndim not in (1, 2) or not ids.size or ids.dtype.kind not in "iu":
        raise ProgramError(
            "CB0610",
            f"a prompt of shape {list(ids.shape)} and type {ids.dtype.name} can't be continued",
            help="give at least one token id, as integers (tokens,) or (batch, tokens)",
        )
    return np.atleast_2d(ids).astype(np.int64)


def _logits(outputs: tuple[Port, ...]) -> str:
    for port in outputs:
        if port.name == "logits":
            return port.name
    for port in outputs:
        if len(port.shape) == 3 and "float" in port.dtype and not _CACHE_NAME.match(port.name):
            return port.name
    raise ProgramError(
        "CB0609",
        f"generation needs an output of logits, the program has {', '.join(p.name for p in outputs) or 'none'}",
        help="export the model with its language modelling head",
    )


def _matched(inputs: list[Port], outputs: list[Port]) -> dict[str, str]:
    """Which output of a step is the next one's input: past_key_values.0.key is present.0.key; else by order."""
    by_key = {_CACHE_NAME.sub("", port.name): port.name for port in outputs if _CACHE_NAME.match(port.name)}
    found = {
        port.name: by_key[key]
        for port in inputs
        if _CACHE_NAME.match(port.name) and (key := _CACHE_NAME.sub("", port.name)) in by_key
    }
    if not found and len(inputs) == len(outputs):
        pairs = list(zip(inputs, outputs, strict=True))
        if all(a.dtype == b.dtype and len(a.shape) == len(b.shape) for a, b in pairs):
            return {a.name: b.name for a, b in pairs}
    return found
