"""`target list`, `target show`."""

from __future__ import annotations

from typing import Annotated

import typer

from crossbank.compiler.cli.printing import put, put_json, table

app = typer.Typer(help="Look at targets.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """All targets that come with the package."""
    from crossbank.backends.system import load_system, target_names

    systems = [load_system(name) for name in target_names()]
    if as_json:
        put_json([{"name": s.name, "title": s.title, "engines": [e.kind for e in s.engines.values()]} for s in systems])
        return
    rows = [(s.name, ", ".join(dict.fromkeys(e.kind for e in s.engines.values())), s.title) for s in systems]
    put(table(rows, ("target", "engines", "title")))


@app.command("show")
def show_command(
    target: Annotated[str, typer.Argument(help="a target's name, or a system file")],
    as_json: Json = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="print the system file, to begin one of your own")] = False,
) -> None:
    """Every number of a target with its unit and where it comes from; checks the file as compiling does."""
    from crossbank.backends.system import load_system, system_text
    from crossbank.compiler.driver import make_context

    if as_toml:
        put(system_text(target).rstrip("\n"))
        return
    system = load_system(target)
    make_context(target)
    if as_json:
        put_json(system.as_config())
        return
    put(f"{system.name}: {system.title}\n\n{system.description.strip()}\n")
    rows = [(q.path, str(q.value), q.unit, q.basis, q.origin) for q in system.quantities.values()]
    put(table(rows, ("number", "value", "unit", "basis", "origin"), (1,)))
