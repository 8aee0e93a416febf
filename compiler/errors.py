"""How errors of ours reach a person: a bundle and a command that replays it."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OUR_BUG = 70


def versions() -> dict[str, str]:
    """Versions of what takes part in a compilation."""
    found = {"python": platform.python_version()}
    for name in ("crossbank", "xdsl", "onnx", "onnx-ir", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_bundle(error: BaseException, ir: str = "") -> Path:
    """Write what is needed to look into an internal error to a new folder; gives the folder."""
    folder = Path(tempfile.mkdtemp(prefix="crossbank-crash-"))
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    (folder / "command.json").write_text(
        json.dumps({"argv": sys.argv, "versions": versions()}, indent=2), encoding="utf-8"
    )
    if ir:
        (folder / "module.mlir").write_text(ir, encoding="utf-8")
    return folder
