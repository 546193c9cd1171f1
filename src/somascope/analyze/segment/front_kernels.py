"""Kernels of a front that moves: its signed distance, kept in a narrow band of voxels.

Distances are negative inside, in mm. The band is a list of flat indices, those next to the front
first and then outwards; beyond it the distance is plus or minus `FAR`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array

FAR = np.float32(1e6)


@numba.njit(inline="always")
def _either(i: int, n: int, stride: int) -> tuple[int, int]:
    """Offsets to the voxels before and after along an axis: none beyond its ends."""
    return (-stride if i > 0 else 0), (stride if i < n - 1 else 0)


@numba.njit(inline="always")
def _split(v: int, shape: Array) -> tuple[int, int, int]:
    ny, nx = shape[1], shape[2]
    z = v // (ny * nx)
    y = (v - z * ny * nx) // nx
    return z, y, v - (z * ny + y) * nx


@numba.njit(cache=True)
def _crossing(phi: Array, v: int, offsets: Any, edge: Array) -> float:
    """Distance to the front told from where it crosses the ways to the neighbours; -1: none."""
    here = abs(np.float64(phi[v]))
    total = 0.0
    for axis in range(3):
        nearest = -1.0
        for side in range(2):
            w = v + offsets[2 * axis + side]
            if w != v and (phi[w] < 0) != (phi[v] < 0):
                there = abs(np.float64(phi[w]))
                share = edge[axis] * here / max(here + there, 1e-12)
                if nearest < 0 or share < nearest:
                    nearest = share
        if nearest >= 0:
            total += 1 / max(nearest, 1e-6) ** 2
    return 1 / np.sqrt(total) if total > 0 else -1.0


@numba.njit(cache=True)
def _upwind(phi: Array, v: int, offsets: Any, edge: Array) -> float:
    """The eikonal equation's solution at ``v`` from its nearer neighbours (size only)."""
    a = np.empty(3)
    h = np.empty(3)
    n = 0
    for axis in range(3):
        near = np.float64(FAR)
        for side in range(2):
            w = v + offsets[2 * axis + side]
            if w != v:
                near = min(near, abs(np.float64(phi[w])))
        if near < FAR:
            # By size: one that is larger than the solution of the others does not count.
            k = n
            while k > 0 and a[k - 1] > near:
                a[k], h[k] = a[k - 1], h[k - 1]
                k -= 1
            a[k], h[k] = near, edge[axis]
            n += 1
    if n == 0:
        return np.float64(FAR)
    found = a[0] + h[0]
    p, q, r = 1 / h[0] ** 2, a[0] / h[0] ** 2, (a[0] / h[0]) ** 2
    for k in range(1, n):
        if found <= a[k]:
            break
        p += 1 / h[k] ** 2
        q += a[k] / h[k] ** 2
        r += (a[k] / h[k]) ** 2
        root = q * q - p * (r - 1)
        if root < 0:
            break
        found = (q + np.sqrt(root)) / p
    return found


@numba.njit(cache=True)
def banded(
    phi: Array, shape: Array, edge: Array, layers: int, old: Array, count: int, mark: Array,
    fresh: Array,
) -> tuple[int, Array]:  # fmt: skip
    """Make ``phi`` a signed distance again and list its band: its length, and the list.

    Parameters
    ----------
    phi
        float32, flat: its sign changes within the first ``count`` voxels of ``old`` only.
    layers
        Voxels that the band is wide on each side.
    mark
        uint8, flat: all 0, and so again at the end.
    fresh
        Room for the new list; where it is too little, there is more afterwards.
    """
    nz, ny, nx = shape
    n = 0
    exact = np.empty(count, np.float32)
    offsets = np.zeros(6, np.int64)
    for i in range(count):
        v = old[i]
        z, y, x = _split(v, shape)
        offsets[0], offsets[1] = _either(z, nz, ny * nx)
        offsets[2], offsets[3] = _either(y, ny, nx)
        offsets[4], offsets[5] = _either(x, nx, 1)
        d = _crossing(phi, v, offsets, edge)
        if d >= 0:
            if n == fresh.size:
                fresh = _longer(fresh)
            exact[n] = d
            fresh[n] = v
            mark[v] = 1
            n += 1
    border = n
    for i in range(count):
        v = old[i]
        phi[v] = -FAR if phi[v] < 0 else FAR
    for i in range(border):
        v = fresh[i]
        phi[v] = -exact[i] if phi[v] < 0 else exact[i]
    first = 0
    for _ in range(layers):
        last = n
        for i in range(first, last):
            v = fresh[i]
            z, y, x = _split(v, shape)
            offsets[0], offsets[1] = _either(z, nz, ny * nx)
            offsets[2], offsets[3] = _either(y, ny, nx)
            offsets[4], offsets[5] = _either(x, nx, 1)
            for k in range(6):
                w = v + offsets[k]
                if mark[w] == 0:
                    if n == fresh.size:
                        fresh = _longer(fresh)
                    mark[w] = 1
                    fresh[n] = w
                    n += 1
        first = last
    for turn in range(4):
        changed = 0.0
        for j in range(border, n):
            i = j if turn % 2 == 0 else n - 1 - (j - border)
            v = fresh[i]
            z, y, x = _split(v, shape)
            offsets[0], offsets[1] = _either(z, nz, ny * nx)
            offsets[2], offsets[3] = _either(y, ny, nx)
            offsets[4], offsets[5] = _either(x, nx, 1)
            d = _upwind(phi, v, offsets, edge)
            was = abs(np.float64(phi[v]))
            if d < was:
                changed = max(changed, was - d)
                phi[v] = -d if phi[v] < 0 else d
        if changed < 1e-3:
            break
    for i in range(n):
        mark[fresh[i]] = 0
    return n, fresh


@numba.njit(cache=True)
def _longer(a: Array) -> Array:
    out = np.empty(2 * a.size, a.dtype)
    out[: a.size] = a
    return out


@numba.njit(cache=True)
def moved(
    phi: Array, shape: Array, edge: Array, band: Array, count: int, values: Array, slope: float,
    shift: float, stop: Array, bend: float, pull: float, step: float, change: Array, sums: Array,
) -> None:  # fmt: skip
    """Move the front by one step.

    The speed outwards is ``g (clip(slope values + shift, -1, 1) - bend curvature) - pull grad(g) .
    normal``, in mm per unit of time; ``g`` is ``stop``, or 1 where that is empty. What the
    values of voxels that changed sides are is added to ``sums``: their number and sum.
    """
    nz, ny, nx = shape
    hz, hy, hx = edge
    most = 3.0 / min(hz, hy, hx)
    for i in range(count):
        v = band[i]
        z, y, x = _split(v, shape)
        za, zb = _either(z, nz, ny * nx)
        ya, yb = _either(y, ny, nx)
        xa, xb = _either(x, nx, 1)
        c = np.float64(phi[v])
        bz, az = (c - phi[v + za]) / hz, (phi[v + zb] - c) / hz
        by, ay = (c - phi[v + ya]) / hy, (phi[v + yb] - c) / hy
        bx, ax = (c - phi[v + xa]) / hx, (phi[v + xb] - c) / hx
        # Beyond the ends and beyond the band a difference says nothing.
        bz, az = _known(bz), _known(az)
        by, ay = _known(by), _known(ay)
        bx, ax = _known(bx), _known(ax)
        speed = min(max(slope * values[v] + shift, -1.0), 1.0)
        g = 1.0
        if stop.size:
            g = np.float64(stop[v])
            speed *= g
        total = 0.0
        if speed > 0:
            size = (
                max(bz, 0.0) ** 2 + min(az, 0.0) ** 2 + max(by, 0.0) ** 2 + min(ay, 0.0) ** 2
                + max(bx, 0.0) ** 2 + min(ax, 0.0) ** 2
            )  # fmt: skip
            total -= speed * np.sqrt(size)
        elif speed < 0:
            size = (
                min(bz, 0.0) ** 2 + max(az, 0.0) ** 2 + min(by, 0.0) ** 2 + max(ay, 0.0) ** 2
                + min(bx, 0.0) ** 2 + max(ax, 0.0) ** 2
            )  # fmt: skip
            total -= speed * np.sqrt(size)
        dz, dy, dx = 0.5 * (az + bz), 0.5 * (ay + by), 0.5 * (ax + bx)
        square = dz * dz + dy * dy + dx * dx
        if bend > 0 and square > 1e-12:
            dzz, dyy, dxx = (az - bz) / hz, (ay - by) / hy, (ax - bx) / hx
            dzy = _mixed(phi, v, za, zb, ya, yb) / (4 * hz * hy)
            dzx = _mixed(phi, v, za, zb, xa, xb) / (4 * hz * hx)
            dyx = _mixed(phi, v, ya, yb, xa, xb) / (4 * hy * hx)
            curve = (
                dzz * (dy * dy + dx * dx) + dyy * (dz * dz + dx * dx) + dxx * (dz * dz + dy * dy)
                - 2 * (dz * dy * dzy + dz * dx * dzx + dy * dx * dyx)
            ) / square  # fmt: skip
            limit = most * np.sqrt(square)
            total += bend * g * min(max(curve, -limit), limit)
        if stop.size and pull > 0:
            gz = (stop[v + zb] - stop[v + za]) / (2 * hz)
            gy = (stop[v + yb] - stop[v + ya]) / (2 * hy)
            gx = (stop[v + xb] - stop[v + xa]) / (2 * hx)
            total += pull * (
                gz * (az if gz > 0 else bz) + gy * (ay if gy > 0 else by)
                + gx * (ax if gx > 0 else bx)
            )  # fmt: skip
        change[i] = total
    for i in range(count):
        v = band[i]
        before = phi[v]
        phi[v] = before + np.float32(step * change[i])
        if (before < 0) != (phi[v] < 0):
            way = 1.0 if phi[v] < 0 else -1.0
            sums[0] += way
            sums[1] += way * values[v]


@numba.njit(inline="always")
def _known(d: float) -> float:
    return d if abs(d) < 1e3 else 0.0


@numba.njit(inline="always")
def _mixed(phi: Array, v: int, a: int, b: int, c: int, d: int) -> float:
    """Four times the mixed second difference; 0 where the band ends."""
    found = (
        np.float64(phi[v + b + d]) - np.float64(phi[v + b + c])
        - np.float64(phi[v + a + d]) + np.float64(phi[v + a + c])
    )  # fmt: skip
    return found if abs(found) < 1e3 else 0.0
