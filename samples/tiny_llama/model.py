"""A byte-level Llama in plain PyTorch, laid out and named like the usual Hugging Face one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

KeyValue = tuple[Tensor, Tensor]  # each (batch, kv_heads, positions, head_dim)


@dataclass(frozen=True)
class LlamaConfig:
    """Shapes of a Llama; the defaults are those of `tiny_llama.onnx`."""

    vocab: int = 256
    hidden: int = 160
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 40
    ffn: int = 432
    context: int = 512
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


class RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotary position embedding (Su et al., 2021), each (batch, sequence, head_dim)."""

    inv_freq: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self.register_buffer("inv_freq", config.rope_theta**-exponents, persistent=False)

    def forward(self, position_ids: Tensor) -> KeyValue:
        inv_freq = self.inv_freq[None, :, None].expand(position_ids.shape[0], -1, 1)
        angles = (inv_freq @ position_ids[:, None, :].float()).transpose(1, 2)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def rotate_half(x: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + head_dim / 2]) by a quarter."""
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """Repeat each key or value head `times` times: (batch, kv_heads, n, d) to (batch, kv_heads * times, n, d)."""
    batch, kv_heads, positions, head_dim = x.shape
    x = x[:, :, None, :, :].expand(batch, kv_heads, times, positions, head_dim)
    return x.reshape(batch, kv_heads * times, positions, head_dim)


class Attention(nn.Module):
    """Causal grouped-query attention over a cache of keys and values."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.groups = config.heads // config.kv_heads
        self.scale = config.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)

    def split_heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1, self.head_dim).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeyValue | None
                ) -> tuple[Tensor, KeyValue]:  # fmt: skip
        query, key, value = (self.split_heads(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        query = query * cos + rotate_half(query) * sin
        key = key * cos + rotate_half(key) * sin
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        present = key, value

        key, value = repeat_kv(key, self.groups), repeat_kv(value, self.groups)
        if mask is None:  # training: the fused kernel is several times faster
            context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            scores = query @ key.transpose(2, 3) * self.scale + mask
            context = functional.softmax(scores, dim=-1) @ value
        return self.o_proj(context.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)), present


class MLP(nn.Module):
    """The SwiGLU feed-forward network (Shazeer, 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn, bias=False)
        self.down_proj = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and feed-forward network, each after a norm and inside a residual."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeyValue | None
                ) -> tuple[Tensor, KeyValue]:  # fmt: skip
        attended, present = self.self_attn(self.input_layernorm(x), cos, sin, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class LlamaModel(nn.Module):
    """Embedding, decoder layers and final norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)
        self.rotary_emb = RotaryEmbedding(config)


def causal_mask(attention_mask: Tensor, sequence: int) -> Tensor:
    """What to add to the scores, (batch, 1, sequence, total): 0 where a query may look, the lowest float elsewhere."""
    total = attention_mask.shape[1]
    keys = torch.arange(total, device=attention_mask.device)
    queries = torch.arange(sequence, device=attention_mask.device) + (total - sequence)
    allowed = (keys[None, :] <= queries[:, None])[None, None] & attention_mask.bool()[:, None, None, :]
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)


class LlamaForCausalLM(nn.Module):
    """The language model: token ids and a cache in, logits of the next token and the longer cache out."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden, config.vocab, bias=False)
        deviation = 0.02 * (128 / config.hidden) ** 0.5 * 2
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=deviation / (2 * config.layers) ** 0.5 if residual else deviation)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: list[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run the tokens `input_ids` (batch, sequence) after a cache of `past_sequence` positions.

        Without `attention_mask` (batch, past_sequence + sequence) there must be no cache and no padding. Returns
        logits (batch, sequence, vocab) and per layer keys and values (batch, kv_heads, past_sequence + sequence,
        head_dim).
        """
        batch, sequence = input_ids.shape
        if position_ids is None:
            position_ids = torch.arange(sequence, device=input_ids.device).expand(batch, sequence)
        mask = None if attention_mask is None else causal_mask(attention_mask, sequence)
        cos, sin = (x.unsqueeze(1) for x in self.model.rotary_emb(position_ids))

        x = self.model.embed_tokens(input_ids)
        presents: list[KeyValue] = []
        for index, layer in enumerate(self.model.layers):
            x, present = layer(x, cos, sin, mask, None if past_key_values is None else past_key_values[index])
            presents.append(present)
        return self.lm_head(self.model.norm(x)), presents
