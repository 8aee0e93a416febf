"""What the symbolic dimensions are, as far as names and cache shapes tell: batch, sequence, past, total."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from crossbank.compiler.frontend.graph import Graph, Port
from crossbank.compiler.frontend.shapes import dim_expr
from crossbank.runtime.expr import Expr

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
_PLACE = re.compile(r"\d+")
"""The number of the layer, in an input's name."""
_ANONYMOUS = re.compile(r"s\d+|.+_dim\d+")
"""Names of dimensions that torch.export gives, and that the importer gives to unnamed ones."""


@dataclass(frozen=True)
class Roles:
    """Names of the dimensions that an LLM graph has; None where the graph has none or they are constant."""

    batch: str | None = None
    sequence: str | None = None
    past: str | None = None
    cache_inputs: tuple[str, ...] = ()


def free_masks(graph: Graph) -> None:
    """Forget how long masks are where a branch with caches was taken: merged decoders declare that of the other one.

    Masks over the tokens of an encoder, whose results are an input, are as long as it says.
    """
    if not graph.bound:
        return
    encoded = {
        port.dims[1] for port in graph.inputs if port.dtype in FLOATS and len(port.dims or ()) == 3 and port.dims
    }
    graph.inputs[:] = [
        replace(port, dims=(*port.dims[:-1], None))
        if "mask" in port.name and port.dims and port.dims[-1] not in encoded - {None}
        else port
        for port in graph.inputs
    ]


def shape_of_port(port: Port) -> tuple[Expr, ...]:
    """The declared shape of an input, unnamed dimensions named."""
    return tuple(dim_expr(port, axis) for axis in range(len(port.dims or ())))


def per_layer_inputs(graph: Graph) -> tuple[str, ...]:
    """Inputs that come once per layer: names equal up to one number, equal types."""
    groups: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    for port in graph.inputs:
        pattern = _PLACE.sub("#", port.name, count=1)
        groups[pattern, port.dtype, len(port.dims or ())].append(port.name)
    grouped = {name for names in groups.values() if len(names) > 1 for name in names}
    return tuple(port.name for port in graph.inputs if port.name in grouped)


def _symbol(dim: Expr) -> str | None:
    name = next(iter(dim.symbols), None)
    return name if name is not None and dim == Expr.symbol(name) else None


def roles(graph: Graph) -> Roles:
    """The roles of dimensions, from the inputs' names and shapes."""
    by_name = {port.name: port for port in graph.inputs}
    tokens = next((by_name[n] for n in by_name if "input_ids" in n or "inputs_embeds" in n), None)
    if tokens is None:
        tokens = next((p for p in graph.inputs if p.dtype in ("int64", "int32") and len(p.dims or ()) == 2), None)
    batch = sequence = past = None
    if tokens is not None and len(tokens.dims or ()) >= 2:
        batch, sequence = (_symbol(dim) for dim in shape_of_port(tokens)[:2])
    caches = tuple(
        port.name
        for port in graph.inputs
        if len(port.dims or ()) in (4, 5)
        and "mask" not in port.name
        and (port.dtype.startswith(("float", "bfloat", "int8", "uint8")))
    )
    windows = {name for node in graph if node.attributes.get("sliding_window_cache") for name in node.inputs}
    fed = {name for name in caches if any(_symbol(dim) in graph.empty for dim in shape_of_port(by_name[name]))}
    grows = [name for name in caches if name not in windows | fed]
    if grows:
        free = [name for dim in shape_of_port(by_name[grows[0]]) if (name := _symbol(dim)) and name != batch]
        named = [name for name in free if "past" in name.lower()]
        grown = _symbol(shape_of_port(by_name[grows[0]])[-2])
        past = named[0] if named else grown if grown in free else next(iter(free), None)
    return Roles(batch, sequence, past if past != sequence else None, caches)


def encoder_lengths(graph: Graph, known: Roles) -> dict[str, str]:
    """Roles of an encoder's tokens where a decoder reads them: "source", or those in caches and those not yet there."""
    if graph.empty:
        return {"source_past": graph.empty[0], "source_new": graph.empty[1]}
    for port in graph.inputs:
        shape = shape_of_port(port)
        if "encoder" not in port.name or port.dtype not in FLOATS or len(shape) not in (3, 4):
            continue
        name = _symbol(shape[-2])
        if name is not None and name not in (known.batch, known.sequence, known.past):
            return {"source": name}
    return {}


def cache_lengths(graph: Graph, known: Roles, solved: Mapping[str, Expr]) -> dict[str, Expr]:
    """The equations "as long as the first layer's" for caches whose lengths only the exporter named, and left free.

    torch.export names a dimension of each tensor by itself (s59, s5) unless the graph shows that two are equal.
    """
    first: dict[tuple[str, int], Expr] = {}
    found: dict[str, Expr] = {}
    layers = set(known.cache_inputs) & set(per_layer_inputs(graph))
    for port in graph.inputs:
        if port.name not in layers:
            continue
        for axis, dim in enumerate(shape_of_port(port)):
            earlier = first.setdefault((_PLACE.sub("#", port.name, count=1), axis), dim)
            name = _symbol(dim)
            if name is not None and _ANONYMOUS.fullmatch(name) and name not in solved and earlier != dim:
                found[name] = earlier
    return found


def tokens_fed(graph: Graph, known: Roles, solved: Mapping[str, Expr]) -> dict[str, Expr]:
    """The equations "as many as tokens are fed" for dimensions of masks and positions that are left free.

    torch.export gives them names of their own where the graph broadcasts them, or does not use them.
    """
    found: dict[str, Expr] = {}
    for port in graph.inputs:
        if not ("mask" in port.name or "position" in port.name) or len(port.dims or ()) < 2:
            continue
        shape = shape_of_port(port)
        for dim, role in ((shape[0], known.batch), (shape[-1], known.sequence if "position" in port.name else None)):
            name = _symbol(dim)
            if role is not None and name is not None and _ANONYMOUS.fullmatch(name) and name not in solved:
                found |= {name: Expr.symbol(role)} if name != role else {}
    return found


def total_length(graph: Graph, known: Roles, solved: Mapping[str, Expr]) -> dict[str, Expr]:
    """The equation total = past + sequence for a mask's last dimension, where inference left that free."""
    if known.past is None or known.sequence is None:
        return {}
    elsewhere = {
        symbol
        for port in graph.inputs
        if "mask" not in port.name
        for dim in shape_of_port(port)
        for symbol in dim.symbols
    }
    found: dict[str, Expr] = {}
    for port in graph.inputs:
        if "mask" in port.name and port.dims:
            name = _symbol(shape_of_port(port)[-1])
            if name is not None and name not in elsewhere and name not in solved:
                found[name] = Expr.symbol(known.past) + Expr.symbol(known.sequence)
    return found
