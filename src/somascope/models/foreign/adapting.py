"""A graph from elsewhere becomes one that is fed as ours are: names, axes, scale, answer.

Operators are put before and behind it; what it computes is not touched. Needs the package onnx,
which only reads and writes the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, MissingExtra, Refused
from somascope.models import onnxfile
from somascope.models.foreign.told import Told, turns

OLDEST = 13
"""Operator set from which `Slice`, `Pad` and `Squeeze` say sizes in one way."""
LEAST = 1e-7
"""Added to probabilities before their logarithm."""
_BACK = -(1 << 62)
_END = 1 << 62


@dataclass(frozen=True)
class Shape:
    """Of a graph's input: channels and spatial sizes, 0 where they may change."""

    channels: int
    sizes: tuple[int, ...]


def input_of(graph: bytes) -> tuple[str, Shape]:
    """Name and shape of the only input.

    Raises
    ------
    Refused
        Several inputs, or one that is no image of a batch and channels.
    """
    model = _loaded(graph)
    weights = {w.name for w in model.graph.initializer}
    given = [i for i in model.graph.input if i.name not in weights]
    if len(given) != 1:
        names = ", ".join(i.name for i in given) or "none"
        raise Refused(f"the graph has {len(given)} inputs ({names}); one image is given to a model")
    kind = given[0].type.tensor_type
    dims = [d.dim_value for d in kind.shape.dim]
    if kind.elem_type != 1 or len(dims) not in (4, 5):
        raise Refused(
            f"the graph's input {given[0].name!r} has {len(dims)} axes of type {kind.elem_type}; "
            "it must be float32: batch, channels, and two or three of space"
        )
    if dims[0] > 1:
        raise Refused(f"the graph takes {dims[0]} images at a time; export it for one, or any")
    return given[0].name, Shape(dims[1], tuple(dims[2:]))


def adapted(graph: bytes, told: Told) -> bytes:
    """The graph with an input ``image`` on our axes and logits of every class as its output.

    Raises
    ------
    Refused
        A graph that is not run here, or without the output asked for.
    """
    onnxfile.inspect(graph)
    name, shape = input_of(graph)
    model = _loaded(graph)
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version < OLDEST:
        raise Refused(f"the graph is of operator set {version}; export it with {OLDEST} or later")
    import onnx

    outputs = [o.name for o in model.graph.output]
    taken = told.output or outputs[0]
    if taken not in outputs:
        raise Refused(f"the graph has no output {taken!r}; it has {', '.join(outputs)}")
    model = onnx.compose.add_prefix(model, "inner/")
    inner = model.graph
    made = _Chain()
    dimensions = told.dimensions or len(shape.sizes)
    order, against = turns(told.axes or "", dimensions)
    start = made.affine("image", told.gain, told.shift)
    start = made.turned(start, order, against)
    made.add("Identity", [start], f"inner/{name}")
    before = len(made.nodes)
    end = made.answered(f"inner/{taken}", told.answer or "logits")
    if told.task != "classify":
        end = made.turned_back(end, order, against)
    made.add("Identity", [end], "answer")
    nodes = [*made.nodes[:before], *inner.node, *made.nodes[before:]]
    sizes = [0] * dimensions
    for n, own in zip(shape.sizes, order, strict=True):
        sizes[own] = n
    value = onnx.helper.make_tensor_value_info
    edges: list[Any] = [1, shape.channels or told.channels or "c", *[n or f"n{i}" for i, n in
                                                                     enumerate(sizes)]]  # fmt: skip
    whole = onnx.helper.make_graph(
        nodes, "adapted", [value("image", onnx.TensorProto.FLOAT, edges)],
        [value("answer", onnx.TensorProto.FLOAT, None)],
        initializer=[*inner.initializer, *made.constants],
    )  # fmt: skip
    result = onnx.helper.make_model(
        whole, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=model.ir_version
    )
    data: bytes = result.SerializeToString()
    onnxfile.inspect(data)
    return data


class _Chain:
    """Operators one after the other."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        import onnx

        name = output or f"outer/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any) -> str:
        import onnx

        name = f"outer/c{len(self.constants)}"
        array = np.asarray(values, dtype)
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def affine(self, name: str, gain: float | None, shift: float | None) -> str:
        if gain is not None and gain != 1.0:
            name = self.add("Mul", [name, self.constant(gain, np.float32)])
        if shift is not None and shift != 0.0:
            name = self.add("Add", [name, self.constant(shift, np.float32)])
        return name

    def flipped(self, name: str, against: tuple[bool, ...]) -> str:
        axes = [2 + i for i, f in enumerate(against) if f]
        if not axes:
            return name
        n = len(axes)
        given = [[_END] * n, [_BACK] * n, axes, [-1] * n]
        return self.add("Slice", [name, *(self.constant(v, np.int64) for v in given)])

    def turned(self, name: str, order: tuple[int, ...], against: tuple[bool, ...]) -> str:
        if order != tuple(range(len(order))):
            name = self.add("Transpose", [name], perm=[0, 1, *(2 + a for a in order)])
        return self.flipped(name, against)

    def turned_back(self, name: str, order: tuple[int, ...], against: tuple[bool, ...]) -> str:
        name = self.flipped(name, against)
        if order == tuple(range(len(order))):
            return name
        back = [order.index(a) for a in range(len(order))]
        return self.add("Transpose", [name], perm=[0, 1, *(2 + a for a in back)])

    def answered(self, name: str, answer: str) -> str:
        """Logits of every class: those of one class alone become two, of it and of the rest."""
        if answer == "logits":
            return name
        if answer == "sigmoid":
            zero = self.add("Mul", [name, self.constant(0.0, np.float32)])
            return self.add("Concat", [zero, name], axis=1)
        if answer == "probability":
            rest = self.add("Sub", [self.constant(1.0, np.float32), name])
            name = self.add("Concat", [rest, name], axis=1)
        return self.add("Log", [self.add("Add", [name, self.constant(LEAST, np.float32)])])


def _loaded(graph: bytes) -> Any:
    """The file as onnx reads it; `onnxfile.inspect` has seen it before."""
    onnxfile.inspect(graph)
    try:
        import onnx
        import onnx.compose
    except ImportError as error:
        raise MissingExtra(
            'models from elsewhere need onnx to be taken in: pip install "somascope[learn]"'
        ) from error
    try:
        return onnx.load_model_from_string(graph)
    except Exception as error:  # whatever the protocol buffers say
        raise CorruptFile(f"the graph cannot be read ({str(error)[:200]})") from error
