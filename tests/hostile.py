"""Programs made wrong on purpose: a `.cbk` taken apart, changed, and put together with hashes that fit."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.json"
Members = dict[str, bytes]


def members(path: Path) -> Members:
    """The members of a program file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    """Put members together again; the manifest gets the hashes that they have now."""
    manifest = json.loads(parts[MANIFEST])
    if isinstance(manifest, dict) and isinstance(manifest.get("hashes"), dict):
        manifest["hashes"] = {n: hashlib.sha256(parts[n]).hexdigest() for n in manifest["hashes"] if n in parts}
        parts = {**parts, MANIFEST: json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def with_manifest(parts: Members, change: Callable[[Any], None]) -> Members:
    """The members after `change` of the manifest's value, in place."""
    manifest = json.loads(parts[MANIFEST])
    change(manifest)
    return {**parts, MANIFEST: json.dumps(manifest).encode()}


def with_array(parts: Members, name: str, change: Callable[[NDArray[Any]], None]) -> Members:
    """The members after `change` of the array in a member, in place."""
    array = np.load(io.BytesIO(parts[name]))
    change(array)
    buffer = io.BytesIO()
    np.save(buffer, array)
    return {**parts, name: buffer.getvalue()}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    """Replace the value at a path; `new` may be a function of the old one."""
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new(value[path[-1]]) if callable(new) else new
