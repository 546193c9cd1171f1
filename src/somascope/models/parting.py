"""A convolution of maps laid side by side is the sum of convolutions of each: no copy of both.

Where a U-Net lays its way down beside its way up, the largest maps of the whole network are copied
into one, only to be convolved. Each convolved by its own part of the weights, and added, they give
the same sums in another order, and the copy is never held. Needs the package onnx.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.models import onnxfile


def parted(graph: bytes) -> bytes:
    """The graph with `Conv` of a `Concat` of channels as an `Add` of two; the rest as it is.

    Raises
    ------
    MissingExtra
        The package onnx is not installed.
    """
    from somascope.core.errors import MissingExtra

    try:
        import onnx
    except ImportError as error:
        raise MissingExtra('this needs onnx: pip install "somascope[learn]"') from error
    model = onnx.load_model_from_string(graph)
    channels = _channels(onnx.shape_inference.infer_shapes(model).graph)
    nodes = model.graph.node
    weights = {w.name: w for w in model.graph.initializer}
    uses: dict[str, int] = {}
    for name in [n for node in nodes for n in node.input] + [o.name for o in model.graph.output]:
        uses[name] = uses.get(name, 0) + 1
    joined = {
        n.output[0]: list(n.input) for n in nodes
        if n.op_type == "Concat" and len(n.input) == 2 and uses.get(n.output[0]) == 1
        and any(a.name == "axis" and a.i == 1 for a in n.attribute)
        and all(channels.get(i) for i in n.input)
    }  # fmt: skip
    made: list[Any] = []
    gone: set[str] = set()
    for node in nodes:
        fits = (
            node.op_type == "Conv" and node.input[0] in joined and node.input[1] in weights
            and not any(a.name == "group" and a.i != 1 for a in node.attribute)
        )  # fmt: skip
        if not fits:
            made.append(node)
            continue
        pair, weight = joined[node.input[0]], weights[node.input[1]]
        values = onnx.numpy_helper.to_array(weight)
        first = channels[pair[0]]
        if values.shape[1] != first + channels[pair[1]]:
            made.append(node)
            continue
        gone.add(node.input[0])
        names: list[str] = []
        for k, (given, part) in enumerate(zip(pair, (values[:, :first], values[:, first:]),
                                              strict=True)):  # fmt: skip
            own = f"{node.output[0]}/weight{k}"  # one weight may serve several
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.ascontiguousarray(part), own)
            )
            one = onnx.NodeProto()
            one.CopyFrom(node)
            one.name = f"{node.name or node.output[0]}/part{k}"
            rest = list(node.input[2:]) if k else []
            del one.input[:]
            one.input.extend([given, own, *rest])
            one.output[0] = f"{node.output[0]}/part{k}"
            names.append(one.output[0])
            made.append(one)
        made.append(onnx.helper.make_node("Add", names, [node.output[0]]))
    if not gone:
        return graph
    kept = [n for n in made if not (n.op_type == "Concat" and n.output[0] in gone)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    needed = {n for node in kept for n in node.input}
    tensors = [w for w in model.graph.initializer if w.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    data: bytes = model.SerializeToString()
    onnxfile.inspect(data)
    return data


def _channels(graph: Any) -> dict[str, int]:
    """Channels of every map whose shape is known."""
    found: dict[str, int] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        if len(dims) >= 4 and dims[1].dim_value > 0:
            found[value.name] = int(dims[1].dim_value)
    return found
