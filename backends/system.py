"""Systems as data: engines, memories and links, where every number has a unit and a source or is marked assumed.

A system file is TOML. A number is `{ value = 256, unit = "rows", source = "…" }`; instead of `source` stand
`assumed = "why"` or `calibrated = "from what"`. `load_system` checks the form and refuses unknown keys.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from crossbank.runtime.program import ProgramError

KINDS = ("xbar", "pim", "matrix", "simd", "host")
"""The kinds that come with the package; a plug-in's family adds its own by the entry point `crossbank.backends`."""
MEMORY_KEYS = (
    "name",
    "description",
    "holds",
    "capacity_bytes",
    "bandwidth_bytes_per_s",
    "energy_pj_per_byte",
    "latency_ns",
)
TOP_KEYS = ("name", "title", "description", "engine", "memory", "link", "group", "area")
NUMBER_KEYS = ("value", "unit", "source", "assumed", "calibrated", "note")


@dataclass(frozen=True)
class Quantity:
    """A number with its unit and where it comes from; `basis` is "source", "assumed" or "calibrated"."""

    value: float | int | str | bool
    unit: str
    basis: str
    origin: str
    path: str


@dataclass(frozen=True)
class EngineSpec:
    """One engine of a system: `config` holds plain values by section, e.g. config["timing"]["trcd_ps"].

    The section `links` lists the system's links."""

    name: str
    kind: str
    config: Mapping[str, Any]

    def number(self, section: str, key: str) -> float:
        """A number of the engine's table; ProgramError CB0202 where the file lacks it."""
        try:
            return float(self.config[section][key])
        except (KeyError, TypeError):
            raise ProgramError(
                "CB0202", f"engine {self.name} lacks {section}.{key}", help="add it to the system file, with its source"
            ) from None
        except ValueError:
            value = self.config[section][key]
            raise ProgramError(
                "CB0202", f"engine {self.name}: {section}.{key} is {value!r}", help="write a number as its value"
            ) from None

    def integer(self, section: str, key: str) -> int:
        """A whole number of the engine's table."""
        return round(self.number(section, key))


@dataclass(frozen=True)
class System:
    """A target: its engines, memories and links, with all numbers' origins in `quantities` by dotted path."""

    name: str
    title: str
    description: str
    engines: Mapping[str, EngineSpec]
    memories: Mapping[str, Mapping[str, Any]]
    links: tuple[Mapping[str, Any], ...]
    group: Mapping[str, Any]
    """What is multiplied when one is not enough (a chip, a device): `name`, and numbers that hold per group."""
    quantities: Mapping[str, Quantity]

    def memory_for(self, content: str) -> Mapping[str, Any] | None:
        """The memory that holds some content, such as "working" (activations and caches); numbers are per group."""
        return next((memory for memory in self.memories.values() if memory.get("holds") == content), None)

    def engine(self, kind: str) -> EngineSpec | None:
        """The first engine of a kind."""
        return next((engine for engine in self.engines.values() if engine.kind == kind), None)

    def as_config(self) -> dict[str, Any]:
        """Plain values, for a program's manifest."""
        return {
            "name": self.name,
            "title": self.title,
            "engines": {e.name: {"kind": e.kind, **e.config} for e in self.engines.values()},
            "memories": {name: dict(memory) for name, memory in self.memories.items()},
            "links": [dict(link) for link in self.links],
            "group": dict(self.group),
            "assumed": sorted(q.path for q in self.quantities.values() if q.basis == "assumed"),
        }


def _bad(where: str, message: str, help: str) -> ProgramError:
    return ProgramError("CB0201", message, where, help)


def _quantity(table: Mapping[str, Any], path: str, where: str) -> Quantity:
    for key in table:
        if key not in NUMBER_KEYS:
            raise _bad(where, f"{path}: unknown key {key!r}", suggestion(key, NUMBER_KEYS))
    bases = [basis for basis in ("source", "assumed", "calibrated") if basis in table]
    if len(bases) != 1 or "unit" not in table:
        raise _bad(
            where,
            f"{path}: a number needs a unit and exactly one of source, assumed, calibrated",
            'write { value = …, unit = "ns", source = "…" }',
        )
    for key in ("unit", bases[0]):
        if not isinstance(table[key], str) or not table[key]:
            raise _bad(where, f"{path}: {key} is no text", f'write {key} = "…"')
    return Quantity(table["value"], table["unit"], bases[0], table[bases[0]], path)


def _check_finite(quantities: Mapping[str, Quantity], where: str) -> None:
    """Refuse numbers that no memory, link or group has; an engine's numbers are its family's to judge."""
    for quantity in quantities.values():
        value = quantity.value
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise _bad(where, f"{quantity.path} is {value}", "give a number from 0 on")


def suggestion(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """A help line for an unknown word."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def _plain(node: Any, path: str, where: str, found: dict[str, Quantity]) -> Any:
    if isinstance(node, dict):
        table = cast("dict[str, Any]", node)
        if "value" in table:
            quantity = found[path] = _quantity(table, path, where)
            return quantity.value
        return {key: _plain(value, f"{path}.{key}", where, found) for key, value in table.items()}
    if isinstance(node, list):
        return [_plain(item, f"{path}[{i}]", where, found) for i, item in enumerate(cast("list[Any]", node))]
    if isinstance(node, bool | int | float) and not path.endswith(".description"):
        raise _bad(
            where, f"{path}: the number {node} has no unit and source", 'write { value = …, unit = "…", source = "…" }'
        )
    return node


def _tables(raw: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    """The [[key]] tables of a file, each with a name of its own."""
    tables = cast("object", raw.get(key, []))
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in cast("list[object]", tables)):
        raise _bad(where, f"{key!r} is no list of tables", f"write [[{key}]] above each")
    found = cast("list[Mapping[str, Any]]", tables)
    names = [table.get("name", table.get("kind")) for table in found]
    for name in names:
        if not isinstance(name, str):
            raise _bad(where, f"a table [[{key}]] has no name", 'add name = "…"')
        if names.count(name) > 1:
            raise _bad(where, f"two of [[{key}]] are called {name!r}", "give each its own name")
    return found


def _table(raw: Mapping[str, Any], key: str, where: str, found: dict[str, Quantity]) -> dict[str, Any]:
    if not isinstance(raw.get(key, {}), dict):
        raise _bad(where, f"{key!r} is no table", f"write [{key}] above its numbers")
    return cast("dict[str, Any]", _plain(raw.get(key, {}), key, where, found))


def read_system(text: str, where: str) -> System:
    """Parse a system file's text; ProgramError CB0201 names the place of what is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(where, f"not TOML: {error}", "see docs/systems.md for the form") from error
    for key in raw:
        if key not in TOP_KEYS:
            raise _bad(where, f"unknown key {key!r}", suggestion(key, TOP_KEYS))
    for key in ("name", "engine"):
        if key not in raw:
            raise _bad(where, f"{key!r} is missing", "see docs/systems.md for the form")
    for key in ("name", "title", "description"):
        if not isinstance(raw.get(key, ""), str):
            raise _bad(where, f"{key!r} is no text", f'write {key} = "…"')
    found: dict[str, Quantity] = {}
    engines: dict[str, EngineSpec] = {}
    for table in _tables(raw, "engine", where):
        name, kind = str(table.get("name", table.get("kind", ""))), str(table.get("kind", ""))
        if kind not in engine_kinds():
            raise _bad(where, f"engine {name!r}: unknown kind {kind!r}", suggestion(kind, engine_kinds()))
        sections = {key: value for key, value in table.items() if key not in ("name", "kind")}
        engines[name] = EngineSpec(name, kind, _plain(sections, name, where, found))
    beside: dict[str, Quantity] = {}
    memories: dict[str, Mapping[str, Any]] = {}
    for table in _tables(raw, "memory", where):
        for key in table:
            if key not in MEMORY_KEYS:
                raise _bad(where, f"memory {table['name']!r}: unknown key {key!r}", suggestion(key, MEMORY_KEYS))
        if "holds" in table and "capacity_bytes" not in table:
            raise _bad(where, f"memory {table['name']!r} has no capacity_bytes", "add it, with its unit and source")
        memories[table["name"]] = _plain(table, f"memory.{table['name']}", where, beside)
    links = tuple(_plain(table, f"link.{table['name']}", where, beside) for table in _tables(raw, "link", where))
    group = _table(raw, "group", where, beside)
    _table(raw, "area", where, beside)
    _check_finite(beside, where)
    if links:
        engines = {e.name: EngineSpec(e.name, e.kind, {**e.config, "links": list(links)}) for e in engines.values()}
    return System(
        str(raw["name"]), str(raw.get("title", raw["name"])), str(raw.get("description", "")),
        engines, memories, links, group, {**found, **beside},
    )  # fmt: skip


def engine_kinds() -> tuple[str, ...]:
    """The kinds of engines that installed families run."""
    return tuple(dict.fromkeys((*KINDS, *(entry.name for entry in entry_points(group="crossbank.backends")))))


def target_names() -> list[str]:
    """The targets that come with the package."""
    folder = resources.files("crossbank.backends") / "targets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


@lru_cache(maxsize=32)
def _load(name: str) -> System:
    return read_system(_text(name), f"{name}.toml")


def _text(name: str) -> str:
    return (resources.files("crossbank.backends") / "targets" / f"{name}.toml").read_text(encoding="utf-8")


def load_system(target: str | Path) -> System:
    """The system of a target's name, or of a .toml file; ProgramError CB0203 where there is none."""
    text = system_text(target)
    return read_system(text, str(target)) if str(target).endswith(".toml") else _load(str(target))


def system_text(target: str | Path) -> str:
    """The text of a target's system file; ProgramError CB0203 where there is none."""
    name = str(target)
    if not name.endswith(".toml"):
        if name not in target_names():
            raise ProgramError("CB0203", f"unknown target {name!r}", help=suggestion(name, target_names()))
        return _text(name)
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ProgramError(
            "CB0203", f"can't read system file {name}: {error.strerror}", help="give the path of a .toml"
        ) from error
    except UnicodeDecodeError as error:
        raise _bad(name, f"not TOML: {error.reason} at byte {error.start}", "save it as UTF-8") from error
