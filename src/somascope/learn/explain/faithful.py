"""Is the map true? Deletion and insertion beside chance, and whether it needs the weights at all.

Sources: Petsiuk et al., BMVC 2018 (deletion, insertion); Adebayo et al., NeurIPS 2018 (sanity
checks: a map that stays when the weights are destroyed explains the image, not the network).
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from somascope.core.grid import Float
from somascope.learn.explain.target import Score, nothing


def faithfulness(
    score: Score, x: torch.Tensor, found: Float, *, steps: int = 10
) -> tuple[float, float]:
    """Deletion and insertion: mean score on the way while places are taken, or put back.

    ``found`` in the space of ``x`` says which come first. Both are parts of the way from nothing
    to the whole image; NaN where nothing scores as high as the whole, so that there is no way.
    """
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
    if whole - none < 1e-9:
        return float("nan"), float("nan")
    away, back = ((v - none) / (whole - none) for v in (away, back))
    return float(np.trapezoid(away, dx=1 / steps)), float(np.trapezoid(back, dx=1 / steps))


def chance(
    score: Score, x: torch.Tensor, *, draws: int = 4, seed: int = 0, cell: int = 4
) -> tuple[float, float]:
    """Deletion and insertion of random maps, the mean of ``draws``.

    The maps are as smooth as maps are: noise on a lattice ``cell`` times coarser, so that a real
    one is not better only because it takes away whole places and not single pixels.
    """
    shape = x.shape[2:]
    coarse = tuple(max(n // cell, 1) for n in shape)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    generator = torch.Generator().manual_seed(seed)
    each: list[tuple[float, float]] = []
    for _ in range(draws):
        noise = torch.randn((1, 1, *coarse), generator=generator)
        found = nn.functional.interpolate(noise, size=shape, mode=mode, align_corners=False)
        each.append(faithfulness(score, x, found[0, 0].numpy().astype(np.float64)))
    deletion, insertion = np.mean(np.asarray(each), axis=0)
    return float(deletion), float(insertion)


def destroyed(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy whose kernels are shuffled, each within itself: as strong as before, and senseless."""
    generator = torch.Generator().manual_seed(seed)
    other = deepcopy(network).eval()
    with torch.no_grad():
        for p in other.parameters():
            if p.ndim > 1:
                order = torch.randperm(p.numel(), generator=generator)
                p.copy_(p.flatten()[order].reshape(p.shape))
    return other


def likeness(one: Float, other: Float) -> float:
    """Spearman's correlation of two maps' sizes; 0 where one of them is the same everywhere."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.abs(m).reshape(-1)) for m in (one, other)]
    spread = [float(r.std()) for r in ranks]
    if min(spread) == 0:
        return 0.0
    a, b = ((r - r.mean()) / s for r, s in zip(ranks, spread, strict=True))
    return float((a * b).mean())
