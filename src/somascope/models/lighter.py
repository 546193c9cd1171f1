"""Graphs with their weights stored in fewer bytes, computed with as before.

``fp16`` keeps weights as half floats, ``int8`` as whole numbers of eight bits with a scale for each
output channel (symmetric; Jacob et al., CVPR 2018, weights only). Operators in the graph make
float32 of them when they run: files are a half and a quarter as large, answers nearly the same.
How nearly is measured by `somascope.learn.lighten`, which refuses what is worse. Needs the package
onnx.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core.errors import MissingExtra
from somascope.core.grid import Array
from somascope.models import onnxfile

How: TypeAlias = Literal["fp16", "int8"]
LEAST = 256
"""Values of a tensor from which it is worth while."""
_MULTIPLIED = {"Conv": 0, "ConvTranspose": 1, "Gemm": None, "MatMul": 1}
"""Operators whose weights are stored as whole numbers, and the axis of their output channels."""


def lighter(graph: bytes, how: How) -> bytes:
    """The graph with lighter weights.

    Raises
    ------
    MissingExtra
        The package onnx is not installed.
    """
    onnxfile.inspect(graph)
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra('lighter weights need onnx: pip install "somascope[learn]"') from error
    model = onnx.load_model_from_string(graph)
    inputs = {i.name for i in model.graph.input}
    axes = _axes(model.graph)
    kept: list[Any] = []
    before: list[Any] = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST or weight.name in inputs:
            kept.append(weight)
            continue
        if how == "fp16" or weight.name not in axes:
            half = values.astype(np.float16)
            if not np.isfinite(half).all():
                kept.append(weight)
                continue
            kept.append(onnx.numpy_helper.from_array(half, f"{weight.name}/half"))
            before.append(
                onnx.helper.make_node("Cast", [f"{weight.name}/half"], [weight.name], to=1)
            )
            continue
        whole, scale = eighths(values, axes[weight.name])
        names = [f"{weight.name}/{n}" for n in ("eighth", "scale", "wide")]
        kept += [onnx.numpy_helper.from_array(v, n) for v, n in zip((whole, scale), names,
                                                                    strict=False)]  # fmt: skip
        before += [
            onnx.helper.make_node("Cast", [names[0]], [names[2]], to=1),
            onnx.helper.make_node("Mul", [names[2], names[1]], [weight.name]),
        ]
    nodes = [*before, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    data: bytes = model.SerializeToString()
    onnxfile.inspect(data)
    return data


def eighths(values: Array, axis: int) -> tuple[Array, Array]:
    """Whole numbers of -127 to 127, and the scale of each index along ``axis`` to multiply by."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    most = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(most > 0, most / np.float32(127), np.float32(1)).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def _axes(graph: Any) -> dict[str, int]:
    """Weights that are multiplied with, and the axis of their output channels."""
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in _MULTIPLIED or len(node.input) < 2:
            continue
        axis = _MULTIPLIED[node.op_type]
        if axis is None:
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            axis = 0 if turned else 1
        found[node.input[1]] = axis
    return {n: a for n, a in found.items() if a < _ranks(graph).get(n, 0)}


def _ranks(graph: Any) -> dict[str, int]:
    return {w.name: len(w.dims) for w in graph.initializer}
