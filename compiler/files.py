"""The files that a person names: what can't be read or written is their diagnostic, and nothing half-written stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from crossbank.runtime.program import ProgramError


def read_text(path: Path) -> str:
    """The text of a file; ProgramError CB0813 where it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProgramError("CB0813", f"can't read the file: {error.strerror}", str(path), "check the path") from error
    except UnicodeDecodeError as error:
        raise ProgramError(
            "CB0813", f"not a text file: {error.reason} at byte {error.start}", str(path), "save it as UTF-8"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; ProgramError CB0501 where that can't be."""
    write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file, which appears whole or not at all; ProgramError CB0501 where it can't be made."""
    check_folder(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        raise ProgramError(
            "CB0501", f"can't write {path.name}: {error.strerror}", str(path), "give another -o"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Refuse an output path whose folder is missing, or that is a folder, before any work is done."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ProgramError(
            "CB0501", f"there is no folder {folder} to write {path.name} into", help="make it, or give another -o"
        )
    if path.is_dir():
        raise ProgramError("CB0501", f"{path} is a folder", help=f"name a file in it: -o {path / 'program.cbk'}")
