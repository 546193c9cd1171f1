"""Where an answer comes from: one `explain` for all four tasks, in 2-D and 3-D, with its own test.

* ``gradcam``: which places of the deepest maps speak for the answer (Selvaraju et al., ICCV 2017).
* ``gradients``: integrated gradients, whose parts add up to the answer (Sundararajan, ICML 2017).
* ``occlusion``: how much is lost when a place is covered (Zeiler and Fergus, ECCV 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from somascope.core import Image
from somascope.core.errors import NotFound, ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.learn.make import WEIGHTS
from somascope.learn.networks import LeNet, Reader, UNet, VoxelMorph, build
from somascope.learn.plan import Plan
from somascope.models import NetworkCard, installed, package
from somascope.models.prepare import padded, prepared
from somascope.process.resample import resample_to

Method: TypeAlias = Literal["gradcam", "gradients", "occlusion"]
Score: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Inputs ``(n, ...)`` to one number each ``(n,)``: what is explained."""


@dataclass(frozen=True)
class Explanation:
    """A map on the image's grid, and how faithful it is.

    ``deletion`` is the mean score while the places the map calls important are taken away first
    (low is good), ``insertion`` while they are put back first (high is good), both as parts of
    the way from nothing to the whole image (Petsiuk et al., BMVC 2018). A random map has about
    equal numbers.
    """

    map: Image
    method: Method
    target: str
    deletion: float
    insertion: float


def opened(model: str | Path) -> tuple[NetworkCard, Plan, nn.Module]:
    """The card, plan and trained network of a model that was kept with its weights.

    Raises
    ------
    NotFound
        The model has no weights beside its graph.
    """
    from safetensors.torch import load

    path = Path(model)
    packed = package.read(path if path.exists() else installed.models().get(str(model), path))
    for name in ("plan.json", WEIGHTS):
        if name not in packed.extras:
            raise NotFound(
                f"{model} was kept without its {name}; it cannot be opened to look inside"
            )
    plan = Plan.from_json(packed.extras["plan.json"])
    try:
        # Without memory first: a plan may say any width, its weights are as large as their file.
        with torch.device("meta"):
            network = build(plan.network)
        network.load_state_dict(load(packed.extras[WEIGHTS]), assign=True)
    except Exception as error:
        raise Refused(f"{model}: {WEIGHTS} does not fit its plan ({error})") from error
    return packed.card, plan, network.eval()


def deepest(network: nn.Module) -> nn.Module:
    """The layer whose maps Grad-CAM weighs: the last before space is left behind."""
    if isinstance(network, LeNet):
        return network.s4
    if isinstance(network, VoxelMorph):
        return network.net.down[-1]
    if isinstance(network, UNet):
        return network.down[-1]
    if isinstance(network, Reader):
        raise ParameterError("a network that reads slices has no maps of space; ask for occlusion")
    assert isinstance(network.stages, nn.Module)
    return network.stages


def score_of(card: NetworkCard, network: nn.Module, target: int) -> Score:
    """What is explained: classify the logit of class ``target`` against the others; segment the
    logits of its voxels; detect its surest centre; register the length of the displacement.
    """

    def score(x: torch.Tensor) -> torch.Tensor:
        if card.task == "register":
            flow = network(x[:, :1], x[:, 1:])
            return flow.flatten(1).square().mean(dim=1).sqrt()
        out = network(x)
        if card.task == "classify":
            others = torch.cat([out[:, :target], out[:, target + 1 :]], dim=1)
            return out[:, target] - others.logsumexp(dim=1)
        if card.task == "segment":
            return out[:, target + 1].flatten(1).clamp_min(0).mean(dim=1)
        return out[:, target].flatten(1).amax(dim=1)

    return score


def gradcam(network: nn.Module, score: Score, x: torch.Tensor) -> Float:
    """Maps weighed by the mean slope of the score, kept where positive; in the shape of ``x``."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _given: object, out: torch.Tensor) -> None:
        kept.append(out)

    handle = deepest(network).register_forward_hook(keep)
    try:
        value = score(x).sum()
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(value, kept[0])
    weights = slope.flatten(2).mean(dim=2)
    shape = (*weights.shape, *[1] * (slope.ndim - 2))
    cam = (kept[0] * weights.reshape(shape)).sum(dim=1, keepdim=True).relu()
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    cam = functional.interpolate(cam, size=x.shape[2:], mode=mode, align_corners=False)
    return cam[0, 0].detach().numpy().astype(np.float64)


def nothing(x: torch.Tensor) -> torch.Tensor:
    """What stands for an absent image: each channel's median, as background is in most."""
    middle = x.flatten(2).median(dim=2).values
    return middle.reshape(*middle.shape, *[1] * (x.ndim - 2)).expand_as(x)


def gradients(score: Score, x: torch.Tensor, *, steps: int = 24) -> Float:
    """Integrated gradients ``(c, ...)`` from `nothing` to ``x``; they add up to the change."""
    total = torch.zeros_like(x)
    base = nothing(x)
    for i in range(steps):
        point = (base + (x - base) * ((i + 0.5) / steps)).requires_grad_()
        (slope,) = torch.autograd.grad(score(point).sum(), point)
        total += slope
    return ((x - base) * total / steps)[0].detach().numpy().astype(np.float64)


def occlusion(score: Score, x: torch.Tensor, *, parts: int = 8) -> Float:
    """Loss of score when a window of a ``parts``-th of the edge (half overlapping) is emptied."""
    shape = x.shape[2:]
    window = [max(n // parts, 1) for n in shape]
    places = [
        range(0, max(n - w // 2, 1), max(w // 2, 1)) for n, w in zip(shape, window, strict=True)
    ]
    index = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, len(shape))
    total, count = np.zeros(shape), np.zeros(shape)
    base = nothing(x)
    with torch.inference_mode():
        whole = float(score(x)[0])
        for some in np.array_split(index, max(len(index) // 16, 1)):
            covered = x.repeat(len(some), *[1] * (x.ndim - 1))
            keys = [
                tuple(slice(int(a), int(a) + w) for a, w in zip(p, window, strict=True))
                for p in some
            ]
            for j, key in enumerate(keys):
                covered[(j, slice(None), *key)] = base[(0, slice(None), *key)]
            for key, value in zip(keys, score(covered).tolist(), strict=True):
                total[key] += whole - value
                count[key] += 1
    return total / np.maximum(count, 1)


def faithfulness(
    score: Score, x: torch.Tensor, found: Float, *, steps: int = 10
) -> tuple[float, float]:
    """Deletion and insertion (see `Explanation`)."""
    order = np.argsort(-found.reshape(-1), kind="stable")
    masks = np.ones((steps + 1, order.size), np.float32)
    for i in range(steps + 1):
        masks[i, order[: order.size * i // steps]] = 0
    keep = torch.from_numpy(masks.reshape(steps + 1, 1, *x.shape[2:]))
    base = nothing(x)
    with torch.inference_mode():
        ends = [torch.lerp(base, x, keep[i : i + 1]) for i in range(steps + 1)]
        away = torch.cat([score(e) for e in ends]).numpy()
        ends = [torch.lerp(x, base, keep[i : i + 1]) for i in range(steps + 1)]
        back = torch.cat([score(e) for e in ends]).numpy()
    whole, none = float(away[0]), float(away[-1])
    if abs(whole - none) < 1e-9:
        return float("nan"), float("nan")
    away, back = ((v - none) / (whole - none) for v in (away, back))
    return float(np.trapezoid(away, dx=1 / steps)), float(np.trapezoid(back, dx=1 / steps))


def input_of(card: NetworkCard, images: Sequence[Image]) -> tuple[torch.Tensor, Image]:
    """The network's input ``(1, c, ...)`` (register: both as channels), and where it lies."""
    ready: list[Image] = []
    for image in images:
        one = prepared(image, card.preparation, channels=card.channels)
        flat = card.dimensions == 2
        patch = (1, *card.patch) if flat else card.patch
        if card.task == "detect":
            patch = (1, *(-(-n // 32) * 32 for n in one.grid.shape[1:]))
        if len(patch) == 3:
            if card.task in ("segment", "register"):
                step = 16
                sizes = [max(n, p) for n, p in zip(one.grid.shape, patch, strict=True)]
                patch = tuple(1 if n == 1 else -(-n // step) * step for n in sizes)
            one = padded(one, (patch[0], patch[1], patch[2]), edge=True)
        ready.append(one)
    data = np.concatenate([i.data[:, 0] if card.dimensions == 2 else i.data for i in ready])
    return torch.from_numpy(np.array(data, np.float32)[None]), ready[0]


def explain(
    model: str | Path,
    *images: Image,
    method: Method = "gradcam",
    target: str = "",
) -> Explanation:
    """Explain a model's answer on an image (``register``: fixed and moving).

    Parameters
    ----------
    target
        The class; default the most probable (classify), else the first.

    Raises
    ------
    ParameterError
        No such class.
    NotFound
        The model was kept without weights.
    """
    card, plan, network = opened(model)
    images = tuple(card.declared(i) for i in images)
    for image in images:
        card.check(image)
    x, ready = input_of(card, images)
    names = [c.name for c in card.classes]
    if target and target not in names:
        raise ParameterError(f"{card.name} has no class {target!r}; it has {', '.join(names)}")
    k = names.index(target) if target else 0
    if not target and card.task == "classify":
        with torch.inference_mode():
            k = int(network(x)[0].argmax())
    assert plan.task == card.task
    score = score_of(card, network, k)
    if method == "gradcam":
        found = gradcam(network, score, x)
    elif method == "gradients":
        found = np.abs(gradients(score, x)).sum(axis=0)
    else:
        found = occlusion(score, x)
    deletion, insertion = faithfulness(score, x, found)
    values: Array = found.reshape(ready.grid.shape).astype(np.float32)
    lying = replace(ready, data=values, axes=(), unit="1")
    image = resample_to(lying, images[0].grid)
    name = names[k] if names else "displacement"
    return Explanation(image, method, name, deletion, insertion)
