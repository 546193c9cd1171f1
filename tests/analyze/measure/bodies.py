"""Bodies of closed form on oblique grids of any spacing."""

from __future__ import annotations

import numpy as np

from somascope.core import Grid, Mask, Segment

SPACINGS = ((1.0, 1.0, 1.0), (2.5, 0.8, 0.8))


def grid(size: float, spacing: tuple[float, float, float], *, seed: int = 3) -> Grid:
    """A cube of about ``size`` mm about the origin, turned at random; 0: not turned."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0] if seed else None
    shape = [int(np.ceil(size / s)) for s in spacing]
    made = Grid.from_spacing(shape, spacing, direction=turn)
    affine = made.affine.copy()
    affine[:3, 3] -= made.to_world((np.array(shape) - 1) / 2)
    return Grid(made.shape, affine)


def world(at: Grid) -> np.ndarray:
    """Places of all voxels, ``(nz, ny, nx, 3)`` in mm."""
    return at.to_world(np.stack(np.meshgrid(*map(np.arange, at.shape), indexing="ij"), axis=-1))


def ellipsoid(at: Grid, radii: tuple[float, float, float], centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    return (((world(at) - centre) / radii) ** 2).sum(axis=-1) < 1


def mask(at: Grid, *parts: np.ndarray) -> Mask:
    data = np.zeros(at.shape, np.uint8)
    for n, part in enumerate(parts, start=1):
        data[part] = n
    names = tuple(Segment(n, f"Part {n}") for n in range(1, len(parts) + 1))
    return Mask(data=data, grid=at, segments=names)


def told(findings) -> dict[str, tuple[float, float | None]]:
    """Value and uncertainty by the concept's meaning."""
    return {m.concept.meaning: (m.value, m.uncertainty) for m in findings}
