"""IR from text: run passes on it, or resume a compilation from where a dump left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.passes import ModulePass, PassPipeline
from xdsl.utils.arg_spec import parse_pipeline
from xdsl.utils.exceptions import ArgSpecParseError, ParseError, PassFailedException, VerifyException

from crossbank.backends.system import suggestion
from crossbank.compiler.driver import (
    Compilation,
    Progress,
    check_capacity,
    check_phase,
    groups_of,
    guarded,
    make_context,
    note_calibration,
    print_module,
    run_phases,
)
from crossbank.compiler.files import read_text
from crossbank.compiler.origin import check_engines, check_origin, check_progress, origin_of
from crossbank.compiler.phases import PHASES, all_passes, passes_of
from crossbank.dialects import load_dialects
from crossbank.dialects.imc import WeightOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.context import CompileContext, CompileOptions
from crossbank.runtime.program import ProgramError
from crossbank.runtime.tensors import TensorEntry

DEFAULT_BATCH = 8


def parse_module(text: str, ctx: CompileContext, where: str) -> ModuleOp:
    """The module of a text; ProgramError CB0808 says where it is wrong."""
    ctx.load_dialect(Builtin)
    ctx.load_dialect(Func)
    load_dialects(ctx)
    for backend in ctx.backends.values():
        ctx.load_dialect(_dialect(backend.isa))
    try:
        module = Parser(ctx, text, where).parse_module()
        module.verify()
    except (ParseError, VerifyException) as error:
        raise ProgramError(
            "CB0808", f"not valid IR: {error}", where, "take IR from --dump-ir or --stop-after"
        ) from error
    return module


def _dialect(isa: Any) -> Any:
    from crossbank.dialects.instructions import dialect_of

    return dialect_of(isa)


def _prepare(
    target: str | Path, model: Path | None, context: int | None, max_batch: int | None, **arguments: Any
) -> CompileContext:
    check_capacity(context, max_batch)
    ctx = make_context(target)
    ctx.options = CompileOptions(context, max_batch or DEFAULT_BATCH, groups=arguments.get("groups"))
    if model is not None:
        from crossbank.compiler.frontend.convert import import_model

        ctx.model_name = model.name
        import_model(model, ctx, weights=arguments.get("weights", "auto"))
    return ctx


def apply_passes(
    text: str,
    passes: str,
    target: str | Path,
    model: Path | None,
    context: int | None,
    max_batch: int | None,
    where: Path,
) -> str:
    """Run named passes on the text of a module and give the text of the result.

    Without the model weights have types and no values. `context` and
    `max_batch` None are those that the IR was dumped with.
    """
    known = all_passes()
    ctx = _prepare(target, model, context, max_batch)
    module = parse_module(text, ctx, str(where))
    _restore_tables(ctx, where)
    noted = ctx.notes.get("capacity", {})
    ctx.options.context = context or noted.get("context")
    ctx.options.max_batch = max_batch or noted.get("max_batch", DEFAULT_BATCH)
    _declare_weights(ctx, module)
    if passes:
        check_engines(ctx, module, where)
    for item in pipeline(passes, known):
        with guarded(f"pass {item.name}", module):
            try:
                item.apply(ctx, module)
            except PassFailedException as error:
                raise ProgramError(
                    "CB0809", f"pass {item.name} can't be applied: {error}", str(where), "dump IR anew"
                ) from error
            module.verify()
    return print_module(module)


def _declare_weights(ctx: CompileContext, module: ModuleOp) -> None:
    """Give tensors that the IR names, and no model is there to hold, the shapes that the IR says."""
    for op in module.body.block.ops:
        if isinstance(op, WeightOp):
            shape = tuple(dim.constant for dim in shape_of(op.type))
            for name in (entry.data for entry in op.tensors if entry.data not in ctx.tensors):
                ctx.tensors.declare(name, TensorEntry(dtype_of(op.type), shape, None))


def _restore_tables(ctx: CompileContext, where: Path) -> None:
    if (where.parent / "tables").is_dir():
        ctx.load_tables(where.parent)


def pipeline(text: str, known: dict[str, type[ModulePass]]) -> tuple[ModulePass, ...]:
    """The passes of a text such as "a,b{option=1}"; ProgramError CB0809 for one that is none."""
    if not text:
        return ()
    try:
        specs = list(parse_pipeline(text))
    except ArgSpecParseError as error:
        raise ProgramError("CB0809", f"can't read passes {text!r}: {error}", help="write a,b{option=1},c") from error
    items: list[ModulePass] = []
    for spec in specs:
        if spec.name not in known:
            raise ProgramError("CB0809", f"no pass is called {spec.name!r}", help=suggestion(spec.name, list(known)))
        try:
            items.append(known[spec.name].from_spec(spec))
        except (PassFailedException, ValueError, TypeError) as error:
            raise ProgramError(
                "CB0809", f"pass {spec.name}: {error}", help="crossbank opt --list shows the options"
            ) from error
    PassPipeline(tuple(items))
    return tuple(items)


def pass_list() -> str:
    """Every pass with its options and first line of documentation."""
    from dataclasses import fields

    lines: list[str] = []
    for name, kind in all_passes().items():
        options = "".join(f" {f.name}={f.default}" for f in fields(kind))  # pyright: ignore[reportArgumentType]
        lines.append(
            f"{name:28}{(kind.__doc__ or '').strip().splitlines()[0]}{'  {' + options.strip() + '}' if options else ''}"
        )
    return "\n".join(lines)


def starting_point(start: str, ir: Path | None, dumps: Path | None) -> tuple[str, Path]:
    """The first phase to run and the file with the IR before it.

    `start` is a file of --dump-ir (whose name says what it holds), or a phase: its IR is `ir`, or lies in `dumps`.
    """
    if start in PHASES[1:]:
        if ir is not None:
            return start, ir
        if dumps is None:
            raise ProgramError(
                "CB0807", "--from PHASE needs the IR to start with",
                help="add --ir FILE, or --dump-ir FOLDER that an earlier compilation wrote",
            )  # fmt: skip
        before = [path for name in PHASES[: PHASES.index(start)] for path in sorted(dumps.glob(f"[0-9]*.{name}*.mlir"))]
        if not before:
            raise ProgramError(
                "CB0807", f"no file of a phase before {start}", str(dumps), "compile with --dump-ir first"
            )
        return start, before[-1]
    path = Path(start)
    if not path.suffix:
        raise ProgramError("CB0803", f"can't resume from {start!r}", help=suggestion(start, PHASES[1:]))
    done = path.name.split(".")[1:2]
    if not done or done[0] not in PHASES[:-2]:
        raise ProgramError(
            "CB0807",
            "the name of the file doesn't say which phase comes next",
            str(path),
            "give --from PHASE --ir FILE",
        )
    last = passes_of(done[0])[-1].name if done[0] != "import" else ""
    if last and not path.name.split(".", 2)[2].startswith(last):
        raise ProgramError(
            "CB0807",
            f"the file is from the middle of phase {done[0]}",
            str(path),
            f"resume after its last pass, {last}",
        )
    return PHASES[PHASES.index(done[0]) + 1], path


def _keep_capacity(ctx: CompileContext, phase: str, ir: Path) -> None:
    """Go on with the capacity that the IR was made for; ProgramError CB0803 where another is asked for too late."""
    noted: dict[str, int] = ctx.notes.get("capacity", {})
    ctx.options.context = ctx.options.context or noted.get("context")
    if PHASES.index(phase) <= PHASES.index("assign"):
        return
    for name, value in noted.items():
        asked = getattr(ctx.options, name)
        if asked != value:
            option = f"--{name.replace('_', '-')}"
            raise ProgramError(
                "CB0803", f"the IR was made for {option} {value}, not {asked}", str(ir),
                f"resume with {option} {value}, or from assign or before",
            )  # fmt: skip


def resume(
    model: Path,
    ir: Path,
    phase: str,
    target: str | Path,
    *,
    stop_after: str | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
    calibration: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> tuple[ModuleOp, Compilation]:
    """Go on from the IR of an earlier phase up to schedule (or `stop_after`); `phase` is the first one to run."""
    if phase not in PHASES[1:]:
        raise ProgramError("CB0803", f"can't resume from {phase!r}", help=suggestion(phase, PHASES[1:]))
    check_phase(stop_after)
    if stop_after is not None and PHASES.index(stop_after) < PHASES.index(phase):
        raise ProgramError(
            "CB0803", f"--stop-after {stop_after} is before --from {phase}", help=f"stop after {phase} or later"
        )
    if calibration and PHASES.index(phase) > PHASES.index("lower"):
        raise ProgramError(
            "CB0803", f"--from {phase} is behind lower, which takes the ranges of --calibration",
            help="resume from lower or before",
        )  # fmt: skip
    groups = groups_of(arguments["chips"])
    ctx = _prepare(
        target, model, arguments["context"], arguments["max_batch"], weights=arguments["weights"], groups=groups
    )
    module = parse_module(read_text(ir), ctx, str(ir))
    now = origin_of(ctx)
    if phase != "raise":  # what raising notes would be noted twice; importing has made the tables that it needs
        _restore_tables(ctx, ir)
    check_progress(ctx, module, phase, ir)
    check_origin(ctx, module, now, phase, ir)
    check_engines(ctx, module, ir)
    ctx.notes["origin"] = now
    if phase != "raise":
        _keep_capacity(ctx, phase, ir)
    if PHASES.index(phase) <= PHASES.index("lower"):
        note_calibration(ctx, calibration)
    job = Compilation(ctx, progress=progress)
    job.live_ops_max = int(ctx.notes.get("live_ops_max", 0))
    job.count(module, f"the phases before {phase}")
    run_phases(module, job, phase, stop_after, quiet)
    return module, job
