"""The files that a person names: what can't be read or written is their diagnostic, and nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

from crossbank.runtime.output_file import output_file
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
    with output_file(path) as file:
        file.write(text.encode())
