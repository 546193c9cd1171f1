"""Joseph's projector in space: sums along rays of any geometry, and their exact transpose.

A ray is followed along the axis of the index grid in which it advances most; in each plane it
crosses, the volume is interpolated between four voxels. Volumes are turned so that the planes come
first, then the other in-slice axis, then z: neighbouring detector rows read neighbouring z. The
transpose runs over planes in blocks of which each thread owns one, so it needs no atomic sums.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np

from somascope.acquire.ct.geometry import Views
from somascope.core.grid import Array, Float, Grid

_PAD = 2
_BLOCK = 8

# Marching axis first, then the others; z stays last but where it is marched along.
_ORDERS = ((1, 2, 0), (2, 1, 0), (0, 1, 2))


def project(volume: Array, grid: Grid, views: Views) -> Array:
    """Line integrals ``(views, rows, columns)`` of ``(nz, ny, nx)``, value times mm."""
    source, first, step, metric = _in_indices(grid, views)
    out = np.zeros((len(views), views.columns, views.rows), volume.dtype)
    for axis in _axes(source, first, step, views):
        order = _ORDERS[axis]
        padded = np.pad(volume.transpose(order), ((0, 0), (_PAD, _PAD), (_PAD, _PAD)))
        _gather(
            np.ascontiguousarray(padded), *_turned(order, source, first, step, metric),
            axis, views.parallel, out,
        )  # fmt: skip
    return np.ascontiguousarray(out.transpose(0, 2, 1))


def unproject(data: Array, grid: Grid, views: Views) -> Array:
    """The transpose of `project`: ``(nz, ny, nx)`` of ``(views, rows, columns)``."""
    source, first, step, metric = _in_indices(grid, views)
    lines = np.ascontiguousarray(data.transpose(0, 2, 1))
    out = np.zeros(grid.shape, data.dtype)
    for axis in _axes(source, first, step, views):
        order = _ORDERS[axis]
        n, a, b = (grid.shape[i] for i in order)
        padded = np.zeros((n, a + 2 * _PAD, b + 2 * _PAD), data.dtype)
        _scatter(lines, *_turned(order, source, first, step, metric), axis, views.parallel, padded)
        inner = padded[:, _PAD:-_PAD, _PAD:-_PAD]
        out += inner.transpose(np.argsort(order))
    return out


def _in_indices(grid: Grid, views: Views) -> tuple[Float, Float, Float, Float]:
    """Sources (or directions), row 0 of each column, and row steps in ``(z, y, x)`` indices.

    Shapes ``(views, 3)``, ``(views, columns, 3)``, ``(views, 3)``; and the 3x3 metric that gives
    lengths in mm.
    """
    step = grid.affine[:3, :3]
    inverse = np.linalg.inv(step).T
    # From the middle row down: where columns are curved, row 0 is no arc about the source.
    middle = replace(views, rows=1).elements()[:, 0] - views.v[:, None] * ((views.rows - 1) / 2)
    first = (middle - grid.affine[:3, 3]) @ inverse
    origin = 0.0 if views.parallel else grid.affine[:3, 3]
    return (views.source - origin) @ inverse, first, views.v @ inverse, step.T @ step


def _axes(source: Float, first: Float, step: Float, views: Views) -> list[int]:
    """The marching axes that some ray needs: decided at the detector's corners, rows and all."""
    if views.parallel:
        dominant = np.argmax(np.abs(source[:, [1, 2, 0]]), axis=-1)
        return sorted({int(k) for k in dominant.ravel()})
    found: set[int] = set()
    for row in np.unique(np.linspace(0, views.rows - 1, min(views.rows, 33)).round()):
        ray = first + row * step[:, None] - source[:, None]
        found |= {int(k) for k in np.unique(np.argmax(np.abs(ray[..., [1, 2, 0]]), axis=-1))}
    # Between the rows that were looked at, a third axis may show: only if rays lean along z.
    return [0, 1, 2] if 2 in found else sorted(found | {0, 1})


def _turned(
    order: tuple[int, int, int], source: Float, first: Float, step: Float, metric: Float
) -> tuple[Float, Float, Float, Float]:
    """The same with index axes in ``order``."""
    axes = list(order)
    return (
        np.ascontiguousarray(source[:, axes]), np.ascontiguousarray(first[..., axes]),
        np.ascontiguousarray(step[:, axes]), np.ascontiguousarray(metric[np.ix_(axes, axes)]),
    )  # fmt: skip


@numba.njit(cache=True, error_model="numpy", inline="never")
def _follow(
    source: Float,
    first: Float,
    step: Float,
    metric: Float,
    axis: int,
    parallel: bool,  # noqa: FBT001
    rays: Array,
) -> bool:
    """Of one column's rows: where each ray meets plane 0, how it advances, its length per plane.

    Fills ``rays`` (5, rows): start and slope in both in-plane axes, weight; 0 weight (and a place
    outside) for rays that march along another axis. Ties go to the first of y, x, z, as in
    `np.argmax` over them.
    """
    some = False
    for r in range(rays.shape[1]):
        e0, e1, e2 = first[0] + r * step[0], first[1] + r * step[1], first[2] + r * step[2]
        if parallel:
            d0, d1, d2 = source[0], source[1], source[2]
        else:
            d0, d1, d2 = e0 - source[0], e1 - source[1], e2 - source[2]
        a0, a1, a2 = abs(d0), abs(d1), abs(d2)
        if axis == 0:  # y, x, z
            mine = a0 >= a1 and a0 >= a2
        elif axis == 1:  # x, y, z
            mine = a0 > a1 and a0 >= a2
        else:  # z, y, x
            mine = a0 > a1 and a0 > a2
        if not mine:
            rays[0, r], rays[1, r], rays[2, r], rays[3, r], rays[4, r] = -1, -1, 0, 0, 0
            continue
        some = True
        m1, m2 = d1 / d0, d2 / d0
        squared = (
            metric[0, 0] + metric[1, 1] * m1 * m1 + metric[2, 2] * m2 * m2
            + 2 * (metric[0, 1] * m1 + metric[0, 2] * m2 + metric[1, 2] * m1 * m2)
        )  # fmt: skip
        rays[0, r], rays[1, r] = e1 - m1 * e0, e2 - m2 * e0
        rays[2, r], rays[3, r] = m1, m2
        rays[4, r] = np.sqrt(squared)
    return some


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _gather(
    padded: Array,
    source: Float,
    first: Float,
    step: Float,
    metric: Float,
    axis: int,
    parallel: bool,  # noqa: FBT001
    out: Array,
) -> None:
    planes, a, b = padded.shape
    flat = padded.reshape(-1)
    views, columns, rows = out.shape
    kind = padded.dtype.type
    one = kind(1)
    top_a, top_b = one * (a - 2 * _PAD), one * (b - 2 * _PAD)
    border = one * _PAD
    width = np.uint32(b)
    for task in numba.prange(views * columns):
        v, c = task // columns, task % columns
        rays = np.empty((5, rows), padded.dtype)
        if not _follow(source[v], first[v, c], step[v], metric, axis, parallel, rays):
            continue
        total = np.zeros(rows, padded.dtype)
        for p in range(planes):
            base = np.uint32(p * a * b)
            for r in range(rows):
                y = min(max(rays[0, r] + rays[2, r] * kind(p), -one), top_a) + border
                x = min(max(rays[1, r] + rays[3, r] * kind(p), -one), top_b) + border
                i, j = np.uint32(y), np.uint32(x)
                f, g = y - kind(i), x - kind(j)
                k = base + i * width + j
                low = flat[k] + g * (flat[k + np.uint32(1)] - flat[k])
                k += width
                high = flat[k] + g * (flat[k + np.uint32(1)] - flat[k])
                total[r] += low + f * (high - low)
        for r in range(rows):
            out[v, c, r] += total[r] * rays[4, r]


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _scatter(
    data: Array,
    source: Float,
    first: Float,
    step: Float,
    metric: Float,
    axis: int,
    parallel: bool,  # noqa: FBT001
    padded: Array,
) -> None:
    planes, a, b = padded.shape
    flat = padded.reshape(-1)
    views, columns, rows = data.shape
    kind = padded.dtype.type
    one = kind(1)
    top_a, top_b = one * (a - 2 * _PAD), one * (b - 2 * _PAD)
    border = one * _PAD
    width = np.uint32(b)
    for block in numba.prange((planes + _BLOCK - 1) // _BLOCK):
        rays = np.empty((5, rows), padded.dtype)
        for v in range(views):
            for c in range(columns):
                if not _follow(source[v], first[v, c], step[v], metric, axis, parallel, rays):
                    continue
                for p in range(block * _BLOCK, min(planes, block * _BLOCK + _BLOCK)):
                    base = np.uint32(p * a * b)
                    for r in range(rows):
                        y = min(max(rays[0, r] + rays[2, r] * kind(p), -one), top_a) + border
                        x = min(max(rays[1, r] + rays[3, r] * kind(p), -one), top_b) + border
                        i, j = np.uint32(y), np.uint32(x)
                        f, g = y - kind(i), x - kind(j)
                        k = base + i * width + j
                        value = data[v, c, r] * rays[4, r]
                        high = f * value
                        low = value - high
                        flat[k] += low - g * low
                        flat[k + np.uint32(1)] += g * low
                        k += width
                        flat[k] += high - g * high
                        flat[k + np.uint32(1)] += g * high
