"""Look into an ONNX file before anything runs it: what it computes, and what it must not hold.

Source: onnx.proto (ONNX IR version 3 and later; field numbers never change) and the protocol
buffers wire format. The file is walked as bytes with every length checked; nothing is built.

Sizes are checked where the file writes them down: in constants, also behind ``Identity`` and
``Cast``, and in attributes. Not closed: sizes that the graph reckons (a shape from ``Concat``,
``Mul``, ``Shape`` or ``Gather``), and growth step by step (a tensor put to itself again and again,
broadcasting, ``ConvTranspose`` with large strides, one ``Resize`` after another). A graph that does
so can still take all the memory of the process that runs it.
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
"""Times that a resampling may be larger than what it is given; pixels that a border may have."""
DIMS = 16
"""Axes of a tensor, and numbers of one that says a shape."""

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

_FORMATS = {
    1: "f", 2: "B", 3: "b", 4: "H", 5: "h", 6: "i", 7: "q", 9: "?", 10: "e", 11: "d", 12: "I",
    13: "Q",
}  # fmt: skip
"""Of tensors that may say sizes."""
_FLOATS = {4: "f", 10: "d"}
"""Fields of a tensor with its values one by one that are no whole numbers."""
_WRAPPING = {2, 4, 12, 13}
"""Types without a sign: what is cast to them may come out larger than it was."""
_UNREAD = (math.inf,)
"""Numbers that are there and are not read: larger than anything, where they are to be a size."""

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
    same: dict[str, str] = field(default_factory=dict[str, str])
    sized: list[tuple[str, list[str], tuple[float, ...]]] = field(
        default_factory=list[tuple[str, list[str], tuple[float, ...]]]
    )

    def known(self, name: str) -> tuple[float, ...]:
        """The constant behind a name, if it is one."""
        passed: list[str] = []
        while name not in self.numbers and name in self.same:
            passed.append(name)
            name = self.same.pop(name)  # popped: a ring ends, and no way is walked twice
        numbers = self.numbers.get(name, ())
        self.numbers |= dict.fromkeys(passed, numbers)
        return numbers

    def keep(self, name: str, numbers: tuple[float, ...]) -> None:
        """Note a constant; which of two of one name counts is not for us to guess."""
        self.numbers[name] = _UNREAD if name in self.numbers else numbers


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
            found.keep(name, numbers)
        elif number == 15:
            raise Refused("the graph has sparse weights; export it with dense ones")
        elif number in (11, 12):
            names = found.inputs if number == 11 else found.outputs
            names += [_text(v) for n, _, v in _fields(_message(value)) if n == 1]


def _node(data: memoryview, found: _Found) -> None:
    kind = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    said: list[tuple[str, tuple[float, ...]]] = []
    for number, _, value in _fields(data):
        if number == 4:
            kind = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            said.append(_attribute(_message(value), found))
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
        values = [n for _, n in said if n]
        found.keep(outputs[0], values[0] if len(values) == 1 else _UNREAD if values else ())
    elif kind == "Cast" and outputs and any(n == "to" and _WRAPPING & set(v) for n, v in said):
        found.keep(outputs[0], _UNREAD)
    elif kind in ("Identity", "Cast") and inputs and outputs:
        found.same[outputs[0]] = inputs[0]
    elif kind in ("ConstantOfShape", "Expand", "Pad", "Resize"):
        pads = [n for name, n in said if name in ("pads", "paddings")]
        found.sized.append((kind, inputs, tuple(v for n in pads for v in n)))


def _sizes(found: _Found) -> None:
    """Refuse operators whose written size is one that no image has: a few bytes, much memory."""
    for kind, inputs, pads in found.sized:
        known = [found.known(n) for n in [*inputs, *[""] * 4][:4]]
        if kind == "Resize":  # until operator set 10 the factors were its second input
            factors = known[1] if len(inputs) == 2 else known[2]
            fits = _times(factors) <= FACTOR and _times(known[3]) <= ELEMENTS
        elif kind == "Pad":
            fits = sum(abs(v) for v in (*known[1], *pads)) <= FACTOR
        else:
            fits = _times(known[0] if kind == "ConstantOfShape" else known[1]) <= ELEMENTS
        if not fits:  # and so where a factor is not a number
            raise Refused(f"the graph's {kind} makes a tensor larger than any image")


def _times(numbers: tuple[float, ...]) -> float:
    """How much larger; not a number where one of them is not (`max` keeps its first)."""
    return math.prod(max(abs(v), 1.0) for v in numbers)


def _attribute(data: memoryview, found: _Found) -> tuple[str, tuple[float, ...]]:
    """Its name and its few numbers: of a tensor, or given one by one."""
    name = ""
    tensors: list[tuple[float, ...]] = []
    given: list[float] = []
    for number, _, value in _fields(data):
        if number in (6, 11):
            raise Refused("the graph branches or loops (a graph inside an operator)")
        if number == 1:
            name = _text(value)
        elif number in (5, 10):
            tensors.append(_tensor(_message(value), found)[1])
        elif number in (22, 23):
            raise Refused("the graph has sparse weights; export it with dense ones")
        elif number in (2, 3, 7, 8) and len(given) <= DIMS:
            given += _numbers(value, "f" if number in (2, 7) else "")
    if len(tensors) > 1 or len(given) > DIMS or (tensors and given):
        return name, _UNREAD
    return name, tensors[0] if tensors else tuple(given)


def _numbers(value: int | memoryview, form: str) -> list[float]:
    """Of one field, signed; ``form`` of those that are no whole numbers. Never many."""
    if isinstance(value, int):
        return [_signed(value)]
    if not form:
        return [_signed(v) for v in _packed(value)]
    size = struct.calcsize(form)
    if len(value) % size:
        raise CorruptFile("the ONNX file holds part of a number; copy it again")
    return [v for (v,) in struct.iter_unpack(f"<{form}", value[: (DIMS + 1) * size])]


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
            if len(dims) > DIMS:
                raise Refused(f"the weights {name or '?'} have more than {DIMS} axes")
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
            if len(given) <= DIMS:
                given += _numbers(value, _FLOATS.get(number, ""))
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
    if count == 0:
        return name, ()
    if count > DIMS or kind not in _FORMATS:
        return name, _UNREAD
    if raw is not None:
        return name, struct.unpack(f"<{count}{_FORMATS[kind]}", raw)
    # Half precision is given as the bits of whole numbers.
    return name, tuple(given) if kind != 10 and len(given) == count else _UNREAD


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _packed(data: memoryview) -> list[int]:
    """The first of many varints: one more than `DIMS`, so that too many are told."""
    values: list[int] = []
    at = 0
    while at < len(data) and len(values) <= DIMS:
        value, at = _varint(data, at)
        values.append(value)
    return values
