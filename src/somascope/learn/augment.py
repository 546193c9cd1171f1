"""Random changes: first a record of numbers, then applied; one resampling for all of geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Float

NONE: Mapping[str, Any] = {}
"""No change: what validation uses."""


@dataclass(frozen=True)
class Draw:
    """One example's change.

    ``matrix`` (d x d) takes voxels of the patch, counted from its middle, to voxels of the image;
    ``shift`` is a part of the patch's edge; ``bend`` holds displacements on a coarse lattice
    ``(d, 4, ...)`` as parts of half the patch. The rest changes values.
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
    return Draw(
        matrix, shift, bend, math.exp(spread("contrast")), spread("brightness"),
        math.exp(spread("gamma")), abs(spread("noise")),
        float(rng.random()) if rng.random() < float(spec.get("blur", 0.0)) else 0.0,
        int(rng.integers(2**31)),
    )  # fmt: skip


def lattice(
    one: Draw, *, centre: Sequence[float], shape: Sequence[int], patch: Sequence[int]
) -> torch.Tensor:
    """Sampling points ``(1, *patch, d)`` for `torch.nn.functional.grid_sample`.

    ``centre`` is where the middle of the patch lies, in voxels of an image of ``shape``.
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
    return grid


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
    """``values`` ``(c, ...)`` with another contrast, brightness, gamma, sharpness and noise."""
    low, high = float(values.min()), float(values.max())
    width = max(high - low, 1e-6)
    result = ((values - low) / width).clamp(0, 1) ** one.gamma * width + low
    middle = result.mean()
    result = (result - middle) * one.contrast + middle + one.brightness * width
    if one.blur:
        pool = functional.avg_pool2d if values.ndim == 3 else functional.avg_pool3d
        result = torch.lerp(result, pool(result[None], 3, stride=1, padding=1)[0], one.blur)
    if one.noise:
        generator = torch.Generator().manual_seed(one.seed)
        result = result + torch.randn(result.shape, generator=generator) * (one.noise * width)
    return result
