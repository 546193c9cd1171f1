"""Joseph's projector in space: sums along rays of any geometry, and their exact transpose.

A ray is followed along the axis of the index grid in which it advances most; in each plane it
crosses, the volume is interpolated between four voxels. Volumes are turned so that the planes come
first, then the other in-slice axis, then z: neighbouring detector rows read neighbouring z. The
transpose runs over planes in blocks of which each thread owns one, so it needs no atomic sums.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.ct.geometry import Views
from somascope.core.grid import Array, Grid

_PAD = 2
_BLOCK = 4
_CHUNK = 16
"""Views whose ray parameters are held at once."""

# Marching axis first, then the others; z stays last but where it is marched along.
_ORDERS = ((1, 2, 0), (2, 1, 0), (0, 1, 2))


def project(volume: Array, grid: Grid, views: Views) -> Array:
    """Line integrals ``(views, rows, columns)`` of ``(nz, ny, nx)``, value times mm."""
    dtype = volume.dtype
    out = np.zeros((len(views), views.columns, views.rows), dtype)
    turned: dict[int, Array] = {}
    for which in _chunks(len(views)):
        for k, order, at, slope, weight in _rays(grid, views.take(which), dtype):
            if k not in turned:
                padded = np.pad(volume.transpose(order), ((0, 0), (_PAD, _PAD), (_PAD, _PAD)))
                turned[k] = np.ascontiguousarray(padded)
            _gather(turned[k], at, slope, weight, out[which])
    return np.ascontiguousarray(out.transpose(0, 2, 1))


def unproject(data: Array, grid: Grid, views: Views) -> Array:
    """The transpose of `project`: ``(nz, ny, nx)`` of ``(views, rows, columns)``."""
    dtype = data.dtype
    turned: dict[int, Array] = {}
    for which in _chunks(len(views)):
        part = np.ascontiguousarray(data[which].transpose(0, 2, 1))
        for k, order, at, slope, weight in _rays(grid, views.take(which), dtype):
            if k not in turned:
                n, a, b = (grid.shape[i] for i in order)
                turned[k] = np.zeros((n, a + 2 * _PAD, b + 2 * _PAD), dtype)
            _scatter(part, at, slope, weight, turned[k])
    out = np.zeros(grid.shape, dtype)
    for k, padded in turned.items():
        inner = padded[:, _PAD:-_PAD, _PAD:-_PAD]
        out += inner.transpose(np.argsort(_ORDERS[k]))
    return out


def _chunks(views: int) -> list[slice]:
    return [slice(i, min(i + _CHUNK, views)) for i in range(0, views, _CHUNK)]


def _rays(
    grid: Grid, views: Views, dtype: np.dtype
) -> list[tuple[int, tuple[int, int, int], Array, Array, Array]]:
    """Per marching axis: where rays cross plane 0 and how they advance, ``(views, cols, rows)``."""
    starts, ends = views.rays(reach=1.0)
    inverse = np.linalg.inv(grid.affine[:3, :3])
    begin = (starts - grid.affine[:3, 3]) @ inverse.T
    step = (ends - starts) @ inverse.T
    length = np.linalg.norm(ends - starts, axis=-1)
    size = np.abs(step) * 1.0
    axis = np.argmax(size[..., [1, 2, 0]], axis=-1)
    parts = []
    for k, order in enumerate(_ORDERS):
        chosen = axis == k
        if not chosen.any():
            continue
        run = np.where(chosen, step[..., order[0]], 1.0)
        pair = step[..., order[1:]] / run[..., None]
        at = begin[..., order[1:]] - pair * begin[..., order[0], None]
        weight = np.where(chosen, length / np.abs(run), 0.0)
        # A ray of another axis is kept outside, where it reads and writes nothing.
        pair = np.where(chosen[..., None], pair, 0.0)
        at = np.where(chosen[..., None], at, -1.0)
        turn = (3, 0, 2, 1)
        parts.append((
            k, order, np.ascontiguousarray(at.transpose(turn), dtype),
            np.ascontiguousarray(pair.transpose(turn), dtype),
            np.ascontiguousarray(weight.transpose(0, 2, 1), dtype),
        ))  # fmt: skip
    return parts


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _gather(padded: Array, at: Array, slope: Array, weight: Array, out: Array) -> None:
    planes, a, b = padded.shape
    flat = padded.reshape(-1)
    _, views, columns, rows = at.shape
    one = weight.dtype.type(1)
    top_a, top_b = one * (a - 2 * _PAD), one * (b - 2 * _PAD)
    border = one * _PAD
    width = np.uint32(b)
    for task in numba.prange(views * columns):
        v, c = task // columns, task % columns
        seen = False
        for r in range(rows):
            if weight[v, c, r] != 0:
                seen = True
        if not seen:
            continue
        total = np.zeros(rows, at.dtype)
        for p in range(planes):
            base = np.uint32(p * a * b)
            for r in range(rows):
                y = min(max(at[0, v, c, r] + slope[0, v, c, r] * p, -one), top_a) + border
                x = min(max(at[1, v, c, r] + slope[1, v, c, r] * p, -one), top_b) + border
                i, j = np.uint32(y), np.uint32(x)
                f, g = y - i, x - j
                k = base + i * width + j
                low = flat[k] + g * (flat[k + np.uint32(1)] - flat[k])
                k += width
                high = flat[k] + g * (flat[k + np.uint32(1)] - flat[k])
                total[r] += low + f * (high - low)
        for r in range(rows):
            out[v, c, r] += total[r] * weight[v, c, r]


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _scatter(data: Array, at: Array, slope: Array, weight: Array, padded: Array) -> None:
    planes, a, b = padded.shape
    flat = padded.reshape(-1)
    _, views, columns, rows = at.shape
    one = weight.dtype.type(1)
    top_a, top_b = one * (a - 2 * _PAD), one * (b - 2 * _PAD)
    border = one * _PAD
    width = np.uint32(b)
    for block in numba.prange((planes + _BLOCK - 1) // _BLOCK):
        for v in range(views):
            for c in range(columns):
                for p in range(block * _BLOCK, min(planes, block * _BLOCK + _BLOCK)):
                    base = np.uint32(p * a * b)
                    for r in range(rows):
                        value = data[v, c, r] * weight[v, c, r]
                        if value == 0:
                            continue
                        y = min(max(at[0, v, c, r] + slope[0, v, c, r] * p, -one), top_a) + border
                        x = min(max(at[1, v, c, r] + slope[1, v, c, r] * p, -one), top_b) + border
                        i, j = np.uint32(y), np.uint32(x)
                        f, g = y - i, x - j
                        k = base + i * width + j
                        high = f * value
                        low = value - high
                        flat[k] += low - g * low
                        flat[k + np.uint32(1)] += g * low
                        k += width
                        flat[k] += high - g * high
                        flat[k + np.uint32(1)] += g * high
