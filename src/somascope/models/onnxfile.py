"""Look into an ONNX file before anything runs it: what it computes, and what it must not hold.

Source: onnx.proto (ONNX IR version 3 and later; field numbers never change) and the protocol
buffers wire format. The file is walked as bytes with every length checked; nothing is built.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from somascope.core.errors import CorruptFile, Refused

LARGEST = 1 << 30
"""Bytes of a graph: one gibibyte."""
NODES = 20_000
ELEMENTS = 1 << 28
FACTOR = 4096
"""Times that a resampling may be larger than what it is given."""

_NAMES = (
    "Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant "
    "ConstantOfShape Conv ConvInteger ConvTranspose DequantizeLinear Div Dropout "
    "DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor GRU Gather "
    "GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual "
    "GridSample GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization "
    "LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul "
    "MatMulInteger Max MaxPool Min Mish Mul Neg Not Or PRelu Pad Pow QLinearConv "
    "QLinearMatMul QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape "
    "Resize Round Selu Shape Sigmoid Sin Cos Slice Softmax Softplus Split Sqrt Squeeze "
    "Sub Sum Swish Tanh Transpose Unsqueeze Where "
)
OPERATORS = frozenset(_NAMES.split())
"""What networks for images are made of. No loops, no branches, no functions, no text, no files."""

_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of an element by TensorProto.DataType; text (8), complex and four-bit types are out."""

_FORMATS = {1: "f", 6: "i", 7: "q", 11: "d"}
"""Of tensors that say sizes."""

Field: TypeAlias = tuple[int, int, int | memoryview]
"""Number, wire type, value."""


@dataclass(frozen=True)
class Graph:
    """What an ONNX file computes: names of inputs and outputs, operators, weights."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]
    nodes: int
    parameters: int


@dataclass
class _Found:
    operators: set[str] = field(default_factory=set[str])
    nodes: int = 0
    elements: int = 0
    inputs: list[str] = field(default_factory=list[str])
    outputs: list[str] = field(default_factory=list[str])
    weights: list[str] = field(default_factory=list[str])
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    sized: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])


def inspect(data: bytes | memoryview) -> Graph:
    """Walk an ONNX file and refuse what a model for images has no need of.

    Raises
    ------
    CorruptFile
        Not an ONNX file, or one that lies about its lengths.
    Refused
        Too large, an operator outside `OPERATORS` or of another domain, a subgraph, a function of
        its own, weights in another file, a tensor that is larger than its bytes, or an operator
        that makes one of a size no image has.
    """
    if len(data) > LARGEST:
        raise Refused(f"the graph has {len(data)} bytes; {LARGEST} is the most that is read")
    if bytes(data[:1]) == b"\x80" or bytes(data[:2]) == b"PK":
        raise Refused("model.onnx is a pickle or an archive, not a graph; export the model to ONNX")
    found = _Found()
    graphs = 0
    for number, wire, value in _fields(memoryview(data)):
        if number == 7 and wire == 2:
            graphs += 1
            _graph(_message(value), found)
        elif number == 25:
            raise Refused("the graph brings functions of its own; export it with plain operators")
        elif number == 20:
            raise Refused("the graph brings training information; export it for inference")
    if graphs != 1 or not found.outputs:
        raise CorruptFile(f"an ONNX file holds one graph with outputs; this one holds {graphs}")
    _sizes(found)
    inputs = tuple(n for n in found.inputs if n not in set(found.weights))
    return Graph(
        inputs, tuple(found.outputs), tuple(sorted(found.operators)), found.nodes, found.elements
    )


def _fields(data: memoryview) -> Iterator[Field]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if number == 0:
            raise CorruptFile("not an ONNX file: a field without a number")
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise CorruptFile(f"not an ONNX file: wire type {wire}")
        if at > end:
            raise CorruptFile("the ONNX file ends inside a field; copy it again")
        yield number, wire, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise CorruptFile("the ONNX file ends inside a number; copy it again")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise CorruptFile("not an ONNX file: a number where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    try:
        return bytes(_message(value)).decode()
    except UnicodeDecodeError as error:
        raise CorruptFile("not an ONNX file: a name that is no text") from error


def _graph(data: memoryview, found: _Found) -> None:
    for number, _, value in _fields(data):
        if number == 1:
            _node(_message(value), found)
        elif number == 5:
            name, numbers = _tensor(_message(value), found)
            found.weights.append(name)
            found.numbers[name] = numbers
        elif number == 15:
            raise Refused("the graph has sparse weights; export it with dense ones")
        elif number in (11, 12):
            names = found.inputs if number == 11 else found.outputs
            names += [_text(v) for n, _, v in _fields(_message(value)) if n == 1]


def _node(data: memoryview, found: _Found) -> None:
    kind = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    constant: tuple[float, ...] = ()
    for number, _, value in _fields(data):
        if number == 4:
            kind = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            constant = _attribute(_message(value), found) or constant
        elif number in (1, 2):
            (inputs if number == 1 else outputs).append(_text(value))
    if domain not in ("", "ai.onnx") or kind not in OPERATORS:
        name = f"{domain}.{kind}" if domain else kind
        raise Refused(
            f"the graph uses the operator {name!r}, which is not run here; export the model with "
            "plain operators of ONNX"
        )
    found.nodes += 1
    if found.nodes > NODES:
        raise Refused(f"the graph has more than {NODES} operators")
    found.operators.add(kind)
    if kind == "Constant" and outputs:
        found.numbers[outputs[0]] = constant
    elif kind in ("ConstantOfShape", "Expand", "Pad", "Resize"):
        found.sized.append((kind, inputs))


def _sizes(found: _Found) -> None:
    """Refuse operators whose written size is one that no image has: a few bytes, much memory."""
    for kind, inputs in found.sized:
        known = [found.numbers.get(n, ()) for n in [*inputs, *[""] * 4][:4]]
        shape = {"ConstantOfShape": known[0], "Expand": known[1], "Resize": known[3]}.get(kind, ())
        wide = math.prod(max(abs(v), 1.0) for v in shape) > ELEMENTS
        wide |= kind == "Resize" and math.prod(max(abs(v), 1.0) for v in known[2]) > FACTOR
        wide |= kind == "Pad" and sum(abs(v) for v in known[1]) > FACTOR
        if wide:
            raise Refused(f"the graph's {kind} makes a tensor larger than any image")


def _attribute(data: memoryview, found: _Found) -> tuple[float, ...]:
    """The few numbers of a constant, if it is one."""
    numbers: tuple[float, ...] = ()
    for number, _, value in _fields(data):
        if number in (6, 11):
            raise Refused("the graph branches or loops (a graph inside an operator)")
        if number in (5, 10):
            numbers = _tensor(_message(value), found)[1]
        elif number in (22, 23):
            raise Refused("the graph has sparse weights; export it with dense ones")
    return numbers


def _tensor(data: memoryview, found: _Found) -> tuple[str, tuple[float, ...]]:
    """Name of a TensorProto whose size is what its bytes hold; its numbers where they are few."""
    dims: list[int] = []
    kind = 0
    raw: memoryview | None = None
    given: list[float] = []
    typed = 0
    name = ""
    for number, wire, value in _fields(data):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _message(value)
        elif number == 13 or (number == 14 and value != 0):
            raise Refused(
                f"the weights {name or '?'} lie in another file, which is never opened; save the "
                "model in one file"
            )
        elif number in (4, 5, 7, 10, 11):
            typed += 1 if wire != 2 else len(_message(value))
            if number == 7 and typed <= 160:
                given += [_signed(v) for v in ([value] if isinstance(value, int) else
                                               _packed(value))]  # fmt: skip
        elif number == 6:
            raise Refused("the graph holds text; models for images have none")
    if kind not in _BYTES:
        raise Refused(f"the weights {name or '?'} are of type {kind}, which is not run here")
    if any(not 0 <= d <= ELEMENTS for d in dims):
        raise Refused(f"the weights {name or '?'} have shape {dims}")
    count = math.prod(dims)
    found.elements += count
    if found.elements > ELEMENTS:
        raise Refused(f"the graph has more than {ELEMENTS} weights")
    held = len(raw) if raw is not None else None
    if held is not None and held != count * _BYTES[kind]:
        raise CorruptFile(
            f"the weights {name or '?'} have shape {dims} and {held} bytes; "
            f"{count * _BYTES[kind]} belong there"
        )
    if held is None and typed < count:
        raise CorruptFile(f"the weights {name or '?'} have shape {dims} and too few values")
    if raw is not None and 0 < count <= 16 and kind in _FORMATS:
        return name, struct.unpack(f"<{count}{_FORMATS[kind]}", raw)
    return name, tuple(given[:16])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _packed(data: memoryview) -> list[int]:
    values: list[int] = []
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values
