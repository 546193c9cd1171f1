"""Bodies with known ways to vary: ellipses and superquadrics with images of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from somascope.core import Grid, Image, Mask, Segment


def ellipse(a: float, b: float, *, at=(48.0, 48.0), turn: float = 0.0, n: int = 96,
            pixel: float = 1.0) -> Mask:  # fmt: skip
    """Half axes ``a`` along the rows and ``b`` along the columns, mm; a slice of n x n pixels."""
    y, x = np.indices((n, n)) * pixel
    y, x = y - at[0], x - at[1]
    u, v = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    inside = (u / a) ** 2 + (v / b) ** 2 < 1
    grid = Grid.from_spacing((1, n, n), (1.0, pixel, pixel))
    return Mask(data=inside[None].astype(np.uint8), grid=grid, segments=(Segment(1, "Ellipse"),))


def quadric(axes, power: float = 2.0, *, shift=(0.0, 0.0, 0.0), n: int = 30, voxel: float = 2.0,
            bend: float = 0.0) -> Mask:  # fmt: skip
    """A superquadric with half axes along L, P, S in mm, bent along S, about the grid's middle."""
    origin = -voxel * (n - 1) / 2
    grid = Grid.from_spacing((n, n, n), (voxel,) * 3, origin=(origin,) * 3)
    place = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - np.asarray(shift)
    place[..., 0] -= bend * (place[..., 2] / axes[2]) ** 2
    inside = (np.abs(place / np.asarray(axes)) ** power).sum(axis=-1) < 1
    return Mask(data=inside.astype(np.uint8), grid=grid, segments=(Segment(1, "Body"),))


def seen(mask: Mask, *, seed: int, noise: float = 0.08) -> Image:
    """What a scanner would make of it: bright inside, a texture around, blurred, with noise."""
    rng = np.random.default_rng(seed)
    flat = mask.grid.shape[0] == 1
    sigma = (0 if flat else 1.0, 1.0, 1.0)
    world = gaussian_filter(rng.standard_normal(mask.grid.shape), [4 * s for s in sigma])
    values = gaussian_filter((mask.data > 0).astype(float), sigma) + 0.15 * world / world.std()
    values = values + noise * rng.standard_normal(values.shape)
    return Image((1000 * (values + 1)).astype(np.float32), mask.grid, "MR", "1")


def ellipses(count: int, *, seed: int = 0) -> list[Mask]:
    rng = np.random.default_rng(seed)
    return [
        ellipse(
            22 + 3 * rng.standard_normal(), 15 + 1.5 * rng.standard_normal(),
            at=48 + 3 * rng.standard_normal(2), turn=0.1 * rng.standard_normal(),
        )
        for _ in range(count)
    ]  # fmt: skip


def quadrics(count: int, *, seed: int = 0) -> list[Mask]:
    rng = np.random.default_rng(seed)
    return [
        quadric(
            (10 + rng.standard_normal(), 12 + 1.2 * rng.standard_normal(),
             20 + 2 * rng.standard_normal()),
            2.3, shift=2 * rng.standard_normal(3), bend=2 * rng.standard_normal(),
        )
        for _ in range(count)
    ]  # fmt: skip


def damaged(mask: Mask, *, seed: int) -> Mask:
    """A bite out of the border, a tongue and an island put on, holes inside."""
    rng = np.random.default_rng(seed)
    inside = mask.data > 0
    flat = inside.shape[0] == 1
    index = np.moveaxis(np.indices(inside.shape), 0, -1).astype(float)
    shell = np.argwhere(inside ^ (gaussian_filter(inside.astype(float), (0, 2, 2) if flat else 2)
                                  > 0.7) & inside)  # fmt: skip
    size = (inside.sum() ** (1 / (2 if flat else 3))) / 6
    out = inside.copy()
    for k in range(2):
        at = shell[rng.integers(len(shell))]
        ball = ((index - at) ** 2).sum(axis=-1) < (1.5 * size) ** 2
        out = out & ~ball if k == 0 else out | ball
    at = shell[rng.integers(len(shell))]
    away = at + 4 * size * (at - np.argwhere(inside).mean(axis=0)) / max(
        np.linalg.norm(at - np.argwhere(inside).mean(axis=0)), 1
    )
    out |= ((index - away) ** 2).sum(axis=-1) < (0.7 * size) ** 2
    out &= ~(rng.random(out.shape) < 0.03)
    return replace(mask, data=out.astype(np.uint8))
