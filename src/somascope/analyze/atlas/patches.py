"""Patches of two volumes compared at every voxel and at every shift, by box sums.

The normalised patches of target and atlas (mean 0, variance 1) differ least where they correlate
most, and a correlation needs one sum of products for each shift: three running boxes, whatever the
patch's size. A search over s shifts costs about (3 + 2 (2 r + 1)) s operations a voxel and atlas
in place of s (2 r + 1)^3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy.ndimage import uniform_filter1d

from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

FLOOR = 1e-3
"""Least variance of a patch, that of the whole image being 1: below it there is only noise."""

SLAB = 12
"""Slices that one task takes; its neighbours' patches are computed twice."""


def voxels(
    radius: float, spacing: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[int, int, int]:
    """A radius in mm as whole voxels along (z, y, x); none along an axis of one voxel."""
    z, y, x = (0 if n == 1 else round(radius / d) for d, n in zip(spacing, shape, strict=True))
    return z, y, x


def shifts(radius: tuple[int, int, int], spacing: tuple[float, float, float]) -> Array:
    """All shifts of a box ``(n, 3)`` int64 in voxels, the nearest first (in mm)."""
    axes = [np.arange(-r, r + 1) for r in radius]
    every = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    far = ((every * np.asarray(spacing)) ** 2).sum(axis=1)
    return np.ascontiguousarray(every[np.argsort(far, kind="stable")], np.int64)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume padded by patch and search, and mean and 1 / deviation of the patch at each voxel.

    ``values`` is padded by ``margin``; ``mean`` and ``scale`` have the same shape.
    """

    values: Array
    mean: Array
    scale: Array


def prepared(volume: Array, patch: tuple[int, int, int], margin: tuple[int, int, int]) -> Prepared:
    """``volume`` with its values made comparable: mean 0 and variance 1 as a whole."""
    values = np.asarray(volume, np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    spread = float(values.std())
    values = (values - values.mean()) / (spread if spread > 0 else 1.0)
    padded = np.pad(values, [(m, m) for m in margin], mode="edge")
    mean, square = padded, padded * padded
    for axis, r in enumerate(patch):
        mean, square = (
            uniform_filter1d(a, 2 * r + 1, axis=axis, mode="nearest") for a in (mean, square)
        )
    variance = square - mean * mean
    scale = 1 / np.sqrt(np.maximum(variance, FLOOR))
    return Prepared(*(np.ascontiguousarray(a, np.float32) for a in (padded, mean, scale)))


@numba.njit(nogil=True, fastmath=True, cache=True)
def _search(
    start: int, stop: int, slab: int, target: Array, tm: Array, ts: Array, atlases: Array,
    am: Array, as_: Array, patch: Array, margin: Array, offsets: Array, best: Array, which: Array,
) -> None:  # fmt: skip
    """Best correlation and the number of its shift, for tasks of a slab and an atlas each."""
    _, nz, ny, nx = best.shape
    rz, ry, rx = patch[0], patch[1], patch[2]
    pz, py, px = margin[0], margin[1], margin[2]
    slabs = (nz + slab - 1) // slab
    rows = np.empty((ny + 2 * ry, nx), np.float32)
    product = np.empty(nx + 2 * rx, np.float32)
    ring = np.empty((2 * rz + 1, ny, nx), np.float32)
    total = np.empty(nx, np.float32)
    per = np.float32(1.0 / ((2 * rz + 1) * (2 * ry + 1) * (2 * rx + 1)))
    for task in range(start, stop):
        a, part = task // slabs, task % slabs
        low, high = part * slab, min((part + 1) * slab, nz)
        for z in range(low, high):
            for y in range(ny):
                for x in range(nx):
                    best[a, z, y, x] = np.float32(-2)
        for k in range(offsets.shape[0]):
            oz, oy, ox = offsets[k, 0], offsets[k, 1], offsets[k, 2]
            for zz in range(low - rz, high + rz):
                plane = ring[(zz - low + rz) % (2 * rz + 1)]
                for y in range(ny + 2 * ry):
                    one = target[zz + pz, y + py - ry]
                    two = atlases[a, zz + pz + oz, y + py - ry + oy]
                    for x in range(nx + 2 * rx):
                        product[x] = one[x + px - rx] * two[x + px - rx + ox]
                    row = rows[y]
                    for x in range(nx):
                        row[x] = product[x]
                    for d in range(1, 2 * rx + 1):
                        for x in range(nx):
                            row[x] += product[x + d]
                for y in range(ny):
                    line = plane[y]
                    for x in range(nx):
                        line[x] = rows[y, x]
                    for d in range(1, 2 * ry + 1):
                        for x in range(nx):
                            line[x] += rows[y + d, x]
                z = zz - rz
                if z < low:
                    continue
                for y in range(ny):
                    for x in range(nx):
                        total[x] = ring[0, y, x]
                    for d in range(1, 2 * rz + 1):
                        for x in range(nx):
                            total[x] += ring[d, y, x]
                    m1, s1 = tm[z + pz, y + py], ts[z + pz, y + py]
                    m2 = am[a, z + pz + oz, y + py + oy]
                    s2 = as_[a, z + pz + oz, y + py + oy]
                    for x in range(nx):
                        alike = (total[x] * per - m1[x + px] * m2[x + px + ox]) * (
                            s1[x + px] * s2[x + px + ox]
                        )
                        if alike > best[a, z, y, x] + np.float32(1e-5):
                            best[a, z, y, x] = alike
                            which[a, z, y, x] = k


def search(
    target: Prepared, atlases: list[Prepared], *, patch: tuple[int, int, int],
    margin: tuple[int, int, int], offsets: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Where each atlas is most like the target.

    Parameters
    ----------
    target, atlases
        Padded by ``margin``, at least the patch's and the search's radius together.
    offsets
        ``(n, 3)`` voxels, the nearest first: of equal ones the first wins.

    Returns
    -------
    tuple
        Correlations ``(atlases, nz, ny, nx)`` float32 of the best patches, and the numbers of their
        shifts, int32.
    """
    shape = tuple(n - 2 * m for n, m in zip(target.values.shape, margin, strict=True))
    best = np.empty((len(atlases), *shape), np.float32)
    which = np.zeros(best.shape, np.int32)
    slab = min(SLAB, shape[0])
    tasks = len(atlases) * -(-shape[0] // slab)
    in_chunks(
        _search, tasks, slab, target.values, target.mean, target.scale,
        np.stack([a.values for a in atlases]), np.stack([a.mean for a in atlases]),
        np.stack([a.scale for a in atlases]), np.asarray(patch), np.asarray(margin), offsets,
        best, which,
    )  # fmt: skip
    return best, which
