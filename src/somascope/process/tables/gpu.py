"""Histograms, equalisation by tiles and windows on torch tensors.

Whole numbers are counted, so the order in which threads come does not matter. Never yet run on a
GPU; on the CPU these are torch's own operations and need no interpreter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from somascope.process.gpu import table

PIECE = 1 << 24
"""Values whose places lie in memory at one time."""


def words(values: Tensor) -> tuple[Any, Any]:
    """`counting.words`: values and counts, as arrays."""
    if values.dtype == torch.bool:
        values = values.to(torch.uint8)
    info = torch.iinfo(values.dtype)
    count = info.max - info.min + 1
    total = np.zeros(count, np.int64)
    for part in values.reshape(-1).split(PIECE):
        total += torch.bincount(part.to(torch.int64) - info.min, minlength=count).cpu().numpy()
    return np.arange(info.min, info.max + 1), total


def extremes(values: Tensor) -> tuple[float, float]:
    """`counting.extremes`."""
    if values.dtype.is_floating_point:
        values = values[torch.isfinite(values)]
    if not values.numel():
        return 0.0, 0.0
    return float(values.min()), float(values.max())


def binned(values: Tensor, edges: Any) -> Any:
    """`counting.binned`, as an array ``(bins + 3,)``."""
    sides = table(edges, values, kind=torch.float64)
    bins = len(edges) - 1
    total = np.zeros(bins + 3, np.int64)
    for part in values.reshape(-1).split(PIECE):
        wide = part.to(torch.float64)
        place = torch.searchsorted(sides, wide, right=True)
        place = torch.where(wide == sides[-1], bins, place)
        place = torch.where(torch.isnan(wide), bins + 2, place)
        total += torch.bincount(place, minlength=bins + 3).cpu().numpy()
    return total


def pairs(a: Tensor, b: Tensor, edges_a: Any, edges_b: Any) -> Any:
    """`counting.pairs`, as an array ``(bins_a, bins_b)``."""
    sizes = len(edges_a) - 1, len(edges_b) - 1
    total = np.zeros(sizes[0] * sizes[1], np.int64)
    parts = zip(a.reshape(-1).split(PIECE), b.reshape(-1).split(PIECE), strict=True)
    for both in parts:
        places, inside = [], None
        for part, edges, bins in zip(both, (edges_a, edges_b), sizes, strict=True):
            scale = bins / float(edges[-1] - edges[0])
            u = (part.to(torch.float64) - float(edges[0])) * scale
            ok = (u >= 0) & (u <= bins)
            inside = ok if inside is None else inside & ok
            places.append(torch.nan_to_num(u).clamp(0, bins - 1).to(torch.int64))
        flat = (places[0] * sizes[1] + places[1])[inside]
        total += torch.bincount(flat, minlength=total.size).cpu().numpy()
    return total.reshape(sizes)


def equalise(
    volume: Tensor, tile: tuple[float, float, float], *, limit: float, low: float, high: float,
    bins: int,
) -> Tensor:  # fmt: skip
    """`equalise.equalise`, plane by plane of tiles."""
    from somascope.process.equalise import edges

    values = volume.to(torch.float32)
    scale = float(np.float32(bins / (high - low)))
    place = (values - low) * scale
    inside = (place >= 0) & (place <= bins)
    place = torch.where(inside, place, 0.0)
    which = [edges(n, t) for n, t in zip(values.shape, tile, strict=True)]
    tz, ty, tx = (len(e) - 1 for e in which)
    owner = [
        table(np.repeat(np.arange(len(e) - 1), np.diff(e)), values, kind=torch.int64) for e in which
    ]
    home = (owner[0][:, None, None] * ty + owner[1][:, None]) * tx + owner[2]
    bin_ = place.to(torch.int64).clamp(max=bins - 1)
    counts = torch.bincount((home * bins + bin_)[inside], minlength=tz * ty * tx * bins)
    curves = _curves(counts.reshape(-1, bins).to(torch.float64), max(limit, 1.0))
    f = place - bin_
    sides = [_between(e, n, values) for e, n in zip(which, values.shape, strict=True)]
    mapped = torch.zeros_like(values)
    for corner in np.ndindex(2, 2, 2):
        at: Any = 0
        weight: Any = 1.0
        for axis, (k, count) in enumerate(zip(corner, (tz, ty, tx), strict=True)):
            before, after, w = sides[axis]
            shape = [1, 1, 1]
            shape[axis] = -1
            at = at * count + (after if k else before).reshape(shape)
            weight = weight * (w if k else 1 - w).reshape(shape)
        first = at * (bins + 1) + bin_
        start = curves[first]
        mapped += weight * (start + f * (curves[first + 1] - start))
    return torch.where(inside, low + mapped * (bins / scale), values).to(volume.dtype)


def _curves(counts: Tensor, limit: float) -> Tensor:
    """`equalise._mappings`, flat."""
    tiles, bins = counts.shape
    total = counts.sum(dim=1, keepdim=True)
    height = limit * total / bins
    low, high = torch.zeros_like(height), height.clone()
    for _ in range(40):
        raised = 0.5 * (low + high)
        short = torch.minimum(counts + raised, height).sum(dim=1, keepdim=True) < total
        low, high = torch.where(short, raised, low), torch.where(short, high, raised)
    share = torch.minimum(counts + high, height)
    share = torch.where(total > 0, share / share.sum(dim=1, keepdim=True), 1.0 / bins)
    out = torch.zeros(tiles, bins + 1, device=counts.device)
    out[:, 1:] = share.cumsum(dim=1)
    return out.reshape(-1)


def _between(edges: Any, n: int, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from somascope.process.equalise import _between as found

    before, after, weight = found(edges, n)
    return (
        table(before, near, kind=torch.int64), table(after, near, kind=torch.int64),
        table(weight, near),
    )  # fmt: skip


def voi(values: Tensor, centre: float, width: float, *, function: str) -> Tensor:
    """`mapping.voi`, of settings that it has found good."""
    x = values.to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    if function == "sigmoid":
        y = torch.sigmoid((x - centre) * (4.0 / width))
    elif function == "linear_exact":
        y = ((x - centre) / width + 0.5).clamp(0, 1)
    elif width == 1:
        y = (x > centre - 0.5).to(x.dtype)
    else:
        y = ((x - (centre - 0.5)) / (width - 1.0) + 0.5).clamp(0, 1)
    return torch.nan_to_num(y, nan=0.0).to(torch.float32)


def coloured(values: Tensor, colours: Any, lower: float, upper: float) -> Tensor:
    """Colours ``(3, ...)`` uint8 of a table ``(steps, 3)``; NaN is black."""
    steps = table(colours, values, kind=torch.uint8)
    kind = torch.float64 if values.dtype == torch.float64 else torch.float32
    place = (values.to(kind) - lower) * ((len(colours) - 1) / (upper - lower))
    index = torch.nan_to_num(place).clamp(0, len(colours) - 1).to(torch.int64)
    found = torch.movedim(steps[index], -1, 0)
    return torch.where(torch.isnan(place), torch.zeros_like(found), found).contiguous()
