"""The text: the sources of Python's standard library, as found in the Python that runs this.

`python samples/tiny_llama/corpus.py` rewrites the two excerpts, `heldout.txt` and `calibration.txt`.
"""

import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
STDLIB = Path(sysconfig.get_path("stdlib"))
EXCLUDED_FOLDERS = {
    "__pycache__", "config", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages",
    "test", "tests", "turtledemo",
}  # fmt: skip
EXCLUDED_PACKAGES = {"encodings"}  # tables of code points


def heldout_files() -> list[Path]:
    """The modules that no training step sees, as listed in `heldout_modules.txt`."""
    return [STDLIB / name for name in (HERE / "heldout_modules.txt").read_text().split()]


def training_files() -> list[Path]:
    """All other modules, in alphabetical order."""
    heldout = set(heldout_files())
    return [
        path
        for path in sorted(STDLIB.rglob("*.py"))
        if path not in heldout
        and EXCLUDED_FOLDERS.isdisjoint(path.relative_to(STDLIB).parts)
        and path.relative_to(STDLIB).parts[0] not in EXCLUDED_PACKAGES
        and not path.name.startswith("_sysconfigdata")
    ]


def read(paths: list[Path]) -> bytes:
    """The bytes of the files, one after the other."""
    return b"".join(path.read_bytes() for path in paths)


def excerpt(paths: list[Path], bytes_each: int) -> bytes:
    """The middle of each file."""
    texts = [path.read_bytes() for path in paths]
    return b"".join(text[(len(text) - bytes_each) // 2 :][:bytes_each] for text in texts)


def main() -> None:
    """Write 4 KiB of each held-out module, and 1 KiB of each of 16 training modules."""
    (HERE / "heldout.txt").write_bytes(excerpt(heldout_files(), 4096))
    names = "ast bdb cmd codeop ftplib gzip imaplib inspect mailbox numbers pickle queue shlex socket typing zipfile"
    calibration = [path for path in training_files() if path.parent == STDLIB and path.stem in names.split()]
    (HERE / "calibration.txt").write_bytes(excerpt(calibration, 1024))


if __name__ == "__main__":
    main()
