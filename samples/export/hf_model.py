"""Exports a Hugging Face causal language model, from its folder on disk, with a KV cache.

    pip install transformers
    python samples/export/hf_model.py path/to/model model.onnx
    python samples/export/hf_model.py path/to/model model.onnx --dtype float16

It needs the extra `torch` and transformers 4.56 or later, and enough memory for the weights twice. The file has the
interface of `samples/tiny_llama/tiny_llama.onnx`; the weights go to `model.onnx.data` beside it. This covers decoders
whose every layer keeps all its keys and values (Llama, Mistral without a window, Qwen, Phi, GPT-2 and the like).

Optimum exports more kinds of models, by its own route:

    pip install "optimum[onnx]"
    optimum-cli export onnx --model path/to/model --task text-generation-with-past folder

and onnxruntime-genai's model builder writes graphs of fused operators (`GroupQueryAttention`, `RotaryEmbedding`):

    python -m onnxruntime_genai.models.builder -i path/to/model -o folder -p fp32 -e cpu
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

KeyValue = tuple[Tensor, Tensor]  # each (batch, kv_heads, positions, head_dim)


class WithCache(nn.Module):
    """A causal language model whose cache is a list of keys and values, which ONNX can pass in and out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past_key_values: list[KeyValue]
    ) -> tuple[Tensor, list[KeyValue]]:
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=DynamicCache(past_key_values),
            use_cache=True,
        )
        return result.logits, [(layer.keys, layer.values) for layer in result.past_key_values.layers]


def export_onnx(model: PreTrainedModel, path: Path, opset: int) -> None:
    """Export to `path`, the weights to `path` + ".data"."""
    batch, sequence, past = 2, 5, 3  # an example; none is 0 or 1, which torch.export would take for constants
    config = model.config
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    layers = config.num_hidden_layers
    cache = [
        tuple(torch.zeros(batch, kv_heads, past, head_dim, dtype=model.dtype) for _ in range(2)) for _ in range(layers)
    ]
    kinds = [(index, kind) for index in range(layers) for kind in ("key", "value")]
    torch.onnx.export(
        WithCache(model).eval(),
        kwargs={
            "input_ids": torch.zeros(batch, sequence, dtype=torch.int64),
            "attention_mask": torch.ones(batch, past + sequence, dtype=torch.int64),
            "position_ids": torch.arange(past, past + sequence).repeat(batch, 1),
            "past_key_values": cache,
        },
        f=path,
        input_names=["input_ids", "attention_mask", "position_ids"]
        + [f"past_key_values.{index}.{kind}" for index, kind in kinds],
        output_names=["logits"] + [f"present.{index}.{kind}" for index, kind in kinds],
        dynamic_shapes={
            "input_ids": {0: "batch", 1: "sequence"},
            "attention_mask": {0: "batch", 1: "past_sequence + sequence"},
            "position_ids": {0: "batch", 1: "sequence"},
            "past_key_values": [({0: "batch", 2: "past_sequence"},) * 2 for _ in cache],
        },
        opset_version=opset,
        dynamo=True,
        external_data=True,
        verbose=False,
    )


def main() -> None:
    """Load the folder that the command line names and export it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with config.json and the weights")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--opset", type=int, default=18)
    arguments = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=getattr(torch, arguments.dtype), attn_implementation="eager", local_files_only=True
    )
    with torch.no_grad():
        export_onnx(model, arguments.output, arguments.opset)
    print(f"{arguments.output}: {model.num_parameters() / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
