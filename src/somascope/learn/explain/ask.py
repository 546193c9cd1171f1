"""One `explain` for all four tasks, in 2-D and 3-D, and all that says how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import nn

from somascope.core import QUIET, Image, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.explain import counterfactual as what_if
from somascope.learn.explain.faithful import chance, destroyed, faithfulness, likeness
from somascope.learn.explain.maps import Cam, gradcam, gradients, occlusion
from somascope.learn.explain.target import (
    Near,
    Score,
    input_of,
    looked_at,
    opened,
    score_of,
    turning,
)
from somascope.models import NetworkCard
from somascope.process.resample import resample_to

Method: TypeAlias = Literal[
    "gradcam", "gradcampp", "hirescam", "layercam", "eigencam", "gradients", "occlusion",
    "counterfactual",
]  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """A map on the image's grid, and how faithful it is.

    ``deletion`` is the mean score while the places the map calls important are taken away first
    (low is good), ``insertion`` while they are put back first (high is good), both as parts of
    the way from nothing to the whole image (Petsiuk et al., BMVC 2018).

    Parameters
    ----------
    random
        Deletion and insertion of random maps on this very image: what there is to beat.
    sanity
        Likeness (Spearman, -1 to 1) to the map of the same network with its kernels shuffled. Near
        1 the map shows the image and not what the network learned. NaN where it was not asked for.
    counterfactual
        Of the method of that name: what was filled in, and what came of it.
    """

    map: Image
    method: Method
    target: str
    deletion: float
    insertion: float
    random: tuple[float, float] = (math.nan, math.nan)
    sanity: float = math.nan
    counterfactual: what_if.Counterfactual | None = None

    @property
    def words(self) -> str:
        """One line for people."""
        if math.isnan(self.deletion):
            said = (
                f"{self.target} by {self.method}, not to be tested: an image of nothing scores as "
                "high"
            )
        else:
            said = self._tested()
        if not math.isnan(self.sanity):
            said += f", likeness to a network without sense {self.sanity:.2f}"
        found = self.counterfactual
        if found is not None and not found.share:
            return said + "; the answer is another one to begin with"
        if found is not None:
            verb = "changes the answer" if found.flipped else "does not change the answer"
            said += (
                f"; filling in {found.share:.1%} of the image {verb} (score {found.before:.2f} to "
                f"{found.after:.2f}; {found.by_chance:.0%} of such regions elsewhere do it too)"
            )
        return said

    def _tested(self) -> str:
        return (
            f"{self.target} by {self.method}, deletion {self.deletion:.3f} (low is good; by chance "
            f"{self.random[0]:.3f}), insertion {self.insertion:.3f} (high is good; by chance "
            f"{self.random[1]:.3f})"
        )


def explain(
    model: str | Path,
    *images: Image,
    method: Method = "gradcam",
    target: str = "",
    layer: str = "",
    sanity: bool = False,
    anyway: bool = False,
    box: Sequence[float] | Float | None = None,
    progress: Progress = QUIET,
) -> Explanation:
    """Explain a model's answer on an image (``register``: fixed and moving).

    Parameters
    ----------
    target
        The class; default the most probable (classify), else the first.
    layer
        Of the ``cam`` methods: the layer whose maps are weighed; default the deepest.
    sanity
        Explain a senseless copy of the network too and say how alike the maps are.
    anyway
        Explain images too that are unlike the training images.
    box
        Of a model of single objects: the object, corners in voxel edges. The map is of its crop;
        what is around stays as it is.

    Raises
    ------
    ParameterError
        No such class, layer or method; or another number of images than the model reads.
    NotFound
        The model was kept without weights.
    """
    if method not in get_args(Method):
        raise ParameterError(f"method is {method!r}; choose one of {', '.join(get_args(Method))}")
    card, plan, network = opened(model)
    wanted = 2 if card.task == "register" else 1
    if len(images) != wanted:
        raise ParameterError(f"{card.name} reads {wanted} image(s) at a time; {len(images)} given")
    images = tuple(card.declared(i) for i in images)
    for image in images:
        card.check(image, anyway=anyway)
    parts, levels = looked_at(model, card, images, anyway=anyway)
    x, ready = input_of(card, parts, box=box, levels=levels)
    if card.single is not None:
        network, x = Near(network, x[:, card.channels :]), x[:, : card.channels]
    k, name = _target(card, network, x, target)
    assert plan.task == card.task
    score = score_of(card, network, k)
    progress(0.1, method)
    what: what_if.Counterfactual | None = None
    if method == "counterfactual":
        with torch.inference_mode():
            whole = float(score(x)[0])
        turned = what_if.counterfactual(
            score, x, turn=turning(card, k, whole), progress=_part(progress, 0.1, 0.5)
        )
        what, found = turned, turned.region.astype(np.float64)
    else:
        found = mapped(network, score, x, method=method, layer=layer)
    progress(0.6, "faithfulness")
    deletion, insertion = faithfulness(score, x, found)
    like = math.nan
    if sanity and method != "counterfactual":
        other = destroyed(network)
        senseless = mapped(other, score_of(card, other, k), x, method=method, layer=layer)
        like = likeness(found, senseless)
    random = chance(score, x)
    values: Array = found.reshape(ready.grid.shape).astype(np.float32)
    lying = replace(ready, data=values, axes=(), unit="1")
    order = "nearest" if method == "counterfactual" else "linear"
    image = resample_to(lying, parts[0].grid, order=order)
    if card.stages is not None:  # beyond the part nothing was looked at
        image = resample_to(image, images[0].grid, order=order)
    progress(1.0, method)
    return Explanation(image, method, name, deletion, insertion, random, like, what)


def mapped(
    network: nn.Module, score: Score, x: torch.Tensor, *, method: Method, layer: str = ""
) -> Float:
    """The map of one of the methods that give one, in the space of ``x``."""
    if method == "gradients":
        return np.abs(gradients(score, x)).sum(axis=0)
    if method == "occlusion":
        return occlusion(score, x)
    cams: dict[str, Cam] = {m: m for m in get_args(Cam)}
    if method not in cams:
        raise ParameterError(f"{method} gives no map")
    return gradcam(network, score, x, kind=cams[method], layer=layer)


def _target(card: NetworkCard, network: nn.Module, x: torch.Tensor, target: str) -> tuple[int, str]:
    names = [c.name for c in card.classes]
    if target and target not in names:
        raise ParameterError(f"{card.name} has no class {target!r}; it has {', '.join(names)}")
    k = names.index(target) if target else 0
    if not target and card.task == "classify":
        with torch.inference_mode():
            k = int(network(x)[0].argmax())
    return k, names[k] if names else "displacement"


def _part(progress: Progress, start: float, size: float) -> Progress:
    report: Callable[[float, str], None] = lambda f, message: progress(start + size * f, message)  # noqa: E731
    return Progress(report)
