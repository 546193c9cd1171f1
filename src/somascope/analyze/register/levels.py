"""Two images at falling resolution, with comparable values."""

from __future__ import annotations

import numpy as np

from somascope.analyze.register.dense import ONE, Level
from somascope.core.grid import Array, Float, Grid
from somascope.process.filters import smooth
from somascope.process.resample import with_spacing
from somascope.process.sampling import sample

AROUND = 0.67
"""Share of its neighbourhood of 3 voxels a side that has to be known for a hole to be filled: more
than a missing slice or row leaves."""


def scaled(volume: Array, *, missing: float = 0.0) -> Array:
    """Float32 values between about 0 and 1 (0.5 % and 99.5 % of them).

    ``missing``: what is put where a value is not finite; NaN keeps it known as missing.
    """
    values = np.asarray(volume, np.float32)
    finite = np.isfinite(values)
    some = values[finite][:: max(values.size // 200_000, 1)]
    if not some.size:
        return np.full(values.shape, missing, np.float32)
    low, high = np.percentile(some, (0.5, 99.5))
    if high <= low:
        low, high = float(some.min()), float(some.max())
    out = (values - np.float32(low)) / np.float32(max(high - low, 1e-12))
    return out if finite.all() else np.where(finite, out, np.float32(missing))


def at(volume: Array, grid: Grid, edge: float, *, blur: float = 0.0) -> tuple[Array, Grid]:
    """The volume with voxels of about ``edge`` mm (never finer than it is), smoothed for it.

    ``blur`` voxels of the result of additional smoothing. NaN is missing: what is left of a voxel
    counts, and the result is NaN where less than half is.
    """
    known = np.isfinite(volume)
    if not known.all():
        made, coarse = at(filled(volume, known), grid, edge, blur=blur)
        return patchy(made, at(known.astype(np.float32), grid, edge)[0]), coarse
    spacing = np.asarray(grid.spacing)
    wanted = np.where(np.asarray(grid.shape) > 1, np.maximum(edge, spacing), spacing)
    wanted = np.where(wanted < 1.25 * spacing, spacing, wanted)
    ratio = wanted / spacing
    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0) * 0.42**2 + (blur * ratio) ** 2)
    sigma[np.asarray(grid.shape) == 1] = 0.0
    volume = smooth(volume, tuple(sigma.tolist())) if sigma.max() > 0.05 else volume
    if (ratio == 1).all():
        return volume, grid
    coarse = with_spacing(grid, tuple(wanted.tolist()))
    affine = np.linalg.inv(grid.affine) @ coarse.affine
    return sample(volume, affine, coarse.shape, order="linear", fill=0.0), coarse


def filled(volume: Array, known: Array) -> Array:
    """The volume with the nearest known value where it has none."""
    if known.all():
        return volume
    from scipy.ndimage import distance_transform_edt

    if not known.any():
        return np.zeros(volume.shape, np.float32)
    distance = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.ascontiguousarray(volume[tuple(np.asarray(distance))])


def mended(volume: Array) -> Array:
    """Single missing voxels filled from beside them; slices, rows and regions stay NaN."""
    from scipy.ndimage import uniform_filter

    known = np.isfinite(volume)
    if known.all():
        return volume
    size = tuple(3 if n > 1 else 1 for n in volume.shape)
    around = uniform_filter(known.astype(np.float32), size, mode="nearest")  # pyright: ignore[reportArgumentType]
    lone = ~known & (around > AROUND)
    return np.where(lone, filled(volume, known), volume)


def patchy(volume: Array, share: Array) -> Array:
    """NaN where the ``share`` that is known of a voxel is under a half."""
    return np.where(share >= np.float32(0.5), volume, np.float32(np.nan))


def pyramid(
    volume: Array, grid: Grid, edges: tuple[float, ...], *, blur: float = 0.0
) -> list[tuple[Array, Grid]]:
    """The volume at each voxel edge (mm, falling), every one made of the next finer.

    ``blur`` voxels of additional smoothing at each. NaN is missing, as in `at`.
    """
    known = np.isfinite(volume)
    if not known.all():
        # Filled and its share known apart: what is missing would grow from level to level.
        shares = pyramid(known.astype(np.float32), grid, edges)
        whole = pyramid(filled(volume, known), grid, edges, blur=blur)
        return [(patchy(v, s), g) for (v, g), (s, _) in zip(whole, shares, strict=True)]
    out: list[tuple[Array, Grid]] = []
    for edge in reversed(edges):
        volume, grid = at(volume, grid, edge)
        sigma = [blur if n > 1 else 0.0 for n in grid.shape]
        calm = smooth(volume, (sigma[0], sigma[1], sigma[2])) if blur > 0 else volume
        out.append((calm, grid))
    return out[::-1]


def levels(
    fixed: tuple[Array, Grid], moving: tuple[Array, Grid], edges: tuple[float, ...],
    *, blur: float = 0.0, weight: Array | None = None,
) -> list[Level]:  # fmt: skip
    """Both images at each voxel edge (mm, falling)."""
    ones, twos = (pyramid(*image, edges, blur=blur) for image in (fixed, moving))
    weights = (
        [ONE] * len(edges)
        if weight is None
        else [np.clip(w, 0, 1) for w, _ in pyramid(weight, fixed[1], edges)]
    )
    return [Level(*f, *m, w) for f, m, w in zip(ones, twos, weights, strict=True)]


def displacement_world(u: Array, grid: Grid) -> Array:
    """``(3, nz, ny, nx)`` in L, P, S mm of ``(nz, ny, nx, 3)`` in mm along the grid's axes."""
    turn = np.asarray(grid.direction, np.float32)
    return np.ascontiguousarray(np.moveaxis(u @ turn.T, -1, 0))


def centre(grid: Grid) -> Float:
    """Middle of a grid in LPS mm."""
    return grid.to_world((np.asarray(grid.shape) - 1) / 2)
