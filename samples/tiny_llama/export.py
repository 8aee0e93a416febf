"""Writes a Llama as one ONNX file with a KV cache and dynamic batch, sequence and past length."""

from pathlib import Path

import onnx
import torch
from model import LlamaForCausalLM

TOTAL = "past_sequence + sequence"


def export_onnx(model: LlamaForCausalLM, path: Path) -> None:
    """Export `model` to `path`, weights inside (opset 18)."""
    config = model.config
    batch, sequence, past = 2, 5, 3  # an example; none is 0 or 1, which torch.export would take for constants
    cache = [
        tuple(torch.zeros(batch, config.kv_heads, past, config.head_dim) for _ in range(2))
        for _ in range(config.layers)
    ]
    inputs = {
        "input_ids": torch.zeros(batch, sequence, dtype=torch.int64),
        "attention_mask": torch.ones(batch, past + sequence, dtype=torch.int64),
        "position_ids": torch.arange(past, past + sequence).expand(batch, sequence).contiguous(),
        "past_key_values": cache,
    }
    dynamic_shapes = {
        "input_ids": {0: "batch", 1: "sequence"},
        "attention_mask": {0: "batch", 1: TOTAL},
        "position_ids": {0: "batch", 1: "sequence"},
        "past_key_values": [({0: "batch", 2: "past_sequence"},) * 2 for _ in cache],
    }
    kinds = [(index, kind) for index in range(config.layers) for kind in ("key", "value")]
    torch.onnx.export(
        model.eval(),
        kwargs=inputs,
        f=path,
        input_names=["input_ids", "attention_mask", "position_ids"]
        + [f"past_key_values.{index}.{kind}" for index, kind in kinds],
        output_names=["logits"] + [f"present.{index}.{kind}" for index, kind in kinds],
        dynamic_shapes=dynamic_shapes,
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    exported = onnx.load(path)
    tidy(exported)
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def tidy(exported: onnx.ModelProto) -> None:
    """Give the total length one name, and drop the stack traces: they hold the exporting machine's paths."""
    for value in (*exported.graph.value_info, *exported.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "sequence + past_sequence":
                dim.dim_param = TOTAL
    for node in exported.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
