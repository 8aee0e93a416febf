"""Writes the ONNX graph of a large Llama without its weights, in seconds and without PyTorch.

    python samples/export/llama_shape.py llama-2-70b llama-2-70b.onnx
    python samples/export/llama_shape.py llama-2-7b llama-2-7b.onnx --dtype float16

The graph has the form of `samples/tiny_llama/tiny_llama.onnx`. Each weight is declared with its shape, type and place
in an external data file that is not there: enough to compile and to cost the model, not to run it.
"""

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10
TOTAL = "past_sequence + sequence"


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a Llama."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


# Touvron et al. 2023 (Llama 2) and Grattafiori et al. 2024 (Llama 3), with the vocabularies of the published models.
SHAPES = {
    "llama-2-7b": LlamaShape(layers=32, hidden=4096, heads=32, kv_heads=32, ffn=11008, vocab=32000),
    "llama-2-70b": LlamaShape(layers=80, hidden=8192, heads=64, kv_heads=8, ffn=28672, vocab=32000),
    "llama-3-8b": LlamaShape(
        layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256, rope_theta=500000.0
    ),
}


@dataclass
class GraphBuilder:
    """Nodes and initializers in the order in which they are made."""

    dtype: int
    data_file: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    data_bytes: int = 0

    @property
    def numpy_dtype(self) -> np.dtype:
        return helper.tensor_dtype_to_np_dtype(self.dtype)

    def node(self, op_type: str, name: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Append the node `name`; returns its output, called `name` too unless `output` says otherwise."""
        output = output or name
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        """Declare a weight in the external data file."""
        tensor = TensorProto(name=name, dims=shape, data_type=self.dtype, data_location=TensorProto.EXTERNAL)
        length = math.prod(shape) * self.numpy_dtype.itemsize
        for key, value in (("location", self.data_file), ("offset", self.data_bytes), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.data_bytes += length
        self.initializers[name] = tensor
        return name

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """A small constant inside the file; equal names are one constant."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def to_float32(self, name: str, x: str) -> str:
        return x if self.dtype == TensorProto.FLOAT else self.node("Cast", f"{name}/ToFloat", x, to=TensorProto.FLOAT)

    def to_dtype(self, name: str, x: str) -> str:
        return x if self.dtype == TensorProto.FLOAT else self.node("Cast", f"{name}/FromFloat", x, to=self.dtype)


@dataclass(frozen=True)
class Shared:
    """Values computed once, before the layers."""

    batch: str
    sequence: str
    total: str
    cos: str
    sin: str
    mask: str


def linear(build: GraphBuilder, name: str, x: str, in_features: int, out_features: int) -> str:
    """A linear layer without bias; the weight is (in_features, out_features)."""
    return build.node("MatMul", f"{name}/MatMul", x, build.weight(f"{name}.weight", in_features, out_features))


def rms_norm(build: GraphBuilder, name: str, x: str, shape: LlamaShape) -> str:
    """RMS norm in float32."""
    wide = build.to_float32(name, x)
    square = build.node("Pow", f"{name}/Pow", wide, build.constant("two", np.array(2.0, np.float32)))
    mean = build.node("ReduceMean", f"{name}/ReduceMean", square, build.ints(-1), keepdims=1)
    mean = build.node("Add", f"{name}/Add", mean, build.constant("norm_eps", np.array(shape.norm_eps, np.float32)))
    root = build.node("Sqrt", f"{name}/Sqrt", mean)
    scale = build.node("Reciprocal", f"{name}/Reciprocal", root)
    scaled = build.to_dtype(name, build.node("Mul", f"{name}/Mul", wide, scale))
    return build.node("Mul", f"{name}/Mul_1", build.weight(f"{name}.weight", shape.hidden), scaled)


def split_heads(build: GraphBuilder, name: str, x: str, shared: Shared, head_dim: int) -> str:
    """(batch, sequence, heads * head_dim) to (batch, heads, sequence, head_dim)."""
    sizes = build.node(
        "Concat", f"{name}/Concat", shared.batch, shared.sequence, build.ints(-1), build.ints(head_dim), axis=0
    )
    x = build.node("Reshape", f"{name}/Reshape", x, sizes, allowzero=1)
    return build.node("Transpose", f"{name}/Transpose", x, perm=[0, 2, 1, 3])


def rotate(build: GraphBuilder, name: str, x: str, shared: Shared, head_dim: int) -> str:
    """Apply the rotary position embedding."""
    half, last = build.ints(head_dim // 2), build.ints(np.iinfo(np.int64).max)
    axis, step = build.ints(3), build.ints(1)
    straight = build.node("Mul", f"{name}/Mul", x, shared.cos)
    upper = build.node("Slice", f"{name}/Slice", x, half, last, axis, step)
    upper = build.node("Neg", f"{name}/Neg", upper)
    lower = build.node("Slice", f"{name}/Slice_1", x, build.ints(0), half, axis, step)
    turned = build.node("Concat", f"{name}/Concat", upper, lower, axis=-1)
    turned = build.node("Mul", f"{name}/Mul_1", turned, shared.sin)
    return build.node("Add", f"{name}/Add", straight, turned)


def repeat_kv(build: GraphBuilder, name: str, x: str, shared: Shared, shape: LlamaShape) -> str:
    """Repeat each key or value head for the queries that share it."""
    if shape.heads == shape.kv_heads:
        return x
    x = build.node("Unsqueeze", f"{name}/Unsqueeze", x, build.ints(2))
    kv_heads, groups = build.ints(shape.kv_heads), build.ints(shape.heads // shape.kv_heads)
    tail = shared.total, build.ints(shape.head_dim)
    sizes = build.node("Concat", f"{name}/Concat", shared.batch, kv_heads, groups, *tail, axis=0)
    x = build.node("Expand", f"{name}/Expand", x, sizes)
    sizes = build.node("Concat", f"{name}/Concat_1", shared.batch, build.ints(shape.heads), *tail, axis=0)
    return build.node("Reshape", f"{name}/Reshape", x, sizes, allowzero=1)


def attention(build: GraphBuilder, name: str, index: int, x: str, shared: Shared, shape: LlamaShape) -> str:
    """Grouped-query attention over the cache of layer `index`."""
    kv_size = shape.kv_heads * shape.head_dim
    query, key, value = (
        split_heads(build, f"{name}/{kind}", linear(build, f"{name}.{kind}_proj", x, shape.hidden, size), shared,
                    shape.head_dim)
        for kind, size in (("q", shape.hidden), ("k", kv_size), ("v", kv_size))
    )  # fmt: skip
    query = rotate(build, f"{name}/rotary_q", query, shared, shape.head_dim)
    key = rotate(build, f"{name}/rotary_k", key, shared, shape.head_dim)
    key, value = (
        build.node("Concat", f"{name}/cache_{kind}/Concat", f"past_key_values.{index}.{kind}", x,
                   output=f"present.{index}.{kind}", axis=2)
        for kind, x in (("key", key), ("value", value))
    )  # fmt: skip
    key = repeat_kv(build, f"{name}/repeat_k", key, shared, shape)
    value = repeat_kv(build, f"{name}/repeat_v", value, shared, shape)

    key = build.node("Transpose", f"{name}/Transpose", key, perm=[0, 1, 3, 2])
    scores = build.node("MatMul", f"{name}/MatMul", query, key)
    scale = build.constant("attention_scale", np.array(shape.head_dim**-0.5, build.numpy_dtype))
    scores = build.node("Mul", f"{name}/Mul", scores, scale)
    scores = build.node("Add", f"{name}/Add", scores, shared.mask)
    weights = build.node("Softmax", f"{name}/Softmax", build.to_float32(name, scores), axis=-1)
    context = build.node("MatMul", f"{name}/MatMul_1", build.to_dtype(name, weights), value)
    context = build.node("Transpose", f"{name}/Transpose_1", context, perm=[0, 2, 1, 3])
    sizes = build.node("Concat", f"{name}/Concat", shared.batch, shared.sequence, build.ints(shape.hidden), axis=0)
    context = build.node("Reshape", f"{name}/Reshape", context, sizes, allowzero=1)
    return linear(build, f"{name}.o_proj", context, shape.hidden, shape.hidden)


def mlp(build: GraphBuilder, name: str, x: str, shape: LlamaShape) -> str:
    """The SwiGLU feed-forward network."""
    gate = linear(build, f"{name}.gate_proj", x, shape.hidden, shape.ffn)
    sigmoid = build.node("Sigmoid", f"{name}/act_fn/Sigmoid", gate)
    gate = build.node("Mul", f"{name}/act_fn/Mul", gate, sigmoid)
    up = linear(build, f"{name}.up_proj", x, shape.hidden, shape.ffn)
    gated = build.node("Mul", f"{name}/Mul", gate, up)
    return linear(build, f"{name}.down_proj", gated, shape.ffn, shape.hidden)


def causal_mask(build: GraphBuilder, sequence: str, total: str) -> str:
    """0 where a query may look and the lowest number elsewhere: (batch, 1, sequence, past_sequence + sequence)."""
    name = "model/mask"
    zero, one = build.constant("zero", np.array(0, np.int64)), build.constant("one", np.array(1, np.int64))
    sequence = build.node("Squeeze", f"{name}/Squeeze", sequence)
    total = build.node("Squeeze", f"{name}/Squeeze_1", total)
    keys = build.node("Range", f"{name}/Range", zero, total, one)
    queries = build.node("Range", f"{name}/Range_1", zero, sequence, one)
    queries = build.node("Add", f"{name}/Add", queries, build.node("Sub", f"{name}/Sub", total, sequence))
    keys = build.node("Unsqueeze", f"{name}/Unsqueeze", keys, build.ints(0))
    queries = build.node("Unsqueeze", f"{name}/Unsqueeze_1", queries, build.ints(1))
    causal = build.node("LessOrEqual", f"{name}/LessOrEqual", keys, queries)
    causal = build.node("Unsqueeze", f"{name}/Unsqueeze_2", causal, build.ints(0, 1))
    present = build.node("Cast", f"{name}/Cast", "attention_mask", to=TensorProto.BOOL)
    present = build.node("Unsqueeze", f"{name}/Unsqueeze_3", present, build.ints(1, 2))
    allowed = build.node("And", f"{name}/And", causal, present)
    lowest = np.finfo(build.numpy_dtype).min
    return build.node(
        "Where", f"{name}/Where", allowed,
        build.constant("mask_zero", np.array(0, build.numpy_dtype)),
        build.constant("mask_lowest", np.array(lowest, build.numpy_dtype)),
    )  # fmt: skip


def rotary(build: GraphBuilder, batch: str, shape: LlamaShape) -> tuple[str, str]:
    """Cosines and sines of the positions, each (batch, 1, sequence, head_dim)."""
    name = "model/rotary_emb"
    inv_freq = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2) / shape.head_dim)
    frequencies = build.constant("inv_freq", inv_freq.astype(np.float32)[None, :, None])
    sizes = build.node("Concat", f"{name}/Concat", batch, build.ints(1), build.ints(1), axis=0)
    frequencies = build.node("Expand", f"{name}/Expand", frequencies, sizes)
    positions = build.node("Unsqueeze", f"{name}/Unsqueeze", "position_ids", build.ints(1))
    positions = build.node("Cast", f"{name}/Cast", positions, to=TensorProto.FLOAT)
    angles = build.node("MatMul", f"{name}/MatMul", frequencies, positions)
    angles = build.node("Transpose", f"{name}/Transpose", angles, perm=[0, 2, 1])
    angles = build.node("Concat", f"{name}/Concat_1", angles, angles, axis=-1)
    cos, sin = (
        build.node(
            "Unsqueeze", f"{name}/{kind}/Unsqueeze",
            build.to_dtype(f"{name}/{kind}", build.node(kind, f"{name}/{kind}", angles)), build.ints(1),
        )
        for kind in ("Cos", "Sin")
    )  # fmt: skip
    return cos, sin


def llama_graph(shape: LlamaShape, dtype: int = TensorProto.FLOAT, data_file: str = "llama.data") -> onnx.ModelProto:
    """The whole model, with a KV cache; its weights are declared in `data_file`, which is not written."""
    build = GraphBuilder(dtype, data_file)
    batch = build.node("Shape", "model/batch/Shape", "input_ids", start=0, end=1)
    sequence = build.node("Shape", "model/sequence/Shape", "input_ids", start=1, end=2)
    total = build.node("Shape", "model/total/Shape", "attention_mask", start=1, end=2)
    mask = causal_mask(build, sequence, total)
    shared = Shared(batch, sequence, total, *rotary(build, batch, shape), mask)

    embeddings = build.weight("model.embed_tokens.weight", shape.vocab, shape.hidden)
    x = build.node("Gather", "model.embed_tokens/Gather", embeddings, "input_ids", axis=0)
    for index in range(shape.layers):
        name = f"model.layers.{index}"
        normed = rms_norm(build, f"{name}.input_layernorm", x, shape)
        attended = attention(build, f"{name}.self_attn", index, normed, shared, shape)
        x = build.node("Add", f"{name}/Add", x, attended)
        normed = rms_norm(build, f"{name}.post_attention_layernorm", x, shape)
        x = build.node("Add", f"{name}/Add_1", x, mlp(build, f"{name}.mlp", normed, shape))
    x = rms_norm(build, "model.norm", x, shape)
    head = build.weight("lm_head.weight", shape.hidden, shape.vocab)
    build.node("MatMul", "lm_head/MatMul", x, head, output="logits")

    def cache(prefix: str, positions: str) -> list[onnx.ValueInfoProto]:
        sizes = ["batch", shape.kv_heads, positions, shape.head_dim]
        names = [f"{prefix}.{index}.{kind}" for index in range(shape.layers) for kind in ("key", "value")]
        return [helper.make_tensor_value_info(name, dtype, sizes) for name in names]

    tokens = (("input_ids", "sequence"), ("attention_mask", TOTAL), ("position_ids", "sequence"))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", size]) for name, size in tokens]
    logits = helper.make_tensor_value_info("logits", dtype, ["batch", "sequence", shape.vocab])
    graph = helper.make_graph(
        build.nodes,
        "main_graph",
        inputs + cache("past_key_values", "past_sequence"),
        [logits, *cache("present", TOTAL)],
        list(build.initializers.values()),
    )
    return helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="crossbank llama_shape",
    )


def parameters(model: onnx.ModelProto) -> int:
    """How many weight elements the model declares."""
    tensors = model.graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL)


def main() -> None:
    """Write the graph that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    arguments = parser.parse_args()
    dtype = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[arguments.dtype]
    model = llama_graph(SHAPES[arguments.shape], dtype, f"{arguments.output.name}.data")
    onnx.save(model, arguments.output)
    print(f"{arguments.output}: {parameters(model) / 1e9:.2f} G parameters, {len(model.graph.node)} nodes")


if __name__ == "__main__":
    main()
