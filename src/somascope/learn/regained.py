"""A network with its weights, read back from the graph it was exported to.

Models may come without ``weights.safetensors``, to be smaller. Their graph holds the same numbers:
it was traced, so its convolutions, normalisations and linear layers stand in the order in which the
network calls its own. Weights that were parted (`models.parting`) or are stored in fewer bytes
(`models.lighter`) are put together again; a batch normalisation that the exporter folded into the
convolution before it stays folded, and becomes one that does nothing but add. Whether all of that
was right is not believed but tried: network and graph must agree on an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from somascope.core.errors import MissingExtra, NotFound, Refused
from somascope.core.grid import Array
from somascope.learn.export import TOLERANCE, example
from somascope.learn.networks import build
from somascope.learn.plan import Plan
from somascope.models import onnxfile
from somascope.models.engine import start

_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "Conv": (nn.Conv2d, nn.Conv3d),
    "ConvTranspose": (nn.ConvTranspose2d, nn.ConvTranspose3d),
    "Gemm": (nn.Linear,),
    "BatchNormalization": (nn.BatchNorm2d, nn.BatchNorm3d),
    "InstanceNormalization": (nn.InstanceNorm2d, nn.InstanceNorm3d),
}
"""Operators that hold weights, and the layers they were."""
_LAYERS = tuple(kind for kinds in _KINDS.values() for kind in kinds)
_INSTANCE = (nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class _Step:
    """One operator of the graph with its weights, in order."""

    operator: str
    values: tuple[Array, ...]


def regained(graph: bytes, plan: Plan) -> nn.Module:
    """The plan's network with the weights of ``graph``.

    Raises
    ------
    NotFound
        The network has weights that cannot be told from the graph: attention, recurrence.
    Refused
        The graph is not one of this plan's network.
    MissingExtra
        The package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra('this needs onnx: pip install "somascope[learn]"') from error
    onnxfile.inspect(graph)
    steps = list(_steps(onnx.load_model_from_string(graph).graph))
    # Without memory: a plan may say any width, the weights are as large as their file.
    with torch.device("meta"):
        network = build(plan.network).eval()
        called = _called(network, [v.to("meta") for v in example(plan).values()])
    others = [
        n for n, m in network.named_modules()
        if not isinstance(m, _LAYERS) and list(m.parameters(recurse=False))
    ]  # fmt: skip
    if others:
        raise NotFound(
            f"{others[0]} of the network cannot be told from the graph; train the model again with "
            "somascope train, which keeps the weights"
        )
    _fill(network, called, steps)
    for name, value in network.named_buffers():
        if value.is_meta:
            owner, _, own = name.rpartition(".")
            setattr(network.get_submodule(owner), own, torch.zeros(value.shape, dtype=value.dtype))
    left = [n for n, p in network.named_parameters() if p.is_meta]
    if left:
        raise Refused(
            f"{left[0]} of the network is called nowhere, so the graph says nothing of it"
        )
    difference = _apart(network, graph, plan)
    if not difference < TOLERANCE:
        raise Refused(
            f"the network read back from the graph differs from it by {difference:.2g} of its "
            "spread: the plan and the graph do not belong together"
        )
    return network


def folded(network: nn.Module) -> bool:
    """Whether there is batch normalisation: what a graph says of it is right to run, not to train,
    as means and variances are in the convolution before it.
    """
    return any(isinstance(m, _NORMS) for m in network.modules())


def _apart(network: nn.Module, graph: bytes, plan: Plan) -> float:
    """How far both are apart on one input, in parts of the spread of what the network says.

    Of logits of classes: what all of them have in common says nothing, and does not count.
    """
    given = example(plan)
    with torch.inference_mode():
        said = [network(*given.values()).numpy()]
    said += start(graph, kind="onnxruntime")({k: v.numpy() for k, v in given.items()})[:1]
    if plan.task in ("classify", "segment"):
        said = [s - s.mean(axis=1, keepdims=True) for s in said]
    return float(np.abs(said[0] - said[1]).max() / max(float(said[0].std()), 1e-6))


def _called(network: nn.Module, inputs: Sequence[torch.Tensor]) -> list[nn.Module]:
    """The layers with weights in the order of their calls; one that is called twice twice."""
    order: list[nn.Module] = []

    def note(module: nn.Module, _given: object, _out: object) -> None:
        order.append(module)

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, _LAYERS)]
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return order


def _fill(network: nn.Module, called: Sequence[nn.Module], steps: Sequence[_Step]) -> None:
    """Weights of the graph's steps into the layers, one after the other.

    What is called again, for a mirrored image, may be there again or not.
    """
    names = {m: n for n, m in network.named_modules()}
    left = iter(_once(steps))
    now = next(left, None)
    folded: Array | None = None
    for layer in dict.fromkeys(called):
        kind = next(k for k, kinds in _KINDS.items() if isinstance(layer, kinds))
        if isinstance(layer, _NORMS) and not (now is not None and now.operator == kind):
            _identity(layer, folded)
            folded = None
            continue
        if isinstance(layer, _INSTANCE) and not layer.affine:
            continue
        if now is None or now.operator != kind:
            there = "nothing" if now is None else now.operator
            raise Refused(f"where {names[layer]} of the network has a {kind} the graph has {there}")
        folded = _put(layer, now.values, names[layer])
        now = next(left, None)
    if now is not None:
        raise Refused(f"the graph has more layers than the network: a {now.operator}")


def _once(steps: Sequence[_Step]) -> Iterator[_Step]:
    """The steps without those that come again: runs that begin with a convolution known already."""
    known: set[tuple[str, bytes]] = set()
    again = False
    for step in steps:
        key = (step.operator, b"".join(v.tobytes() for v in step.values))
        again = key in known and (again or step.operator in ("Conv", "ConvTranspose"))
        known.add(key)
        if not again:
            yield step


def _put(layer: nn.Module, values: tuple[Array, ...], name: str) -> Array | None:
    """Set a layer's weights; what it has no place for is a bias, to be added after it."""
    wanted = ["weight", "bias"]
    if isinstance(layer, _NORMS):
        wanted += ["running_mean", "running_var"]
    spare: Array | None = None
    for own, given in zip(wanted, values, strict=False):
        place = getattr(layer, own)
        if place is None:
            spare = given
            continue
        if tuple(place.shape) != given.shape:
            raise Refused(f"{name}.{own} has the shape {tuple(place.shape)} in the network and "
                          f"{given.shape} in the graph")  # fmt: skip
        _set(layer, own, given)
    if len(values) == 1 and getattr(layer, "bias", None) is not None:
        bias: torch.Tensor = layer.bias  # pyright: ignore
        _set(layer, "bias", np.zeros(tuple(bias.shape), np.float32))
    return spare


def _set(layer: nn.Module, own: str, values: Array) -> None:
    made = torch.from_numpy(np.array(values, np.float32))
    kept = own.startswith("running")
    setattr(layer, own, made if kept else nn.Parameter(made, requires_grad=True))


def _identity(norm: Any, bias: Array | None) -> None:
    """A batch normalisation that adds ``bias`` and does nothing else."""
    count = int(norm.num_features)
    ones = np.ones(count, np.float32)
    _set(norm, "weight", ones)
    _set(norm, "bias", 0 * ones if bias is None else bias)
    _set(norm, "running_mean", 0 * ones)
    _set(norm, "running_var", ones - np.float32(norm.eps))


def _steps(graph: Any) -> Iterator[_Step]:
    """The operators with weights in the order of the graph, parted ones as one."""
    value = _constants(graph)
    first: Array | None = None
    for node in graph.node:
        if node.op_type not in _KINDS:
            continue
        values = tuple(v for v in (value(n) for n in node.input[1:] if n) if v is not None)
        if len(values) < len([n for n in node.input[1:] if n]) or not values:
            raise NotFound(
                f"the graph's {node.op_type} {node.name or node.output[0]} reckons its weights; "
                "the network cannot be read back from it"
            )
        if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
            values = (values[0].T, *values[1:])
        if node.output[0].endswith("/part0"):  # `models.parting`
            first = values[0]
            continue
        if node.output[0].endswith("/part1") and first is not None:
            values = (np.concatenate([first, values[0]], axis=1), *values[1:])
            first = None
        yield _Step(node.op_type, values)


def _constants(graph: Any) -> Callable[[str], Array | None]:
    """What a name holds whatever the input is: weights, also those stored in fewer bytes."""
    from onnx import numpy_helper

    stored = {w.name: w for w in graph.initializer}
    made = {n.output[0]: n for n in graph.node if n.op_type in ("Cast", "Mul", "Identity")}

    def value(name: str, depth: int = 0) -> Array | None:
        if name in stored:
            return numpy_helper.to_array(stored[name])
        if name not in made or depth > 4:
            return None
        parts = [value(n, depth + 1) for n in made[name].input]
        known = [p for p in parts if p is not None]
        if len(known) < len(parts):
            return None
        if made[name].op_type == "Mul":
            return known[0].astype(np.float32) * known[1].astype(np.float32)
        return known[0].astype(np.float32)

    return value
