"""Exports a model of GPT-2's shape with random weights: 124 M parameters, KV cache, weights beside the graph.

    python samples/export/gpt2_small.py gpt2-small.onnx
    python samples/export/gpt2_small.py gpt2-tiny.onnx --layers 2 --hidden 64 --heads 4 --vocab 500

It needs the extra `torch`. It is also the shortest example of how to export a model of your own: state which dimensions
are dynamic, name the inputs and outputs, and call `torch.onnx.export` with `dynamo=True`.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

KeyValue = tuple[Tensor, Tensor]  # each (batch, heads, positions, head_dim)


@dataclass(frozen=True)
class Gpt2Config:
    """Sizes of a GPT-2; the defaults are GPT-2 small (Radford et al., 2019)."""

    vocab: int = 50257
    positions: int = 1024
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


class Conv1D(nn.Module):
    """A linear layer with bias whose weight is (in_features, out_features), as GPT-2 has it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features) * 0.02)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], self.weight.shape[1])


def gelu_new(x: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks and Gimpel, 2016)."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Attention(nn.Module):
    """Causal multi-head attention over a cache of keys and values."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.c_attn = Conv1D(config.hidden, 3 * config.hidden)
        self.c_proj = Conv1D(config.hidden, config.hidden)

    def forward(self, x: Tensor, mask: Tensor, past: KeyValue) -> tuple[Tensor, KeyValue]:
        batch, sequence, hidden = x.shape
        query, key, value = (
            part.view(batch, sequence, -1, self.head_dim).transpose(1, 2)
            for part in self.c_attn(x).split(hidden, dim=2)
        )
        key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        scores = query @ key.transpose(2, 3) / math.sqrt(self.head_dim) + mask
        context = functional.softmax(scores, dim=-1) @ value
        return self.c_proj(context.transpose(1, 2).reshape(batch, sequence, hidden)), (key, value)


class MLP(nn.Module):
    """The feed-forward network, four times as wide inside."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(config.hidden, 4 * config.hidden)
        self.c_proj = Conv1D(4 * config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(gelu_new(self.c_fc(x)))


class Block(nn.Module):
    """Attention and feed-forward network, each after a layer norm and inside a residual."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden, config.norm_eps)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.hidden, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Tensor, past: KeyValue) -> tuple[Tensor, KeyValue]:
        attended, present = self.attn(self.ln_1(x), mask, past)
        x = x + attended
        return x + self.mlp(self.ln_2(x)), present


class Gpt2(nn.Module):
    """Token ids and a cache in; logits and the longer cache out. The head is the embedding, transposed."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab, config.hidden)
        self.wpe = nn.Embedding(config.positions, config.hidden)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.hidden, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden, config.vocab, bias=False)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.01)
        self.lm_head.weight = self.wte.weight

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past_key_values: list[KeyValue]
    ) -> tuple[Tensor, list[KeyValue]]:
        """Returns logits (batch, sequence, vocab) and per layer keys and values."""
        sequence, total = input_ids.shape[1], attention_mask.shape[1]
        queries = torch.arange(sequence, device=input_ids.device) + (total - sequence)
        causal = torch.arange(total, device=input_ids.device)[None, :] <= queries[:, None]
        allowed = causal[None, None] & attention_mask.bool()[:, None, None, :]
        mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)

        x = self.wte(input_ids) + self.wpe(position_ids)
        presents: list[KeyValue] = []
        for block, past in zip(self.h, past_key_values, strict=True):
            x, present = block(x, mask, past)
            presents.append(present)
        return self.lm_head(self.ln_f(x)), presents


def export_onnx(model: nn.Module, config: Gpt2Config, path: Path) -> None:
    """Export to `path` (opset 18), the weights to `path` + ".data"."""
    batch, sequence, past = 2, 5, 3  # an example; none is 0 or 1, which torch.export would take for constants
    cache = [
        tuple(torch.zeros(batch, config.heads, past, config.head_dim) for _ in range(2)) for _ in range(config.layers)
    ]
    kinds = [(index, kind) for index in range(config.layers) for kind in ("key", "value")]
    torch.onnx.export(
        model.eval(),
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
        opset_version=18,
        dynamo=True,
        external_data=True,
        verbose=False,
    )


def main() -> None:
    """Export what the command line asks for."""
    default = Gpt2Config()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    for name in ("layers", "hidden", "heads", "vocab", "positions"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    config = Gpt2Config(arguments.vocab, arguments.positions, arguments.hidden, arguments.layers, arguments.heads)
    model = Gpt2(config)
    export_onnx(model, config, arguments.output)
    print(f"{arguments.output}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
