"""Time, energy and area of a generation: a prompt, then one step per further token, from the coster's steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from crossbank.runtime.clock import FloatArray, IntArray
from crossbank.runtime.coster import NODE_BITS, Coster, StepCosts
from crossbank.runtime.generation import fixed_sizes, recomputes
from crossbank.runtime.program import Code, ProgramError
from crossbank.runtime.registry import instruction_set

STEPS_AT_ONCE = 256
PS = 1e-12


@dataclass(frozen=True)
class Share:
    """A part of a total: critical-path time in seconds and energy in joules."""

    time_s: float = 0.0
    energy_j: float = 0.0

    def __add__(self, other: Share) -> Share:
        return Share(self.time_s + other.time_s, self.energy_j + other.energy_j)


@dataclass(frozen=True)
class Cost:
    """What `prompt` tokens and `generate` new ones cost; rates are None where time is 0 or no
    token is generated.

    `breakdown` has the keys phase, engine, component and node, each a mapping of names to {time_s, energy_j} that adds
    up to the total, and `busy` with each engine's {busy_s, idle_s, work_s}: time of the critical path in it and
    elsewhere, and the durations of all that it does, units that work side by side added up. `assumed` is the part of
    each total that rests on numbers of the system file that are marked assumed. `macs` are multiply-accumulates
    executed.
    """

    prompt: int
    generate: int
    batch: int
    ttft_s: float
    tpot_s: float
    tokens_per_s: float | None
    energy_j: float
    energy_per_token_j: float | None
    area_mm2: float | None
    memory_bytes: int
    macs: float
    time_s: float
    breakdown: dict[str, Any] = field(default_factory=dict[str, Any])
    assumed: dict[str, Any] = field(default_factory=dict[str, Any])
    counters: dict[str, float] = field(default_factory=dict[str, float])
    groups: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return asdict(self)


def dimensions_of(code: Code, batch: int, new: int, past: IntArray, source: int | None = None) -> dict[str, IntArray]:
    """The registers of steps of `new` tokens after `past` (steps,) others; ProgramError CB0703 where one is unknown.

    A program that keeps nothing between steps computes the others again; caches that do not grow are as long as the
    context that the program was compiled for. An encoder before it has read `source` tokens, as many as the step has
    for None; keys and values over them come from its results in the first step, from caches in the others.
    """
    roles = code.context_of
    again = recomputes(code)
    encoded = np.full(len(past), new if source is None else source)
    first = past == 0
    values = {
        "source": encoded,
        "source_past": np.where(first, 0, encoded),
        "source_new": np.where(first, encoded, 0),
        "batch": np.full(len(past), batch),
        "sequence": past + new if again else np.full(len(past), new),
        "past": np.zeros_like(past) if again else past,
        "total": past + new,
        "slots": np.full(len(past), code.limits.get("context", 0)),
    }
    found = {name: np.asarray(values[role], np.int64) for role, name in roles.items() if role in values}
    unknown = [name for name in code.dimensions if name not in found]
    if unknown:
        raise ProgramError(
            "CB0703",
            f"a prompt does not say how large {', '.join(unknown)} is: the model's inputs are not those of a decoder",
            help="export it with a batch, a sequence and a past length as its only dimensions",
        )
    return {name: found[name] for name in code.dimensions}


def check_sizes(code: Code, prompt: int, generate: int, batch: int) -> None:
    """Hold sizes against what the program was compiled for; ProgramError CB0704, CB0705 or CB0706."""
    context, most = code.limits.get("context"), code.limits.get("max_batch")
    for name, value, least in (("prompt", prompt, 1), ("generate", generate, 0), ("batch", batch, 1)):
        if value < least or value != int(value):
            raise ProgramError("CB0704", f"{name} {value} is no size", help=f"give a whole number, at least {least}")
    held = prompt + max(generate - 1, 0)
    if context is not None and held > context:
        raise ProgramError(
            "CB0705",
            f"a prompt of {prompt} and {generate} new tokens, the last of which is not read, exceed the context of "
            f"{context} that the program was compiled for",
            help=f"compile with --context {held}",
        )
    if most is not None and batch > most:
        raise ProgramError("CB0706", f"batch {batch} exceeds {most}", help=f"compile with --max-batch {batch}")
    fixed, _ = fixed_sizes(code)
    if fixed is not None and batch > fixed:
        raise ProgramError(
            "CB0706", f"batch {batch} exceeds the {fixed} that the model fixes", help="export it with a dynamic batch"
        )


def prefill_steps(code: Code, prompt: int) -> int:
    """How many steps a prompt takes: 1, but where the model fixes the tokens of a step."""
    _, tokens = fixed_sizes(code)
    return 1 if tokens is None else -(-prompt // tokens)


def generation_cost(
    code: Code,
    prompt: int,
    generate: int = 1,
    batch: int = 1,
    exact: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Cost:
    """The cost of prefilling `prompt` tokens and decoding until `generate` tokens exist, for `batch` sequences.

    Where the program is a decoder behind an encoder, that has read as many tokens as the prompt has.

    The prefill yields the first token; each further one is a decode step. Where the model fixes the tokens of a step,
    the prompt takes as many steps as it fills, and each further token one. `exact` follows every event (slow);
    `progress` hears the phase and the share of its steps that is done.
    """
    check_sizes(code, prompt, generate, batch)
    coster = Coster(code)
    steps = prefill_steps(code, prompt)
    wanted = {"prefill": (prompt, np.zeros(steps, np.int64))}
    if generate > 1:
        wanted["decode"] = (1, np.arange(prompt, prompt + generate - 1))
    phases: dict[str, StepCosts] = {}
    for name, (new, pasts) in wanted.items():
        moved = partial(progress, name) if progress else None
        phases[name] = _costs(coster, batch, new, pasts, prompt, exact, moved)
    return _summarise(code, prompt, generate, batch, phases)


def _costs(
    coster: Coster,
    batch: int,
    new: int,
    pasts: IntArray,
    source: int,
    exact: bool,
    moved: Callable[[float], None] | None,
) -> StepCosts:
    """The costs of steps of `new` tokens, one per past length; `moved` hears the share done."""
    at_once = 1 if exact else STEPS_AT_ONCE
    parts: list[StepCosts] = []
    for start in range(0, len(pasts), at_once):
        some = pasts[start : start + at_once]
        found = coster.cost("main", dimensions_of(coster.code, batch, new, some, source), exact)
        parts += [found] * (len(some) // len(found.time_ps))
        if moved:
            moved(min(start + at_once, len(pasts)) / len(pasts))
    return StepCosts.joined(parts)


def _static_power_w(code: Code) -> float:
    return float(code.system.get("group", {}).get("static_power_w", 0.0)) * _groups(code)


def _groups(code: Code) -> int:
    return int(code.system.get("group", {}).get("count", 1))


def _basis(code: Code, engine: str, component: str) -> bool:
    assumed = code.system.get("assumed", [])
    if component == "static":
        return "group.static_power_w" in assumed
    if engine not in code.engines:
        return False
    sources = instruction_set(code.engines[engine].isa).sources
    if component in sources:
        return any(f"{engine}.{path}" in assumed or path in assumed for path in sources[component])
    return any(str(path).startswith(f"{engine}.") for path in assumed)


def _node_shares(code: Code, node: int, share: Share) -> list[tuple[str, Share]]:
    """The share of a block's node slot, divided evenly over the calls of the block."""
    number, slot = node >> NODE_BITS, node & ((1 << NODE_BITS) - 1)
    block = list(code.blocks.values())[number]
    if slot >= block.nodes.shape[1]:
        return [("(none)", share)]
    rows = block.nodes[:, slot]
    part = Share(share.time_s / len(rows), share.energy_j / len(rows))
    return [(code.nodes[row] if 0 <= row < len(code.nodes) else "(none)", part) for row in rows.tolist()]


def _total(values: Mapping[Any, FloatArray | IntArray], key: Any, scale: float) -> float:
    return float(values[key].sum()) * scale if key in values else 0.0


def _summarise(code: Code, prompt: int, generate: int, batch: int, phases: Mapping[str, StepCosts]) -> Cost:
    views = {name: defaultdict[str, Share](Share) for name in ("phase", "engine", "component", "node")}
    work: defaultdict[str, float] = defaultdict(float)
    counters: defaultdict[str, float] = defaultdict(float)
    assumed = Share()
    static_w = _static_power_w(code)
    times = {"prefill": 0.0, "decode": 0.0}
    known: dict[tuple[str, str], bool] = {}
    for phase, steps in phases.items():
        time_s = float(steps.time_ps.sum()) * PS
        times[phase] = time_s
        nodes = defaultdict[int, Share](Share)
        parts = {
            key: Share(_total(steps.path_ps, key, PS), _total(steps.energy_j, key, 1.0))
            for key in {**steps.path_ps, **steps.energy_j}
        }
        for key, share in parts.items():
            engine, component, _ = key
            if (engine, component) not in known:
                known[engine, component] = _basis(code, engine, component)
            assumed += share if known[engine, component] else Share()
            views["phase"][phase] += share
            views["engine"][engine] += share
            views["component"][f"{engine}: {component}"] += share
            nodes[key[2]] += share
        for node, share in nodes.items():
            for name, part in _node_shares(code, node, share):
                views["node"][name] += part
        if static_w:
            share = Share(0.0, static_w * time_s)
            assumed += share if _basis(code, "", "static") else Share()
            for view, name in (
                ("phase", phase),
                ("engine", "static"),
                ("component", "static power"),
                ("node", "(static)"),
            ):
                views[view][name] += share
        for (engine, _), value in steps.busy_ps.items():
            work[engine] += float(value.sum()) * PS
        for name, value in steps.counters.items():
            counters[name] += float(value.sum())
    time_s = times["prefill"] + times["decode"]
    energy_j = sum(share.energy_j for share in views["phase"].values())
    tpot_s = times["decode"] / (generate - 1) if generate > 1 else 0.0
    area = code.system.get("group", {}).get("area_mm2")
    breakdown: dict[str, Any] = {
        view: {
            name: asdict(share) for name, share in sorted(shares.items(), key=lambda s: -s[1].energy_j - s[1].time_s)
        }
        for view, shares in views.items()
    }
    breakdown["busy"] = {
        engine: {"busy_s": (on_path := views["engine"][engine].time_s), "idle_s": time_s - on_path, "work_s": done}
        for engine, done in work.items()
    }
    tokens = batch * generate
    return Cost(
        prompt=prompt,
        generate=generate,
        batch=batch,
        ttft_s=times["prefill"],
        tpot_s=tpot_s,
        tokens_per_s=tokens / time_s if time_s and tokens else None,
        energy_j=energy_j,
        energy_per_token_j=energy_j / tokens if tokens else None,
        area_mm2=float(area) * _groups(code) if area is not None else None,
        memory_bytes=sum(s.used_bytes for s in code.spaces.values() if s.kind == "memory"),
        macs=counters.get("macs", 0.0),
        time_s=time_s,
        breakdown=breakdown,
        assumed={
            "time_s": assumed.time_s,
            "energy_j": assumed.energy_j,
            "time_share": assumed.time_s / time_s if time_s else 0.0,
            "energy_share": assumed.energy_j / energy_j if energy_j else 0.0,
            "area": "group.area_mm2" in code.system.get("assumed", []),
        },
        counters=dict(counters),
        groups={k: v for k, v in code.system.get("group", {}).items() if k in ("name", "count")},
    )
