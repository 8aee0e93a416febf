"""Feeds of decoder models by the names that exporters give their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def step_feeds(inputs: Sequence[Any], ids: NDArray[np.int64], past: Mapping[str, Array]) -> dict[str, Array]:
    """What one step takes: ids (batch, tokens) after `past`, caches by input name (none for an empty cache).

    `inputs` are those of an onnxruntime session: input_ids, attention_mask, position_ids and caches of four axes.
    """
    batch, tokens = ids.shape
    before = next(iter(past.values())).shape[2] if past else 0
    feeds: dict[str, Array] = {}
    for entry in inputs:
        if entry.name == "input_ids":
            feeds[entry.name] = ids
        elif entry.name == "attention_mask":
            feeds[entry.name] = np.ones((batch, before + tokens), np.int64)
        elif entry.name == "position_ids":
            feeds[entry.name] = np.tile(np.arange(before, before + tokens), (batch, 1))
        else:
            feeds[entry.name] = past.get(entry.name, np.zeros((batch, entry.shape[1], 0, entry.shape[3]), np.float32))
    return feeds


def next_past(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The caches of the next step from this one's outputs: present.0.key becomes past_key_values.0.key."""
    return {
        name.replace("present", "past_key_values", 1): value
        for name, value in outputs.items()
        if name.startswith("present")
    }


def relative_error(found: Array, expected: Array) -> float:
    """Largest absolute difference over largest absolute reference; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    wide = expected.astype(np.float64)
    difference = np.abs(found.astype(np.float64) - wide).max(initial=0.0)
    return float(difference / (np.abs(wide).max(initial=0.0) or 1.0))
