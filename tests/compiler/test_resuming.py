"""Every pass runs by itself on the dump of the one before, without the model, and gives the dump of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import crossbank
from crossbank.backends.system import system_text
from crossbank.compiler.driver import make_context
from crossbank.compiler.origin import check_progress
from crossbank.compiler.phases import PHASES, passes_of
from crossbank.compiler.resuming import apply_passes, parse_module, resume
from crossbank.runtime.program import ProgramError
from tests import zoo

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"
PASSES = [(phase, item.name) for phase in PHASES[1:-1] for item in passes_of(phase)]
MAPPING = [i for i, (phase, _) in enumerate(PASSES) if phase in ("split", "tile", "place", "schedule")]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory, target: str) -> list[Path]:
    folder = tmp_path_factory.mktemp(target)
    crossbank.compile(MODEL, target, context=32, max_batch=2, dump_ir=folder, quiet=True)
    return sorted(folder.glob("*.mlir"))


def check(dumps: list[Path], target: str, i: int) -> None:
    before, after = dumps[i], dumps[i + 1]
    phase, name = PASSES[i]
    assert after.name.split(".", 1)[1].startswith(f"{phase}.{name}.")
    assert apply_passes(before.read_text(), name, target, None, None, None, before) == after.read_text()


@pytest.mark.parametrize("i", MAPPING, ids=lambda i: PASSES[i][1])
@pytest.mark.parametrize("target", ["hermes", "aim"], scope="module")
def test_mapping_passes_run_alone(dumps: list[Path], target: str, i: int) -> None:
    check(dumps, target, i)


@pytest.mark.slow
@pytest.mark.parametrize("i", range(len(PASSES)), ids=lambda i: f"{i}-{PASSES[i][1]}")
@pytest.mark.parametrize("target", ["ideal", "hermes", "aim"], scope="module")
def test_passes_run_alone(dumps: list[Path], target: str, i: int) -> None:
    check(dumps, target, i)


@pytest.mark.parametrize("target", ["hermes"], scope="module")
def test_ir_is_resumed_for_the_capacity_it_was_made_for(dumps: list[Path], target: str) -> None:
    placed = next(file for file in reversed(dumps) if ".place." in file.name)
    given = {"weights": "auto", "chips": "auto", "max_batch": 2, "quiet": True}
    _, job = resume(MODEL, placed, "lower", target, context=None, **given)
    assert job.ctx.options.context == 32
    with pytest.raises(ProgramError, match=r"--context 32, not 64") as caught:
        resume(MODEL, placed, "lower", target, context=64, **given)
    assert caught.value.code == "CB0803"
    with pytest.raises(ProgramError, match=r"--max-batch 2, not 8"):
        resume(MODEL, placed, "lower", target, context=32, **{**given, "max_batch": 8})


@pytest.mark.parametrize("target", ["hermes"], scope="module")
def test_damage_beside_the_ir_is_named(dumps: list[Path], target: str, tmp_path: Path) -> None:
    folder = tmp_path / "ir"
    shutil.copytree(dumps[0].parent, folder)
    table, notes = next((folder / "tables").glob("*.npy")), folder / "tables" / "notes.json"
    given = {"context": None, "weights": "auto", "chips": "auto", "max_batch": 2, "quiet": True}
    placed = next(file.name for file in reversed(dumps) if ".place." in file.name)
    damages = [(table, content) for content in (b"", b"\x93NUMPY", b"PK\x03\x04")]
    damages += [(notes, content) for content in (b"{", b"[3]", b"\xff", b'{"retyped": 3}')]
    for path, content in damages:
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ProgramError) as caught:
            resume(MODEL, folder / placed, "lower", target, **given)
        assert caught.value.code == "CB0810"
        assert caught.value.where == str(path)
        path.write_bytes(kept)


OTHER = zoo.HERE / "ts17_kv_opt" / "model.onnx"


def resumed(dumps: list[Path], phase: str, target: str, model: Path = MODEL, done: str | None = None) -> None:
    """Resume at `phase` with the dump of the phase `done`, that before by default."""
    done = done or PHASES[PHASES.index(phase) - 1]
    last = next(file for file in reversed(dumps) if f".{done}" in file.name)
    resume(model, last, phase, target, context=32, max_batch=2, weights="auto", chips="auto", quiet=True)


@pytest.mark.parametrize("target", ["hermes"], scope="module")
@pytest.mark.parametrize("phase", PHASES[1:])
def test_only_the_same_model_goes_on(dumps: list[Path], target: str, phase: str) -> None:
    with pytest.raises(ProgramError, match="made of another model") as caught:
        resumed(dumps, phase, target, OTHER)
    assert caught.value.code == "CB0803"


@pytest.mark.parametrize("target", ["hermes"], scope="module")
@pytest.mark.parametrize("other", ["aim", "ideal"])
@pytest.mark.parametrize("phase", PHASES[3:7])
def test_only_the_same_target_goes_on_once_engines_are_assigned(
    dumps: list[Path], target: str, other: str, phase: str
) -> None:
    with pytest.raises(ProgramError, match=f"made for target hermes, not {other}") as caught:
        resumed(dumps, phase, other)
    assert caught.value.code == "CB0803"


@pytest.mark.parametrize("target", ["hermes"], scope="module")
def test_a_target_that_was_changed_in_between(dumps: list[Path], target: str, tmp_path: Path) -> None:
    changed = tmp_path / "changed.toml"
    changed.write_text(system_text("hermes").replace("arrays = { value = 64,", "arrays = { value = 32,"))
    with pytest.raises(ProgramError, match="made for hermes as it was then"):
        resumed(dumps, "place", str(changed))


@pytest.mark.parametrize("target", ["hermes", "aim"], scope="module")
def test_ir_of_another_phase_is_refused(dumps: list[Path], target: str) -> None:
    for done in PHASES[:-1]:
        ctx = make_context(target)
        last = next(file for file in reversed(dumps) if f".{done}" in file.name)
        module = parse_module(last.read_text(), ctx, str(last))
        for phase in PHASES[1:]:
            if done in ("import", "raise") and phase in ("raise", "assign"):
                continue  # raising what is raised changes nothing, and what is not raised still runs
            if PHASES.index(done) == PHASES.index(phase) - 1:
                check_progress(ctx, module, phase, last)
                continue
            with pytest.raises(ProgramError, match=r"has (not )?been through") as caught:
                check_progress(ctx, module, phase, last)
            assert caught.value.code == "CB0807"
    with pytest.raises(ProgramError, match="has been through schedule"):
        resumed(dumps, "raise", target, done="schedule")


@pytest.mark.parametrize("target", ["hermes"], scope="module")
def test_ir_without_its_notes_is_refused(dumps: list[Path], target: str, tmp_path: Path) -> None:
    last = next(file for file in reversed(dumps) if ".place." in file.name)
    alone = [tmp_path / last.name]
    alone[0].write_text(last.read_text())
    with pytest.raises(ProgramError, match="notes") as caught:
        resumed(alone, "lower", target)
    assert caught.value.code == "CB0810"


@pytest.mark.parametrize("target", ["hermes"], scope="module")
def test_passes_need_the_target_of_the_ir(dumps: list[Path], target: str) -> None:
    last = next(file for file in reversed(dumps) if ".split." in file.name)
    with pytest.raises(ProgramError, match="target ideal has no engine 'analog'") as caught:
        apply_passes(last.read_text(), "tile-weights", "ideal", None, None, None, last)
    assert caught.value.code == "CB0803"
