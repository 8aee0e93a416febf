"""Orders of a graph's nodes in which equal layers look equal: what doesn't depend on tokens first, then depth first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crossbank.compiler.frontend.dims import per_layer_inputs
from crossbank.compiler.frontend.graph import ABSENT, Graph, Node

MAX_SEEDS = 4


def orders(graph: Graph) -> Iterator[list[Node]]:
    """Topological orders, one per graph input that may be what the layers work on.

    Exporters compute masks and rotary tables where layer 0 first needs them; whatever depends on neither the seed input
    nor per-layer inputs (caches) is taken to the front. The rest follows depth first from the outputs, operands in
    order, so that nodes of a layer stand together and in the same order in each layer.
    """
    layered = set(per_layer_inputs(graph))
    seeds = [port.name for port in graph.inputs if port.name not in layered]
    seeds.sort(key=lambda name: ("input_ids" not in name and "inputs_embeds" not in name, name))
    first = _depth_first(graph)
    for seed in seeds[:MAX_SEEDS]:
        moving = layered | {seed}
        for node in first:
            if not moving.isdisjoint(node.inputs):
                moving.update(name for name in node.outputs if name)
        late = {id(node) for node in first if not moving.isdisjoint(node.outputs)}
        late |= _own_weights(graph, late)
        yield [n for n in first if id(n) not in late] + [n for n in first if id(n) in late]


def _own_weights(graph: Graph, late: set[int]) -> set[int]:
    """Nodes that compute on weights alone for one late node: a layer's dequantised, transposed or expanded weight."""
    static: set[str] = {ABSENT}
    shapes = {name for node in graph.nodes for name in node.inputs} - {port.name for port in graph.inputs}
    shapes -= {name for node in graph.nodes for name in node.outputs}  # known values: no node computes them
    for node in graph.nodes:
        if any(name in static or name in graph.store for name in node.inputs[:1]) and all(
            name in static or name in graph.store or name in shapes for name in node.inputs
        ):
            static.update(node.outputs)
    users: dict[str, set[int]] = {name: {0} for name in graph.results}
    own: set[int] = set()
    for node in reversed(graph.nodes):
        if static.issuperset(node.outputs):
            readers = {reader for name in node.outputs for reader in users.get(name, ())}
            if len(readers) == 1 and readers <= late | own:
                own.add(id(node))
        for name in node.inputs:
            users.setdefault(name, set()).add(id(node))
    return own


def _depth_first(graph: Graph) -> list[Node]:
    """The ancestors of the output that has most, operands before users; the others right behind what they read."""
    producer = {name: node for node in graph.nodes for name in node.outputs if name}
    outputs = [producer[name] for name in graph.results if name in producer]
    if not outputs:
        return list(graph.nodes)
    main = max((_visit([node], producer, set()) for node in outputs), key=len) if len(outputs) < 3 else None
    main = _visit(_main_outputs(graph, producer, outputs), producer, set()) if main is None else main
    done = {id(node) for node in main}
    side = _visit(outputs, producer, done)
    if not side:
        return main
    keys: dict[int, tuple[int, int]] = {id(node): (i, 0) for i, node in enumerate(main)}
    for i, node in enumerate(side):
        sources = [keys[id(producer[name])][0] for name in node.inputs if name in producer]
        keys[id(node)] = (max(sources, default=-1), i + 1)
    return sorted([*main, *side], key=lambda node: keys[id(node)])


def _main_outputs(graph: Graph, producer: dict[str, Node], outputs: list[Node]) -> list[Node]:
    """The output that the file computes last among the first one and the deepest: usually the logits."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        level = 1 + max((depth.get(name, 0) for name in node.inputs), default=0)
        depth.update((name, level) for name in node.outputs)
    return [max(outputs, key=lambda node: max(depth[name] for name in node.outputs))]


def _visit(roots: Iterable[Node], producer: dict[str, Node], done: set[int]) -> list[Node]:
    """Post-order of the roots' ancestors, without recursion; `done` nodes are left out and added to."""
    order: list[Node] = []
    stack: list[tuple[Node, int]] = [(root, 0) for root in reversed(list(roots))]
    opened: set[int] = set()
    while stack:
        node, at = stack.pop()
        if id(node) in done or (at == 0 and id(node) in opened):
            continue
        opened.add(id(node))
        while at < len(node.inputs):
            source = producer.get(node.inputs[at])
            at += 1
            if source is not None and id(source) not in done and id(source) not in opened:
                stack += [(node, at), (source, 0)]
                break
        else:
            done.add(id(node))
            order.append(node)
    return order
