"""From weights to a graph that runs without PyTorch, and the proof that it says the same."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from somascope.core.errors import MissingExtra, Refused
from somascope.core.grid import Array
from somascope.learn.gates import gated, opened
from somascope.learn.plan import Plan
from somascope.models import onnxfile
from somascope.models.engine import start
from somascope.models.parting import parted

OPSET = 17
TOLERANCE = 2e-3
"""Largest difference of outputs, in parts of their spread."""


def example(plan: Plan, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of the plan's shape, one example each, by name."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, plan.inputs, *plan.patch)
    names = ("fixed", "moving") if plan.task == "register" else ("image",)
    return {n: torch.randn(shape, generator=generator) for n in names}


def export(network: nn.Module, plan: Plan) -> bytes:
    """The network as ONNX, checked against PyTorch on two inputs.

    Raises
    ------
    MissingExtra
        The package ``onnx`` is not installed.
    Refused
        The graph answers otherwise than the network.
    """
    name = {"classify": "logits", "segment": "logits", "detect": "maps", "register": "flow"}
    axes: dict[str, dict[int, str]] = {}
    if plan.task == "detect" and plan.dimensions == 2:
        axes = {"image": {2: "h", 3: "w"}, "maps": {2: "h4", 3: "w4"}}
    return graph_of(
        network, [example(plan, seed=s) for s in (0, 1)], output=name[plan.task], axes=axes
    )


def graph_of(
    network: nn.Module,
    examples: Sequence[dict[str, torch.Tensor]],
    *,
    output: str,
    axes: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
) -> bytes:
    """Any network as ONNX: inputs named as in ``examples``, on each of which both must agree.

    ``axes`` names the axes whose length may change. Errors as of `export`.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("ONNX is not installed; pip install somascope[learn]") from error
    assert onnx.IR_VERSION
    network = network.eval().cpu()
    factored, factors = gated(network, examples[0], whole=not axes)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter: half a second where the newer one takes twenty.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            factored, tuple(examples[0].values()), buffer,  # pyright: ignore
            input_names=list(examples[0]), output_names=[output], opset_version=OPSET,
            dynamo=False, dynamic_axes={k: dict(v) for k, v in axes.items()},
        )  # fmt: skip
    graph = parted(opened(buffer.getvalue(), factors))
    onnxfile.inspect(graph)
    for given in examples:
        difference = parity(network, graph, given)
        if not difference < TOLERANCE:
            raise Refused(
                f"the exported graph differs from the network by {difference:.2g} of its spread; "
                "the model is not written"
            )
    return graph


def parity(network: nn.Module, graph: bytes, given: dict[str, torch.Tensor]) -> float:
    """Largest difference between the two, over the spread of the network's own answer."""
    with torch.inference_mode():
        wanted = network(*given.values()).numpy()
    found = start(graph, kind="onnxruntime")({k: v.numpy() for k, v in given.items()})[0]
    spread: Array = np.maximum(wanted.std(), 1e-6)
    return float(np.abs(found - wanted).max() / spread)
