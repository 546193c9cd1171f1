"""Random changes: first a record of numbers, then applied; one resampling for all of geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Array, Float

NONE: Mapping[str, Any] = {}
"""No change: what validation uses."""
KNOTS = 6
"""Of the curves that values go through."""


@dataclass(frozen=True)
class Draw:
    """One example's change.

    ``matrix`` (d x d) takes voxels of the patch, counted from its middle, to voxels of the image;
    ``shift`` is a part of the patch's edge; ``bend`` holds displacements on a coarse lattice
    ``(d, 4, ...)`` as parts of half the patch; ``shade`` ``(3, ...)`` logarithms of gain, as of a
    coil that is nearer to one side. ``swell`` is by how much less space what is labelled takes up.
    ``curve`` ``(2, knots)`` are two rising curves from 0 to 1 that values go through, each in the
    parts of the image that ``where`` ``(3, ...)`` says (positive: the first). The rest changes
    values.
    """

    matrix: Float
    shift: Float
    bend: Float | None
    contrast: float
    brightness: float
    gamma: float
    noise: float
    blur: float
    seed: int
    shade: Float | None = None
    swell: float = 0.0
    curve: Float | None = None
    where: Float | None = None


@dataclass(frozen=True)
class Thing:
    """Where the middle of what is labelled lies, and the radius of a ball as large; in voxels."""

    centre: tuple[float, ...]
    radius: float

    @classmethod
    def of(cls, mask: Array) -> Thing | None:
        """Of all voxels of a mask; None where there is none."""
        places = np.argwhere(mask)
        if not len(places):
            return None
        d = mask.ndim
        ball = math.pi if d == 2 else 4 / 3 * math.pi
        centre = tuple(float(v) for v in places.mean(axis=0))
        return cls(centre, max((len(places) / ball) ** (1 / d), 1.0))


def draw(spec: Mapping[str, Any], rng: np.random.Generator, *, dimensions: int) -> Draw:
    """The numbers of one change, of the kinds and sizes in ``spec`` (see `plan`)."""

    def spread(name: str) -> float:
        size = float(spec.get(name, 0.0))
        return float(rng.uniform(-size, size)) if size else 0.0

    matrix = np.eye(dimensions)
    for a in range(dimensions):
        for b in range(a + 1, dimensions):
            angle = math.radians(spread("rotate"))
            turn = np.eye(dimensions)
            turn[a, a] = turn[b, b] = math.cos(angle)
            turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ turn
            matrix[a, b] += spread("shear")
    matrix = matrix * math.exp(spread("scale"))
    for axis in spec.get("flip", []):
        if rng.random() < 0.5:
            matrix[:, axis] = -matrix[:, axis]
    bend = None
    if spec.get("bend"):
        bend = rng.normal(scale=float(spec["bend"]), size=(dimensions, *[4] * dimensions))
    shift = np.array([spread("shift") for _ in range(dimensions)])
    one = Draw(
        matrix, shift, bend, math.exp(spread("contrast")), spread("brightness"),
        math.exp(spread("gamma")), abs(spread("noise")),
        float(rng.random()) if rng.random() < float(spec.get("blur", 0.0)) else 0.0,
        int(rng.integers(2**31)),
        rng.normal(scale=float(spec["shade"]), size=[3] * dimensions)
        if spec.get("shade") else None,
    )  # fmt: skip
    # Drawn last, so that plans without them draw what they drew before.
    curve = where = None
    if spec.get("curve"):
        rises = np.exp(rng.normal(scale=float(spec["curve"]), size=(2, KNOTS - 1)))
        curve = np.zeros((2, KNOTS))
        curve[:, 1:] = np.cumsum(rises, axis=1) / rises.sum(axis=1, keepdims=True)
        where = rng.normal(scale=3.0, size=[3] * dimensions)
    swell = math.expm1(spread("swell"))
    return replace(one, swell=swell, curve=curve, where=where)


def lattice(
    one: Draw,
    *,
    centre: Sequence[float],
    shape: Sequence[int],
    patch: Sequence[int],
    thing: Thing | None = None,
) -> torch.Tensor:
    """Sampling points ``(1, *patch, d)`` for `torch.nn.functional.grid_sample`.

    ``centre`` is where the middle of the patch lies, in voxels of an image of ``shape``; ``thing``
    what is to swell or shrink against what is around it.
    """
    d = len(patch)
    size = np.maximum(np.asarray(shape, float) - 1, 1)
    half = (np.asarray(patch, float) - 1) / 2
    where = np.asarray(centre) + one.shift * np.asarray(patch)
    theta = np.zeros((d, d + 1))
    theta[:, :d] = one.matrix * half[None, :] * (2 / size)[:, None]
    theta[:, d] = 2 * where / size - 1
    theta = theta[::-1, [*range(d - 1, -1, -1), d]]  # torch counts x first
    given = torch.from_numpy(theta.copy()).float()[None]
    grid = functional.affine_grid(given, [1, 1, *patch], align_corners=True)
    if one.bend is not None:
        coarse = torch.from_numpy(one.bend[::-1].copy()).float()[None]
        mode = "bilinear" if d == 2 else "trilinear"
        fine = functional.interpolate(coarse, size=tuple(patch), mode=mode, align_corners=True)
        scale = torch.from_numpy((half / (size / 2))[::-1].copy()).float()
        grid = grid + fine.movedim(1, -1) * scale
    if one.swell and thing is not None:
        grid = _swollen(grid, one.swell, thing, size)
    return grid


def _swollen(grid: torch.Tensor, swell: float, thing: Thing, size: Array) -> torch.Tensor:
    """The points drawn towards a thing or away from it, less and less from two radii on.

    Monotone along every ray for -1 < ``swell`` < 2.2, so that nothing folds.
    """
    middle = (2 * np.asarray(thing.centre) / size - 1)[::-1].copy()
    voxels = torch.from_numpy((size / 2)[::-1].copy()).float()
    away = (grid - torch.from_numpy(middle).float()) * voxels
    near = (-(away**2).sum(dim=-1, keepdim=True) / (2 * thing.radius) ** 2).exp()
    return grid + away * (swell * near) / voxels


def sampled(values: torch.Tensor, grid: torch.Tensor, *, nearest: bool = False) -> torch.Tensor:
    """``values`` ``(c, ...)`` at the points: linear and bordered, or nearest and 0 outside."""
    if nearest:
        return functional.grid_sample(
            values[None], grid, mode="nearest", padding_mode="zeros", align_corners=True
        )[0]
    return functional.grid_sample(
        values[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[0]


def recoloured(values: torch.Tensor, one: Draw) -> torch.Tensor:
    """``values`` ``(c, ...)`` with other contrast, brightness, gamma, shading, blur and noise."""
    low, high = float(values.min()), float(values.max())
    width = max(high - low, 1e-6)
    result = ((values - low) / width).clamp(0, 1)
    if one.curve is not None and one.where is not None:
        first, second = (_through(result, c) for c in one.curve)
        result = torch.lerp(second, first, _smooth(one.where, values).sigmoid())
    result = result**one.gamma * width + low
    if one.shade is not None:
        result = (result - low) * _smooth(one.shade, values).exp() + low
    middle = result.mean()
    result = (result - middle) * one.contrast + middle + one.brightness * width
    if one.blur:
        pool = functional.avg_pool2d if values.ndim == 3 else functional.avg_pool3d
        result = torch.lerp(result, pool(result[None], 3, stride=1, padding=1)[0], one.blur)
    if one.noise:
        generator = torch.Generator().manual_seed(one.seed)
        result = result + torch.randn(result.shape, generator=generator) * (one.noise * width)
    return result


def _smooth(coarse: Float, values: torch.Tensor) -> torch.Tensor:
    """A coarse lattice ``(3, ...)`` spread over ``values`` ``(c, ...)``: ``(1, ...)``."""
    mode = "bilinear" if values.ndim == 3 else "trilinear"
    given = torch.from_numpy(coarse).float()[None, None]
    return functional.interpolate(given, size=values.shape[1:], mode=mode, align_corners=True)[0]


def _through(values: torch.Tensor, curve: Float) -> torch.Tensor:
    """Values of 0 to 1 through a curve given at equal steps, straight between them."""
    knots = torch.from_numpy(curve).to(values.dtype)
    at = values * (len(knots) - 1)
    low = at.floor().clamp(max=len(knots) - 2)
    left = low.long()
    return torch.lerp(knots[left], knots[left + 1], at - low)
