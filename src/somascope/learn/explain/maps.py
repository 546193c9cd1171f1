"""Maps of what speaks for an answer: by the deepest maps, by the slope, by covering up.

* ``gradcam``: the deepest maps weighed by the mean slope of the score (Selvaraju, ICCV 2017).
* ``gradcampp``: weights that share out several places of one class (Chattopadhay, WACV 2018).
* ``hirescam``: slope times map, place by place, before the sum (Draelos and Carin, 2020).
* ``layercam``: the positive slope only, place by place (Jiang et al., IEEE TIP 30, 2021).
* ``eigencam``: the first principal component of the maps; knows no class (Muhammad, IJCNN 2020).
* ``gradients``: integrated gradients, whose parts add up to the answer (Sundararajan, ICML 2017).
* ``occlusion``: how much is lost when a place is covered (Zeiler and Fergus, ECCV 2014).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from somascope.core.grid import Float
from somascope.learn.explain.target import Score, deepest, is_sequence, nothing

Cam: TypeAlias = Literal["gradcam", "gradcampp", "hirescam", "layercam", "eigencam"]


def gradcam(
    network: nn.Module, score: Score, x: torch.Tensor, *, kind: Cam = "gradcam", layer: str = ""
) -> Float:
    """Maps of one layer weighed by what they do for the score, in the space of ``x``.

    ``layer`` default: the deepest that has space. Of a network that reads slices every slice has
    maps of its own. Never negative.
    """
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _given: object, out: torch.Tensor) -> None:
        kept.append(out)

    handle = deepest(network, layer=layer).register_forward_hook(keep)
    try:
        value = score(x).sum()
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(value, kept[0])
    cam = _weighed(kept[0].detach(), slope.detach(), kind)
    if is_sequence(network):  # a batch of slices
        cam = functional.interpolate(cam, size=x.shape[3:], mode="bilinear", align_corners=False)
        return cam[:, 0].numpy().astype(np.float64)
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    cam = functional.interpolate(cam, size=x.shape[2:], mode=mode, align_corners=False)
    return cam[0, 0].numpy().astype(np.float64)


def _weighed(maps: torch.Tensor, slope: torch.Tensor, kind: Cam) -> torch.Tensor:
    """Maps and slopes ``(n, c, ...)`` to ``(n, 1, ...)``."""
    ones = (*maps.shape[:2], *[1] * (maps.ndim - 2))
    if kind == "hirescam":
        return (maps * slope).sum(dim=1, keepdim=True).relu()
    if kind == "layercam":
        return (maps * slope.relu()).sum(dim=1, keepdim=True).relu()
    if kind == "eigencam":
        return _first_component(maps)
    if kind == "gradcampp":
        square, cube = slope.square(), slope**3
        total = maps.flatten(2).sum(dim=2).reshape(ones)
        below = 2 * square + total * cube
        share = torch.where(below.abs() > 1e-12, square / below, torch.zeros_like(below))
        weights = (share * slope.relu()).flatten(2).sum(dim=2)
    else:
        weights = slope.flatten(2).mean(dim=2)
    return (maps * weights.reshape(ones)).sum(dim=1, keepdim=True).relu()


def _first_component(maps: torch.Tensor) -> torch.Tensor:
    """Projection on the maps' first direction, with the sign that makes the most of it positive."""
    n, c = maps.shape[:2]
    flat = maps.transpose(0, 1).reshape(c, -1)  # slices of one volume share their direction
    _, vectors = torch.linalg.eigh(flat @ flat.T)
    found = vectors[:, -1] @ flat
    found = found * (1.0 if float(found.sum()) >= 0 else -1.0)
    return found.relu().reshape(1, n, *maps.shape[2:]).transpose(0, 1)


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
