"""What is explained: a model opened with its weights, its input, and the one number it is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from somascope.core import Image
from somascope.core.errors import NotFound, ParameterError, Refused
from somascope.core.grid import Float
from somascope.learn.make import WEIGHTS
from somascope.learn.networks import LeNet, Reader, UNet, VoxelMorph, build
from somascope.learn.plan import Plan
from somascope.learn.regained import regained
from somascope.models import NetworkCard, installed, package
from somascope.models.prepare import Levels, padded, prepared
from somascope.models.run import load as load_model
from somascope.models.single import Shown
from somascope.models.stages import Staged

Score: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Inputs ``(n, ...)`` to one number each ``(n,)``: what is explained."""


def opened(model: str | Path) -> tuple[NetworkCard, Plan, nn.Module]:
    """The card, plan and trained network of a model: from its weights, else from its graph.

    Raises
    ------
    NotFound
        The model has no plan, or neither weights nor a graph they can be read from (`regained`).
    """
    from safetensors.torch import load

    path = Path(model)
    packed = package.read(path if path.exists() else installed.models().get(str(model), path))
    if "plan.json" not in packed.extras:
        raise NotFound(
            f"{model} was kept without its plan.json and cannot be opened to look inside; train it "
            "again with somascope train, which keeps it, and explain that"
        )
    plan = Plan.from_json(packed.extras["plan.json"])
    if WEIGHTS not in packed.extras:
        return packed.card, plan, regained(packed.graph, plan)
    try:
        # Without memory first: a plan may say any width, its weights are as large as their file.
        with torch.device("meta"):
            network = build(plan.network)
        network.load_state_dict(load(packed.extras[WEIGHTS]), assign=True)
    except Exception as error:
        raise Refused(f"{model}: {WEIGHTS} does not fit its plan ({error})") from error
    return packed.card, plan, network.eval()


class Near(nn.Module):
    """A network of single objects that is given the crop ``(n, c, ...)`` alone: the whole image
    and the mark, ``rest`` ``(1, c + 1, ...)``, stay as they are.
    """

    def __init__(self, network: nn.Module, rest: torch.Tensor) -> None:
        super().__init__()
        self.network, self.rest = network, rest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.network(torch.cat([x, self.rest.expand(len(x), *self.rest.shape[1:])], dim=1))


def deepest(network: nn.Module, *, layer: str = "") -> nn.Module:
    """The layer whose maps are weighed: ``layer`` by name, else the last before space is left.

    Raises
    ------
    ParameterError
        The network has no layer of that name.
    """
    if isinstance(network, Near):
        return deepest(network.network, layer=layer)
    if layer:
        named = dict(network.named_modules())
        if layer not in named:
            some = ", ".join(n for n in named if n and "." not in n)
            raise ParameterError(f"the network has no layer {layer!r}; it has {some} and theirs")
        return named[layer]
    members = getattr(network, "members", None)
    if isinstance(members, nn.ModuleList):  # several as one: the first of them
        return deepest(members[0])
    if isinstance(network, LeNet):
        return network.s4
    if isinstance(network, VoxelMorph):
        return network.net.down[-1]
    if isinstance(network, UNet):
        return network.down[-1]
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


def turning(card: NetworkCard, target: int, whole: float) -> float:
    """The score below which the answer is another one.

    classify: another class is said (by the card's threshold, temperature and offsets of two);
    detect: the surest centre is no box any more; segment and register, which have no yes and no:
    half of the score of the ``whole`` image.
    """
    if card.task == "classify":
        if len(card.classes) != 2 or not 0 < card.threshold < 1:
            return 0.0
        offset = card.offsets[1] - card.offsets[0] if card.offsets else 0.0
        limit = card.temperature * (math.log(card.threshold / (1 - card.threshold)) - offset)
        return limit if target == 1 else -limit
    if card.task == "detect":
        p = min(max(card.threshold, 1e-6), 1 - 1e-6)
        offset = card.offsets[target] if card.offsets else 0.0
        return card.temperature * (math.log(p / (1 - p)) - offset)
    return whole / 2


def nothing(x: torch.Tensor) -> torch.Tensor:
    """What stands for an absent image: each channel's median, as background is in most."""
    middle = x.flatten(2).median(dim=2).values
    return middle.reshape(*middle.shape, *[1] * (x.ndim - 2)).expand_as(x)


def looked_at(
    model: str | Path, card: NetworkCard, images: Sequence[Image], *, anyway: bool = False
) -> tuple[tuple[Image, ...], Levels | None]:
    """The images as the network that is explained is given them: of a model of two stages the part
    that the first one finds, and the levels of the whole; of others as they are.
    """
    if card.stages is None:
        return tuple(images), None
    staged = load_model(model)
    assert isinstance(staged, Staged)
    part, levels = staged.part(images[0], anyway=anyway)
    return (part,), levels


def input_of(
    card: NetworkCard,
    images: Sequence[Image],
    *,
    box: Sequence[float] | Float | None = None,
    levels: Levels | None = None,
) -> tuple[torch.Tensor, Image]:
    """The network's input ``(1, c, ...)`` (register: both as channels), and where it lies.

    Of a model of single objects: of the one in ``box``; where its crop lies. ``levels``: of the
    whole image, as of `looked_at`.

    Raises
    ------
    ParameterError
        A box for a model that reads none, or none for one that does.
    """
    if (card.single is None) != (box is None):
        raise ParameterError(
            f"{card.name} reads no boxes; leave it out"
            if card.single is None
            else f"{card.name} classifies single objects: say where the one to explain is (--boxes)"
        )
    if card.single is not None and box is not None:
        shown = Shown(images[0], card.preparation, card.single, channels=card.channels)
        array = shown.array(box)
        array = array[:, 0] if card.dimensions == 2 else array
        return torch.from_numpy(np.array(array)[None]), shown.crop(box)
    ready: list[Image] = []
    for image in images:
        one = prepared(image, card.preparation, channels=card.channels, levels=levels)
        flat = card.dimensions == 2
        patch = (1, *card.patch) if flat else card.patch
        if card.task == "detect" and flat:
            patch = (1, *(-(-n // 32) * 32 for n in one.grid.shape[1:]))
        if len(patch) == 3:
            if card.task in ("segment", "register") or (card.task == "detect" and not flat):
                step = 32 if flat else 16
                sizes = [max(n, p) for n, p in zip(one.grid.shape, patch, strict=True)]
                patch = tuple(1 if n == 1 else -(-n // step) * step for n in sizes)
            one = padded(one, (patch[0], patch[1], patch[2]), edge=True)
        ready.append(one)
    data = np.concatenate([i.data[:, 0] if card.dimensions == 2 else i.data for i in ready])
    return torch.from_numpy(np.array(data, np.float32)[None]), ready[0]


def is_sequence(network: nn.Module) -> bool:
    """Whether the network reads slice by slice, each as an image of its own."""
    return isinstance(network, Reader)
