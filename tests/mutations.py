"""Models made wrong at random: mutated pieces of the small zoo, and single nodes that nobody would write.

Case `number` of a seed is the same in every run and process, for the same folders of models.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

INTEGERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    16,
    127,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    1 << 40,
    1 << 60,
    (1 << 63) - 1,
    -(1 << 63),
)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    "x",
    "Add",
    "If",
    "ai.onnx",
    "com.microsoft",
    "\0",
    "é" * 300,
    "a/../../b",
    "batch",
    "-1",
    "1" * 400,
    "2**9**9",
)
TYPES = tuple(TensorProto.DataType.values())


def case(seed: int, number: int, *folders: Path) -> bytes:
    """The bytes of one hostile file, made of the models in some folders."""
    r = random.Random(f"{seed} {number}")
    kind = r.random()
    if kind < 0.35:
        return strange_node(r).SerializeToString()
    model = piece(r.choice(zoo(*folders)), r)
    if kind < 0.85:
        for _ in range(1 + int(r.expovariate(0.7))):
            r.choice(MUTATIONS)(model, r)
        return model.SerializeToString()
    return damaged(model.SerializeToString(), r)


# ------------------------------------------------------------------ the zoo


@cache
def zoo(*folders: Path) -> tuple[onnx.ModelProto, ...]:
    """The models in some folders, read once."""
    return tuple(onnx.load(path) for folder in folders for path in sorted(folder.glob("*/model.onnx")))


def piece(model: onnx.ModelProto, r: random.Random) -> onnx.ModelProto:
    """Some consecutive nodes of a model from its inputs on, with what they read; at times all."""
    size = len(model.graph.node)
    count = size if r.random() < 0.02 else min(size, 1 + int(r.expovariate(1 / 30)))
    nodes = model.graph.node[:count]
    read = {name for node in nodes for name in node.input}
    made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    made.graph.name = "piece"
    made.graph.node.extend(nodes)
    made.graph.input.extend(port for port in model.graph.input)
    made.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    used = [name for node in nodes[-3:] for name in node.output if name]
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in used)
    return made


# ----------------------------------------------------------------- mutations


def messages(message: Message) -> list[Message]:
    """A message and all within it."""
    found: list[Message] = [message]
    for message in found:
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                found += [value] if isinstance(value, Message) else value
    return found


def change_a_field(model: onnx.ModelProto, r: random.Random) -> None:
    """Give any field of any message another value, an element more, one less, or none."""
    message = r.choice(messages(model))
    field = r.choice(message.DESCRIPTOR.fields)
    values = getattr(message, field.name)
    if hasattr(values, "extend"):
        action = r.random()
        if len(values) and action < 0.3:
            del values[r.randrange(len(values))]
        elif len(values) and action < 0.5:
            values.extend([values[r.randrange(len(values))]] * r.choice((1, 1, 2, 50)))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            values.add()
        elif len(values) and action < 0.8:
            values[r.randrange(len(values))] = scalar(field, model, r)
        else:
            values.append(scalar(field, model, r))
    elif r.random() < 0.25:
        message.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, scalar(field, model, r))


def scalar(field: FieldDescriptor, model: onnx.ModelProto, r: random.Random) -> Any:
    """A value that fits a field's type and little else."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_INT32:
            return r.choice([n for n in INTEGERS if -(1 << 31) <= n < 1 << 31] + list(TYPES))
        case FieldDescriptor.CPPTYPE_INT64:
            return r.choice(INTEGERS)
        case FieldDescriptor.CPPTYPE_UINT64:
            return r.choice([n for n in INTEGERS if n >= 0])
        case FieldDescriptor.CPPTYPE_ENUM:
            return r.choice([value.number for value in field.enum_type.values])
        case FieldDescriptor.CPPTYPE_STRING:
            text = r.choice(TEXTS) if r.random() < 0.5 else some_name(model, r)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case _:
            return r.choice(FLOATS)


def some_name(model: onnx.ModelProto, r: random.Random) -> str:
    """The name of a value or operator of the model."""
    if not model.graph.node:
        return "x"
    node = r.choice(model.graph.node)
    return r.choice([*node.input, *node.output, node.op_type, node.name])


def rewire(model: onnx.ModelProto, r: random.Random) -> None:
    """Let a node read another value: one of its own, a later one, an earlier one, nothing."""
    nodes = [node for node in model.graph.node if node.input]
    if nodes:
        node = r.choice(nodes)
        node.input[r.randrange(len(node.input))] = r.choice(["", some_name(model, r), *node.output])


def swap_operator(model: onnx.ModelProto, r: random.Random) -> None:
    """Make a node another operator."""
    if model.graph.node:
        r.choice(model.graph.node).op_type = r.choice(operators()).name


def twist_a_dimension(model: onnx.ModelProto, r: random.Random) -> None:
    """Declare another size of an input or of a tensor."""
    ports = [d for port in model.graph.input for d in port.type.tensor_type.shape.dim]
    if ports and r.random() < 0.6:
        dim = r.choice(ports)
        if r.random() < 0.5:
            dim.dim_value = r.choice(INTEGERS)
        else:
            dim.dim_param = r.choice((*TEXTS, "batch_size", "2*batch_size", "batch_size // 0", "a" * 5000))
    elif model.graph.initializer:
        tensor = r.choice(model.graph.initializer)
        tensor.dims.append(r.choice(INTEGERS)) if r.random() < 0.5 else tensor.ClearField("dims")


def reorder(model: onnx.ModelProto, r: random.Random) -> None:
    """Shuffle the nodes."""
    nodes = list(model.graph.node)
    r.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def new_opset(model: onnx.ModelProto, r: random.Random) -> None:
    """State another opset version."""
    if model.opset_import:
        r.choice(model.opset_import).version = r.choice((1, 5, 7, 11, 13, 18, 23, 25, 1 << 40, 0, -3))


MUTATIONS: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    *[change_a_field] * 3, rewire, rewire, swap_operator, twist_a_dimension, reorder, new_opset,
)  # fmt: skip


def damaged(data: bytes, r: random.Random) -> bytes:
    """Bytes flipped, cut off, taken out, doubled or put in."""
    content = bytearray(data)
    for _ in range(1 + int(r.expovariate(0.5))):
        at = r.randrange(len(content) + 1)
        length = min(len(content) - at, 1 + int(r.expovariate(0.05)))
        match r.randrange(5):
            case 0 if at < len(content):
                content[at] = r.randrange(256)
            case 1:
                del content[at:]
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length]
            case _:
                content[at:at] = r.randbytes(length)
    return bytes(content)


# -------------------------------------------------------------- strange nodes


@cache
def operators() -> tuple[Any, ...]:
    """The newest schemas of ai.onnx and of its history, each version once."""
    return tuple(schema for schema in defs.get_all_schemas_with_history() if schema.domain == "")


def strange_node(r: random.Random) -> onnx.ModelProto:
    """A node of any operator with inputs, constants and attributes of any form."""
    schema = r.choice(operators())
    least, most = schema.min_input, min(schema.max_input, schema.min_input + 3, 8)
    count = r.randint(least, max(least, most)) if r.random() < 0.95 else r.randrange(9)
    graph = onnx.GraphProto(name="node")
    names: list[str] = []
    dtype = r.choice(TYPES)
    for i in range(count):
        name = "" if r.random() < 0.05 else f"i{i}"
        names.append(name)
        kind = dtype if r.random() < 0.6 else r.choice((TensorProto.FLOAT, TensorProto.INT64, *TYPES))
        shape = [
            r.choice((0, 1, 1, 2, 3, 4, 5, r.choice(INTEGERS), "n", "m"))
            for _ in range(r.choice((0, 1, 1, 2, 2, 3, 4, 5)))
        ]
        if name and r.random() < 0.5:
            graph.initializer.append(small_tensor(name, r))
        elif name:
            graph.input.append(port(name, kind, shape))
    node = graph.node.add(op_type=schema.op_type if hasattr(schema, "op_type") else schema.name)
    node.input.extend(names)
    outputs = r.randint(schema.min_output, max(schema.min_output, min(schema.max_output, schema.min_output + 2)))
    node.output.extend(f"o{i}" for i in range(outputs))
    for name, attribute in schema.attributes.items():
        if attribute.required or r.random() < 0.5:
            node.attribute.append(strange_attribute(name, attribute.type.value, r))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output)
    model = helper.make_model(
        graph, opset_imports=[onnx.OperatorSetIdProto(version=r.choice((schema.since_version, 13, 18, 25)))]
    )
    if r.random() < 0.2:
        r.choice(MUTATIONS)(model, r)
    return model


def port(name: str, dtype: int, shape: list[Any]) -> onnx.ValueInfoProto:
    """An input as declared, whatever it says."""
    made = onnx.ValueInfoProto(name=name)
    made.type.tensor_type.elem_type = dtype
    made.type.tensor_type.shape.SetInParent()
    for size in shape:
        dim = made.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size
    return made


def small_tensor(name: str, r: random.Random) -> TensorProto:
    """A constant, more often than not integers such as a shape or an axis."""
    shape = [r.randrange(4) for _ in range(r.choice((0, 1, 1, 1, 2, 3)))]
    size = int(np.prod(shape, dtype=np.int64))
    if r.random() < 0.6:
        bound = r.choice((2, 4, 1 << 20, 1 << 62))
        values = np.array([r.randint(-bound, bound) for _ in range(size)], np.int64).reshape(shape)
    else:
        kind = r.choice((np.float32, np.float16, np.float64, np.int32, np.uint8, np.int8, np.bool_))
        values = np.array([r.choice((0, 1, 2, -1, 100)) for _ in range(size)], np.float32).reshape(shape).astype(kind)
    return numpy_helper.from_array(values, name)


def strange_attribute(name: str, kind: int, r: random.Random) -> AttributeProto:
    """An attribute of the type that the schema wants, mostly."""
    if r.random() < 0.05:
        kind = r.randrange(1, 11)
    small = (0, 1, -1, 2, 3)
    values = {
        AttributeProto.INT: lambda: r.choice((*small, *small, *TYPES, *INTEGERS)),
        AttributeProto.FLOAT: lambda: r.choice((0.5, 1.0, *FLOATS)),
        AttributeProto.STRING: lambda: r.choice(("constant", "edge", "add", "ij,jk->ik", "SAME_UPPER", "none", *TEXTS)),
        AttributeProto.INTS: lambda: [r.choice((*small, *small, *INTEGERS)) for _ in range(1 + r.randrange(5))],
        AttributeProto.FLOATS: lambda: [r.choice(FLOATS) for _ in range(1 + r.randrange(3))],
        AttributeProto.STRINGS: lambda: [r.choice(TEXTS) for _ in range(1 + r.randrange(3))],
        AttributeProto.TENSOR: lambda: small_tensor("value", r),
        AttributeProto.GRAPH: lambda: onnx.GraphProto(name="body"),
    }
    if kind not in values:
        return AttributeProto(name=name, type=kind)
    return helper.make_attribute(name, values[kind](), attr_type=kind)
