"""Projectors and Feldkamp's back projection in Triton, for torch tensors on a GPU.

Joseph's projector for any geometry of one source and one detector per view: a ray is followed along
the axis of the index grid in which it advances most. The transpose is exact and needs no atomic
sums: each program owns voxels and gathers, view by view, the rays that pass within one voxel.
Coordinates count from the grid's centre, so that single precision suffices.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.acquire.ct.geometry import Views
from somascope.acquire.gpu import demand, linear, tile
from somascope.core.grid import Float, Grid

_ORDERS = ((1, 0, 2), (2, 0, 1), (0, 1, 2))
"""Index axes for rays along y, x and z: the marching axis, then the others, the fastest last."""
_TABLE = 25
"""Numbers per view: source, base, row step, two column vectors, angle step; inverse (3, 3)."""


@triton.jit
def _ray(  # noqa: ANN202
    table, column, row, half_c, half_r, metric,  # noqa: ANN001
    AXIS: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, STACKED: tl.constexpr,
):  # fmt: skip
    """Of rays: where they cross plane 0 (a, b), their slopes, and their length per plane in mm.

    The length is 0 for rays that march along another axis.
    """
    c = column - half_c
    r = row - half_r
    s0, s1, s2 = tl.load(table), tl.load(table + 1), tl.load(table + 2)
    if CURVED:
        angle = tl.load(table + 15) * c
        f, g = tl.cos(angle), tl.sin(angle)
        e0 = tl.load(table + 3) + f * tl.load(table + 9) + g * tl.load(table + 12)
        e1 = tl.load(table + 4) + f * tl.load(table + 10) + g * tl.load(table + 13)
        e2 = tl.load(table + 5) + f * tl.load(table + 11) + g * tl.load(table + 14)
    else:
        e0 = tl.load(table + 3) + c * tl.load(table + 9)
        e1 = tl.load(table + 4) + c * tl.load(table + 10)
        e2 = tl.load(table + 5) + c * tl.load(table + 11)
    if not STACKED:
        e0 += r * tl.load(table + 6)
        e1 += r * tl.load(table + 7)
        e2 += r * tl.load(table + 8)
    if PARALLEL:
        d0, d1, d2 = s0 + 0.0 * e0, s1 + 0.0 * e0, s2 + 0.0 * e0
    else:
        d0, d1, d2 = e0 - s0, e1 - s1, e2 - s2
    if STACKED:  # rays stay in their slice
        d1 = d1 * 0.0 if AXIS < 2 else d1
    a0, a1, a2 = tl.abs(d0), tl.abs(d1), tl.abs(d2)
    # Rays at 45 degrees are many; a preference of 1e-4 keeps rounding from deciding them.
    few = 1.0001
    if AXIS == 0:  # y; then z, x
        mine = (few * a0 >= a2) & (few * a0 >= a1)
    elif AXIS == 1:  # x; then z, y
        mine = ((few * a2 < a0) | (few * a2 < a1)) & (few * a0 >= a1)
    else:  # z; then y, x
        mine = ((few * a1 < a2) | (few * a1 < a0)) & (few * a2 < a0)
    d0 = tl.where(mine, d0, 1.0)
    m1, m2 = d1 / d0, d2 / d0
    squared = (
        tl.load(metric) + tl.load(metric + 1) * m1 * m1 + tl.load(metric + 2) * m2 * m2
        + tl.load(metric + 3) * m1 + tl.load(metric + 4) * m2 + tl.load(metric + 5) * m1 * m2
    )  # fmt: skip
    length = tl.where(mine, tl.sqrt(tl.maximum(squared, 0.0)), 0.0)
    return e1 - m1 * e0, e2 - m2 * e0, m1, m2, length


@triton.jit
def _project(  # noqa: ANN202
    volume, tables, which, metric, out, planes, na, nb, rows, columns, half_c, half_r,  # noqa: ANN001
    AXIS: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, STACKED: tl.constexpr,
    TABLE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Add what the rays of one axis meet to ``out``; a program owns a tile of one detector."""
    v = tl.load(which + tl.program_id(2)).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    ok = (row < rows) & (column < columns)
    a, b, ma, mb, length = _ray(
        tables + v * TABLE, column, row, half_c, half_r, metric, AXIS, PARALLEL, CURVED, STACKED
    )
    ok = ok & (length > 0)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    a, b = a + 0.5 * (na - 1), b + 0.5 * (nb - 1)
    first = -0.5 * (planes - 1)
    for p in range(planes):
        q = first + p
        x = b + mb * q
        j = tl.floor(x).to(tl.int32)
        g = x - j
        left, right = ok & (j >= 0) & (j < nb), ok & (j >= -1) & (j < nb - 1)
        if STACKED:
            at = volume + row * nb + j
            total += (1 - g) * tl.load(at, left, 0.0) + g * tl.load(at + 1, right, 0.0)
        else:
            y = a + ma * q
            i = tl.floor(y).to(tl.int32)
            f = y - i
            low, high = (i >= 0) & (i < na), (i >= -1) & (i < na - 1)
            at = volume + i * nb + j
            below = (1 - g) * tl.load(at, left & low, 0.0) + g * tl.load(at + 1, right & low, 0.0)
            at += nb
            above = (1 - g) * tl.load(at, left & high, 0.0) + g * tl.load(at + 1, right & high, 0.0)
            total += (1 - f) * below + f * above
        volume += na * nb
    to = out + (v * rows + row) * columns + column
    tl.store(to, tl.load(to, ok, 0.0) + total * length, ok)


@triton.jit
def arctangent(y, x):  # noqa: ANN001, ANN201
    """Angle of (x, y) for x > 0, to 2e-8 (Abramowitz and Stegun 1964, 4.4.49)."""
    steep = tl.abs(y) > x
    t = tl.where(steep, x, y) / tl.where(steep, y, x)
    u = t * t
    s = 0.0028662257 * u - 0.0161657367
    s = s * u + 0.0429096138
    s = s * u - 0.0752896400
    s = s * u + 0.1065626393
    s = s * u - 0.1420889944
    s = s * u + 0.1999355085
    s = s * u - 0.3333314528
    angle = t + t * u * s
    return tl.where(steep, tl.where(y > 0, 1.5707963267948966, -1.5707963267948966) - angle, angle)


@triton.jit
def _onto(inverse, q0, q1, q2, step, PARALLEL: tl.constexpr, CURVED: tl.constexpr):  # noqa: ANN001, ANN202
    """Column and row, from the detector's middle, on which places relative to the source fall."""
    deep = tl.load(inverse) * q0 + tl.load(inverse + 1) * q1 + tl.load(inverse + 2) * q2
    side = tl.load(inverse + 3) * q0 + tl.load(inverse + 4) * q1 + tl.load(inverse + 5) * q2
    up = tl.load(inverse + 6) * q0 + tl.load(inverse + 7) * q1 + tl.load(inverse + 8) * q2
    if PARALLEL:
        return side, up
    deep = tl.maximum(deep, 1e-6)
    if CURVED:
        return arctangent(side, deep) / step, up / tl.sqrt(deep * deep + side * side)
    return side / deep, up / deep


@triton.jit
def _unproject(  # noqa: ANN202
    data, tables, which, metric, out, views, planes, na, nb, rows, columns, half_c, half_r,  # noqa: ANN001
    AXIS: tl.constexpr, PARALLEL: tl.constexpr, CURVED: tl.constexpr, STACKED: tl.constexpr,
    TABLE: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The transpose of `_project`: a program owns a tile of lines of voxels."""
    line = tl.program_id(1) * TALL + tl.arange(0, TALL)[:, None]
    j = tl.program_id(0) * WIDE + tl.arange(0, WIDE)[None, :]
    p, i = line // na, line % na
    ok = (p < planes) & (j < nb)
    q = p - 0.5 * (planes - 1)
    y, x = i - 0.5 * (na - 1), j - 0.5 * (nb - 1)
    total = tl.zeros([TALL, WIDE], tl.float32)
    for k in range(views):
        v = tl.load(which + k).to(tl.int64)
        table = tables + v * TABLE
        origin = table + 3 if PARALLEL else table
        r0, r1, r2 = q - tl.load(origin), y - tl.load(origin + 1), x - tl.load(origin + 2)
        step = tl.load(table + 15)
        # The rays that meet the plane within one voxel: those between its corners' shadows.
        c1, z1 = _onto(table + 16, r0, r1 - 1, r2 - 1, step, PARALLEL, CURVED)
        c2, z2 = _onto(table + 16, r0, r1 - 1, r2 + 1, step, PARALLEL, CURVED)
        c3, z3 = _onto(table + 16, r0, r1 + 1, r2 - 1, step, PARALLEL, CURVED)
        c4, z4 = _onto(table + 16, r0, r1 + 1, r2 + 1, step, PARALLEL, CURVED)
        low = tl.minimum(tl.minimum(c1, c2), tl.minimum(c3, c4)) + half_c
        high = tl.maximum(tl.maximum(c1, c2), tl.maximum(c3, c4)) + half_c
        left = tl.maximum(tl.ceil(low - 0.01), 0.0).to(tl.int32)
        right = tl.minimum(tl.floor(high + 0.01), columns - 1.0).to(tl.int32)
        most_c = tl.max(tl.max(tl.where(ok, right - left + 1, 0), axis=1), axis=0)
        if STACKED:
            bottom, top = i, i
            most_r = 1
        else:
            low = tl.minimum(tl.minimum(z1, z2), tl.minimum(z3, z4)) + half_r
            high = tl.maximum(tl.maximum(z1, z2), tl.maximum(z3, z4)) + half_r
            bottom = tl.maximum(tl.ceil(low - 0.01), 0.0).to(tl.int32)
            top = tl.minimum(tl.floor(high + 0.01), rows - 1.0).to(tl.int32)
            most_r = tl.max(tl.max(tl.where(ok, top - bottom + 1, 0), axis=1), axis=0)
        for m in range(most_c):
            column = left + m
            for n in range(most_r):
                row = bottom + n
                a, b, ma, mb, length = _ray(
                    table, column, row, half_c, half_r, metric, AXIS, PARALLEL, CURVED, STACKED
                )
                w = tl.maximum(1 - tl.abs(b + mb * q - x), 0.0) * length
                if not STACKED:
                    w *= tl.maximum(1 - tl.abs(a + ma * q - y), 0.0)
                here = ok & (column <= right) & (row <= top) & (w > 0)
                total += w * tl.load(data + (v * rows + row) * columns + column, here, 0.0)
    tl.store(out + line.to(tl.int64) * nb + j, total, ok)


class Rays:
    """Joseph's projector of one scan on one device.

    Parameters
    ----------
    grid, views
        Image and rays.
    samples
        Shape of the scan's samples, ``(views, rows, columns)`` with one or no axis of rows.
    stacked
        Whether detector row k sees slice k alone.
    device
        Where the tables lie.
    """

    def __init__(
        self, grid: Grid, views: Views, samples: tuple[int, ...], *, stacked: bool,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.shape, self.samples = grid.shape, tuple(samples)
        self.rows = grid.shape[0] if stacked else views.rows
        self.columns = views.columns
        self._flags: dict[str, Any] = {
            "PARALLEL": views.parallel, "CURVED": views.curved, "STACKED": stacked, "TABLE": _TABLE,
        }  # fmt: skip
        self._middle = (views.columns - 1) / 2 - views.shift, (views.rows - 1) / 2
        self._axes = []
        vectors, step = _vectors(grid, views)
        needed = _marched(vectors, views, step, stacked=stacked)
        for axis, order in enumerate(_ORDERS):
            which = np.flatnonzero(needed[axis])
            if which.size:
                table = _table(vectors[..., list(order)], step, views, stacked=stacked)
                metric = (grid.affine[:3, :3].T @ grid.affine[:3, :3])[np.ix_(order, order)]
                six = [*np.diag(metric), *(2 * metric[i, j] for i, j in ((0, 1), (0, 2), (1, 2)))]
                kept = (table.astype(np.float32), which.astype(np.int32), np.float32(six))
                self._axes.append((axis, *(torch.from_numpy(a).to(device) for a in kept)))

    def forward(self, x: Tensor) -> Tensor:
        """Line integrals of ``(nz, ny, nx)``."""
        return linear(demand(x, self.shape, what="the image"), self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `forward`."""
        return linear(demand(y, self.samples, what="the data"), self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        views = self.samples[0]
        out = torch.zeros((views, self.rows, self.columns), device=x.device)
        tall, wide = tile(self.rows, self.columns)
        tiles = triton.cdiv(self.columns, wide), triton.cdiv(self.rows, tall)
        for axis, table, which, metric in self._axes:
            turned = x.permute(_ORDERS[axis]).contiguous()
            _project[(*tiles, len(which))](
                turned, table, which, metric, out, *turned.shape, self.rows, self.columns,
                *self._middle, AXIS=axis, ROWS=tall, COLUMNS=wide, **self._flags,
            )  # fmt: skip
        return out.reshape(self.samples)

    def _adjoint(self, y: Tensor) -> Tensor:
        y = y.contiguous()
        total: Tensor | None = None
        for axis, table, which, metric in self._axes:
            order = _ORDERS[axis]
            planes, na, nb = (self.shape[k] for k in order)
            tall, wide = tile(planes * na, nb)
            part = torch.empty((planes, na, nb), device=y.device)
            _unproject[(triton.cdiv(nb, wide), triton.cdiv(planes * na, tall))](
                y, table, which, metric, part, len(which), planes, na, nb, self.rows, self.columns,
                *self._middle, AXIS=axis, TALL=tall, WIDE=wide, **self._flags,
            )  # fmt: skip
            part = part.permute([order.index(k) for k in range(3)])
            total = part.contiguous() if total is None else total.add_(part)
        assert total is not None
        return total


def _vectors(grid: Grid, views: Views) -> tuple[Float, Float]:
    """Source, base, row step and two column vectors in indices from the grid's centre.

    Shape ``(views, 5, 3)``; and the angle per column of each view. Element (r, c) lies at ``base +
    r v + c A``, or, curved, at ``base + r v + cos(c step) A + sin(c step) B``.
    """
    inverse = np.linalg.inv(grid.affine[:3, :3]).T
    middle = grid.to_world([(n - 1) / 2 for n in grid.shape])
    middle = np.asarray(middle).reshape(3)
    source = views.source if views.parallel else views.source - middle
    zero = np.zeros_like(views.u)
    step = np.zeros(len(views))
    if views.curved:
        towards = views.centre - views.source
        radius = np.linalg.norm(towards, axis=-1)
        size = np.linalg.norm(views.u, axis=-1)
        step = size / radius
        parts = [source, source, views.v, towards, views.u * (radius / size)[:, None]]
    else:
        parts = [source, views.centre - middle, views.v, views.u, zero]
    return np.stack(parts, axis=1) @ inverse, step


def _table(vectors: Float, step: Float, views: Views, *, stacked: bool) -> Float:
    """The kernels' numbers per view, ``(views, _TABLE)``; ``vectors`` as the axis orders them."""
    source, base, v, a, b = vectors.swapaxes(0, 1)
    deep = source if views.parallel else a if views.curved else base - source
    side = b if views.curved else a
    if stacked:  # the detector's row is the slice; any vector out of the plane will do
        v = np.where(np.abs(v) < np.abs(v).max() * 1e-6, 0, np.sign(v))
    inverse = np.linalg.inv(np.stack([deep, side, v], axis=-1))
    flat = vectors.reshape(len(vectors), 15)
    return np.concatenate([flat, step[:, None], inverse.reshape(-1, 9)], axis=1)


def _marched(vectors: Float, views: Views, step: Float, *, stacked: bool) -> Any:
    """Which views have rays along y, x and z, ``(3, views)``; rather too many than too few."""
    source, base, v, a, b = vectors.swapaxes(0, 1)
    if views.parallel:
        rays = source[:, None, None]
    else:
        c = np.linspace(-0.5, 0.5, min(views.columns, 65)) * (views.columns - 1) + views.shift
        r = np.linspace(-0.5, 0.5, min(views.rows, 17)) * (views.rows - 1)
        if views.curved:
            along = np.cos(c * step[:, None])[..., None] * a[:, None]
            along = along + np.sin(c * step[:, None])[..., None] * b[:, None]
        else:
            along = c[:, None] * a[:, None]
        rays = (
            (base - source)[:, None, None] + along[:, None] + (r[:, None] * v[:, None])[:, :, None]
        )
    sizes = np.abs(rays)
    if stacked:
        sizes = sizes * (1.0, 1.0, 1.0)
        sizes[..., 0] = 0
    largest = sizes.max(axis=-1)
    # Between the rays that were looked at another may lean a little further.
    near = sizes >= 0.9 * largest[..., None]
    return np.stack([near[..., k].any(axis=(1, 2)) for k in (1, 2, 0)])
