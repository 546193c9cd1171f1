"""Dropout that survives the export: factors of one that can be given as inputs of the graph.

`somascope.models.thinned` draws them; left out they are one, and the graph is the plain network.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from somascope.models.thinned import named

WHOLE = 1 << 16
"""Values up to which a factor has the shape of what it multiplies; larger ones go by channel."""


class Gate(nn.Module):
    """What was a dropout: its input times a factor of ones."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(shape), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape that the factor broadcasts to."""
        return x * self.factor


def gated(
    network: nn.Module, example: Mapping[str, torch.Tensor], *, whole: bool
) -> tuple[nn.Module, dict[str, str]]:
    """A copy of ``network`` with a `Gate` for each dropout, and parameter names to input names.

    Dropout of single values becomes one of channels where a factor for every value would be large
    or (``whole`` false) the size of the input may change. A dropout that is used twice is left as
    it is: both uses would share their draw.
    """
    found = {
        n: m for n, m in network.named_modules()
        if isinstance(m, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)) and 0 < m.p < 1
    }  # fmt: skip
    if not found:
        return network, {}
    shapes: dict[str, list[tuple[int, ...]]] = {n: [] for n in found}
    hooks = [
        m.register_forward_hook(lambda _m, given, _o, n=n: shapes[n].append(tuple(given[0].shape)))
        for n, m in found.items()
    ]
    with torch.inference_mode():
        network(*example.values())
    for hook in hooks:
        hook.remove()
    made = copy.deepcopy(network)
    names: dict[str, str] = {}
    for name, module in found.items():
        if len(shapes[name]) != 1 or len(shapes[name][0]) < 2:
            continue
        shape = (1, *shapes[name][0][1:])
        single = isinstance(module, nn.Dropout)
        if len(shape) > 2 and (not single or not whole or torch.Size(shape).numel() > WHOLE):
            shape = (1, shape[1], *[1] * (len(shape) - 2))
        parent, _, own = name.rpartition(".")
        setattr(made.get_submodule(parent), own, Gate(shape))
        names[f"{name}.factor"] = named(len(names), module.p)
    return made.eval(), names


def opened(graph: bytes, factors: Mapping[str, str]) -> bytes:
    """The graph with these parameters as inputs that may be left out, under their new names."""
    if not factors:
        return graph
    import onnx

    model = onnx.load_model_from_string(graph)
    weights = {w.name: w for w in model.graph.initializer}
    for old, new in factors.items():
        if old not in weights:  # an exporter that folded it away
            continue
        weights[old].name = new
        for node in model.graph.node:
            for i, given in enumerate(node.input):
                if given == old:
                    node.input[i] = new
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(new, weights[old].data_type, weights[old].dims)
        )
    return model.SerializeToString()
