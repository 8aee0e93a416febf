"""The driver: takes a model through the phases to a program, with dumps, stops and progress on the way."""

from __future__ import annotations

import gc
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.printer import Printer

from crossbank.backends.interface import Backend
from crossbank.backends.system import KINDS, System, load_system, suggestion
from crossbank.compiler.calibration import calibration_of, token_windows
from crossbank.compiler.errors import InternalError
from crossbank.compiler.origin import origin_of
from crossbank.compiler.phases import PHASES, passes_of
from crossbank.passes.context import CompileContext, CompileOptions
from crossbank.runtime.compiled import Program
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import Engine, ProgramError
from crossbank.runtime.registry import instruction_set, make_cost_unit

LIVE_OPS_LIMIT = 5000
DEFAULT_CONTEXT = 2048
MAX_CONTEXT, MAX_BATCH, MAX_TOKENS = 1 << 40, 1 << 20, 1 << 40
"""Whatever a token takes, sizes stay within 64 bits; programs address less."""
Progress = Callable[[str, float], None]
"""Called with a phase's name and the share of the work that is done, 0 to 1."""


def load_backends(system: System) -> dict[str, Backend]:
    """The families of a system's engines, by kind: each is an entry point of that name."""
    installed = {entry.name: entry for entry in entry_points(group="crossbank.backends")}
    found: dict[str, Backend] = {}
    for engine in system.engines.values():
        if engine.kind not in installed:
            raise ProgramError(
                "CB0206", f"no installed family runs engine {engine.name} of kind {engine.kind!r}", system.name,
                "install the package that brings it",
            )  # fmt: skip
        found[engine.kind] = installed[engine.kind].load()
    return found


@dataclass
class Compilation:
    """One run of the driver over a module, phase by phase."""

    ctx: CompileContext
    dump_folder: Path | None = None
    progress: Progress | None = None
    phases: dict[str, float] = field(default_factory=dict[str, float])
    live_ops_max: int = 0
    _dumped: int = 0
    _text: str = ""
    """What was dumped last: the IR before the next pass."""

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time a phase and report it."""
        if self.progress:
            self.progress(name, PHASES.index(name) / len(PHASES))
        start = time.perf_counter()
        yield
        self.phases[name] = time.perf_counter() - start

    def run_passes(self, module: ModuleOp, phase: str) -> None:
        """Run the passes of one phase, verifying after each and dumping where asked."""
        for item in passes_of(phase):
            with guarded(f"{phase}, pass {item.name}", module):
                item.apply(self.ctx, module)
                module.verify()
            self.count(module, item.name)
            if self.dump_folder:
                text = print_module(module)
                self.dump(f"{phase}.{item.name}" + ("" if text != self._text else ".unchanged"), text)

    def count(self, module: ModuleOp, where: str) -> None:
        """Keep the largest number of live operations; the size rule of the design is an error, not a hope."""
        live = sum(1 for _ in module.walk())
        self.live_ops_max = max(self.live_ops_max, live)
        self.ctx.notes["live_ops_max"] = self.live_ops_max  # for who resumes
        if live > LIVE_OPS_LIMIT:
            raise ProgramError(
                "CB0801",
                f"the model becomes {live} operations after {where}, at most {LIVE_OPS_LIMIT} are taken",
                self.ctx.model_name,
                "export the model with equal layers in sequence, so that they are found to repeat",
            )

    def dump(self, name: str, text: str) -> None:
        """Write one numbered file of IR; the first takes the files of an earlier dump away, lest they are mixed up."""
        assert self.dump_folder is not None
        try:
            self.dump_folder.mkdir(parents=True, exist_ok=True)
            for old in self.dump_folder.glob("[0-9][0-9].*.mlir") if not self._dumped else ():
                if old.name.split(".")[1] in PHASES:
                    old.unlink()
            (self.dump_folder / f"{self._dumped:02d}.{name}.mlir").write_text(text, encoding="utf-8")
            self.ctx.save_tables(self.dump_folder)
        except OSError as error:
            raise ProgramError(
                "CB0501", f"can't write IR: {error.strerror}", str(self.dump_folder), "give another --dump-ir"
            ) from error
        self._dumped += 1
        self._text = text


@contextmanager
def guarded(where: str, module: ModuleOp) -> Generator[None]:
    """What fails inside is a bug of ours, unless it is a diagnostic: InternalError keeps the IR as it is then."""
    try:
        yield
    except ProgramError:
        raise
    except Exception as error:
        try:
            ir = print_module(module)
        except Exception as unprintable:
            ir = f"// the module can't be printed: {unprintable}\n"
        raise InternalError(where, ir) from error


def print_module(module: ModuleOp) -> str:
    """The text of a module, as `crossbank opt` reads it back."""
    text = StringIO()
    Printer(stream=text, print_debuginfo=True).print_op(module)
    return text.getvalue() + "\n"


def make_context(target: str | Path, host: bool = True) -> CompileContext:
    """A context for a target's name or system file; `host` False leaves its host engines out."""
    system = load_system(target)
    if not host:
        system = replace(system, engines={k: v for k, v in system.engines.items() if v.kind != "host"})
    backends = load_backends(system)
    for engine in system.engines.values():
        try:
            make_cost_unit(Engine(engine.name, engine.kind, backends[engine.kind].isa.name, engine.config))
        except ProgramError as error:
            error.where = error.where or f"{target}, engine {engine.name} of kind {engine.kind}"
            raise
    return CompileContext(system, backends)


def groups_of(chips: int | Literal["auto"]) -> int | None:
    """The number of groups that `chips` asks for; None: as many as needed."""
    if chips == "auto":
        return None
    if chips < 1:
        raise ProgramError(
            "CB0802", f"--chips {chips}: at least 1 is needed", help="let the compiler choose: --chips auto"
        )
    return chips


OPTIONS = ("dump_ir", "progress", "quiet", "drift_compensation", "host")


def compile(
    model: str | Path,
    target: str | Path = "ideal",
    *,
    context: int | None = None,
    max_batch: int = 8,
    weights: Literal["auto", "shape-only"] = "auto",
    chips: int | Literal["auto"] = "auto",
    calibration: str | Path | np.ndarray[Any, Any] | None = None,
    **options: Any,
) -> Program:
    """Compile an ONNX model for a target and give the program; ProgramError says what stands in the way.

    `context` None takes the smallest limit that the model declares, else 2048, and prints it to stderr. `calibration`
    is a text file's path (bytes are the ids), or an integer array (sequences, tokens), for targets with converters.
    Further options: `dump_ir` (folder), `progress` (callable), `quiet`, `drift_compensation` (default True), `host`
    (default True: what no engine has instructions for may run in onnxruntime where the target has a host engine).
    """
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"compile() has no option {name!r}: {suggestion(name, OPTIONS)}")

    def run(extra: dict[str, Any], quiet: bool) -> tuple[ModuleOp, Compilation]:
        given: dict[str, Any] = {**options, "quiet": quiet}
        return compile_to_module(
            model, target, context=context, max_batch=max_batch, weights=weights, chips=chips,
            calibration=extra, **given,
        )  # fmt: skip

    return calibrated(run, calibration, bool(options.get("quiet", False)), options.get("progress"))


def calibrated(
    run: Callable[[dict[str, Any], bool], tuple[ModuleOp, Compilation]],
    calibration: str | Path | np.ndarray[Any, Any] | None,
    quiet: bool,
    progress: Progress | None,
) -> Program:
    """The program of what `run(ranges, quiet)` compiles; with a calibration, compiled again with what that gives."""
    if calibration is not None:
        token_windows(calibration, 1)
    program = finish(*run({}, quiet))
    if calibration is None:
        return program
    if progress is not None:
        progress("calibrate", 0.0)
    found = calibration_of(program, calibration)
    return finish(*run(found, True)) if found else program


def finish(module: ModuleOp, job: Compilation) -> Program:
    """Emit and verify a scheduled module."""
    from crossbank.passes.emit import check_shapes, emit

    with collection_paused(), job.phase("emit"), guarded("emit", module):
        code = emit(module, job.ctx)
        code.summary["live_ops_max"] = job.live_ops_max
        unused = {"nodes": 0, "macs": 0, "macs_expression": "0", "weight_bytes": 0}
        engines: dict[str, Any] = code.summary["engines"]
        code.summary["engines"] = {kind: engines.get(kind, unused) for kind in (*KINDS, *engines)}
        if any(instruction_set(engine.isa).calibrate for engine in code.engines.values()):
            code.summary["calibration"] = job.ctx.notes.get("calibration", "the weights' statistics")
        program = Program(code, job.ctx.tensors, job.phases)
        try:
            program.verify()
        except ProgramError as error:
            check_shapes(code, job.ctx.notes.get("dims", {}).get("unsolved", ()), job.ctx.model_name)
            raise InternalError(
                "emit: the program that was compiled doesn't pass its check", print_module(module)
            ) from error
    return program


@contextmanager
def collection_paused() -> Generator[None]:
    """No garbage collection inside: a compilation makes many objects and drops few."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def compile_to_module(
    model: str | Path,
    target: str | Path = "ideal",
    *,
    context: int | None = None,
    max_batch: int = 8,
    weights: Literal["auto", "shape-only"] = "auto",
    chips: int | Literal["auto"] = "auto",
    dump_ir: str | Path | None = None,
    stop_after: str | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
    drift_compensation: bool = True,
    host: bool = True,
    calibration: Mapping[str, Any] | None = None,
) -> tuple[ModuleOp, Compilation]:
    """Run the phases up to schedule (or `stop_after`); gives the module and the job with its context."""
    check_phase(stop_after)
    check_capacity(context, max_batch)
    from crossbank.compiler.frontend.convert import import_model

    ctx = make_context(target, host)
    ctx.options = CompileOptions(context, max_batch, groups_of(chips), extra={"drift_compensation": drift_compensation})
    note_calibration(ctx, calibration)
    ctx.model_name = Path(model).name
    job = Compilation(ctx, Path(dump_ir) if dump_ir else None, progress)
    with collection_paused():
        with job.phase("import"):
            module = import_model(Path(model), ctx, weights=weights)
            ctx.notes["origin"] = origin_of(ctx)
            module.verify()
            job.count(module, "import")
            if job.dump_folder:
                job.dump("import", print_module(module))
        if ctx.notes.get("weight_inputs") and not quiet:
            print(_about_weights(ctx.notes["weight_inputs"]), file=sys.stderr)
        run_phases(module, job, PHASES[1], stop_after, quiet)
    return module, job


def note_calibration(ctx: CompileContext, ranges: Mapping[str, Any] | None) -> None:
    """Give lowering the ranges that a sample gave, by instruction set."""
    ctx.options.extra = {**ctx.options.extra, "calibration": ranges or {}}
    ctx.notes.pop("calibration", None)
    if ranges:
        ctx.notes["calibration"] = "sample tokens"


def check_capacity(context: int | None, max_batch: int | None) -> None:
    """ProgramError CB0804 for capacities that no program has; None are those not given."""
    for name, value, most in (("--max-batch", max_batch, MAX_BATCH), ("--context", context, MAX_CONTEXT)):
        if value is not None and not 1 <= value <= most:
            bound = "at least 1 is needed" if value < 1 else f"at most {most} is taken"
            raise ProgramError("CB0804", f"{name} {value}: {bound}", help=f"leave {name} out for its default")


def check_phase(name: str | None) -> None:
    """ProgramError CB0803 for the name of no phase."""
    if name is not None and name not in PHASES:
        raise ProgramError("CB0803", f"no phase is called {name!r}", help=suggestion(name, PHASES))


def run_phases(module: ModuleOp, job: Compilation, first: str, stop_after: str | None, quiet: bool) -> None:
    """Run the phases from `first` up to schedule (or `stop_after`)."""
    last = min(PHASES.index(stop_after or PHASES[-2]), len(PHASES) - 2)
    chosen = False
    for i in range(PHASES.index(first), last + 1):
        if not chosen and i > PHASES.index("raise"):
            _choose_context(job.ctx, quiet)
            job.ctx.notes["capacity"] = {"context": job.ctx.options.context, "max_batch": job.ctx.options.max_batch}
            chosen = True
        with job.phase(PHASES[i]):
            job.run_passes(module, PHASES[i])


def _about_weights(names: Sequence[str]) -> str:
    few = ", ".join(names[:2]) + (" …" if len(names) > 2 else "")
    return (
        f"{len(names)} inputs of fixed size look like weights ({few}): put them beside the model as "
        "model.safetensors, or compile their shapes   --weights shape-only"
    )


def _declared(ctx: CompileContext) -> Iterator[int]:
    """The most tokens that each of the model's tables allows: "past + seq + 2" within 130 allows 128."""
    dims = ctx.notes.get("dims", {})
    roles: dict[str, str] = dims.get("roles", {})
    for text, limit in dims.get("limits", {}).items():
        length = Expr.of(text)
        if length.symbols and roles.get("batch") not in length.symbols:
            fits = partial(_fits, length, limit, roles.get("past"))
            yield bisect_left(range(MAX_CONTEXT), True, lo=1, key=lambda tokens: not fits(tokens + 1))


def _fits(length: Expr, limit: int, past: str | None, tokens: int) -> bool:
    """Whether a length is within a limit for so many tokens, all of them new or all but one."""
    corners = [dict.fromkeys(length.symbols, tokens)]
    if past in length.symbols:
        corners = [dict.fromkeys(length.symbols, new) | {past: tokens - new} for new in (1, tokens)]
    return all(length.substitute(corner).constant <= limit for corner in corners)


def _choose_context(ctx: CompileContext, quiet: bool) -> None:
    declared = list(_declared(ctx))
    asked = ctx.options.context
    if asked is None:
        ctx.options.context = min(declared, default=DEFAULT_CONTEXT)
        if not quiet:
            origin = "the smallest limit that the model declares" if declared else "the model declares no limit"
            print(f"context {ctx.options.context} ({origin})", file=sys.stderr)
    elif declared and asked > min(declared):
        raise ProgramError(
            "CB0805",
            f"context {asked} exceeds {min(declared)}, the length of the model's position table",
            ctx.model_name,
            f"compile with --context {min(declared)} or less",
        )
    context, batch = ctx.options.context, ctx.options.max_batch
    if context is not None and context * batch > MAX_TOKENS:
        raise ProgramError(
            "CB0804", f"--context {context} and --max-batch {batch} are {context * batch} tokens, at most {MAX_TOKENS} "
            "are taken", help="give less of either",
        )  # fmt: skip
