"""One explicit step of diffusions whose strength depends on the image itself.

All work on ``(nz, ny, nx)`` float32 on all cores. Nothing flows through the border, nor into or out
of voxels that are not finite.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.neighbours import LOG2E, power2

BAND = 16
"""Rows worked on together: what flows from row to row is computed once."""

EXPONENTIAL, QUOTIENT = range(2)


@numba.njit(inline="always")
def _flow(d: Any, along: Any, kind: int) -> Any:
    """``d`` times the conductance; ``along`` is the squared slope in squared edge strengths."""
    if kind == 0:
        return d * power2(-along)
    return d / (np.float32(1) + along)


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _half(row: Array, other: Array, w: float, out: Array) -> None:
    """Differences of two rows; 0 where one of them is not finite."""
    for x in range(row.size):
        d = w * (other[x] - row[x])
        out[x] = d if abs(d) < np.inf else 0.0


@numba.njit(fastmath={"contract", "nsz"}, cache=True)
def _central(before: Array, after: Array, here: Array, w: float, out: Array) -> None:
    """Half the sum of the differences to both sides, each 0 where not finite."""
    half = np.float32(0.5) * w
    for x in range(here.size):
        d = half * (after[x] - here[x])
        e = half * (here[x] - before[x])
        d = d if abs(d) < np.inf else np.float32(0)
        e = e if abs(e) < np.inf else np.float32(0)
        out[x] = d + e


@numba.njit(fastmath={"contract", "nsz"}, cache=True)
def _sideways(row: Array, w: float, out: Array) -> None:
    """As `_central`, along the row."""
    n = row.size
    half = np.float32(0.5) * w
    for x in range(n):
        d = half * (row[min(x + 1, n - 1)] - row[x])
        e = half * (row[x] - row[max(x - 1, 0)])
        d = d if abs(d) < np.inf else np.float32(0)
        e = e if abs(e) < np.inf else np.float32(0)
        out[x] = d + e


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _fluxes(
    d: Array, p: Array, q: Array, r: Array, s: Array, scale: float, kind: int, out: Array
) -> None:
    """Flow across a face: slope ``d`` through it, means of the cross slopes of both voxels."""
    quarter = np.float32(0.25)
    for x in range(d.size):
        a, b = p[x] + q[x], r[x] + s[x]
        out[x] = _flow(d[x], scale * (d[x] * d[x] + quarter * (a * a + b * b)), kind)


@numba.njit(parallel=True, cache=True)
def stepped(
    u: Array, weights: Array, scale: float, time: float, kind: int, deep: int, out: Array
) -> None:
    """``out <- u + time div(c grad u)`` as ITK's GradientAnisotropicDiffusion does it.

    Parameters
    ----------
    u, out
        ``(nz, ny, nx)`` float32.
    weights
        ``1 / spacing`` along (z, y, x).
    scale
        The squared slope times this is the exponent to base 2 (`EXPONENTIAL`) or what is added to
        1 (`QUOTIENT`).
    deep
        0: nothing flows along z.
    """
    nz, ny, nx = u.shape
    wz, wy, wx = weights[0], weights[1], weights[2]
    bands = (ny + BAND - 1) // BAND
    for j in numba.prange(nz * bands):
        z = j // bands
        y0 = (j - z * bands) * BAND
        za, zb = max(z - 1, 0), min(z + 1, nz - 1)
        slope = np.zeros((3, 3, nx), np.float32)  # (row y - 1, y, y + 1), (z, y, x)
        cross = np.zeros((2, nx), np.float32)
        d = np.empty(nx, np.float32)
        above, below = np.zeros(nx, np.float32), np.zeros(nx, np.float32)
        near, far = np.zeros(nx, np.float32), np.zeros(nx, np.float32)
        across = np.empty(nx + 1, np.float32)
        for y in range(y0, min(y0 + BAND, ny)):
            ya, yb = max(y - 1, 0), min(y + 1, ny - 1)
            row = u[z, y]
            # Slopes at the three rows: z and x for the faces along y, y and x for those along z.
            for k, i in enumerate((ya, y, yb)):
                if deep:
                    _central(u[za, i], u[zb, i], u[z, i], wz, slope[k, 0])
                _sideways(u[z, i], wx, slope[k, 2])
            _central(u[z, ya], u[z, yb], row, wy, slope[1, 1])
            if y == y0:
                if y > 0:
                    _half(u[z, ya], row, wy, d)
                    _fluxes(
                        d, slope[0, 0], slope[1, 0], slope[0, 2], slope[1, 2], scale, kind, above
                    )
                else:
                    above[:] = 0
            if y + 1 < ny:
                _half(row, u[z, yb], wy, d)
                _fluxes(d, slope[1, 0], slope[2, 0], slope[1, 2], slope[2, 2], scale, kind, below)
            else:
                below[:] = 0
            if deep:
                for far_side in range(2):
                    k = zb if far_side else za
                    if k == z:
                        (far if far_side else near)[:] = 0
                        continue
                    _central(u[k, ya], u[k, yb], u[k, y], wy, cross[0])
                    _sideways(u[k, y], wx, cross[1])
                    if far_side:
                        _half(row, u[k, y], wz, d)
                        _fluxes(d, slope[1, 1], cross[0], slope[1, 2], cross[1], scale, kind, far)
                    else:
                        _half(u[k, y], row, wz, d)
                        _fluxes(d, slope[1, 1], cross[0], slope[1, 2], cross[1], scale, kind, near)
            _half(row[: nx - 1], row[1:], wx, d[: nx - 1])
            _fluxes(
                d[: nx - 1], slope[1, 0, : nx - 1], slope[1, 0, 1:], slope[1, 1, : nx - 1],
                slope[1, 1, 1:], scale, kind, across[1:nx],
            )  # fmt: skip
            across[0] = 0
            across[nx] = 0
            _balanced(row, across, above, below, near, far, wz, wy, wx, time, out[z, y])
            above[:] = below


@numba.njit(fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _balanced(
    row: Array, across: Array, above: Array, below: Array, near: Array, far: Array,
    wz: float, wy: float, wx: float, time: float, out: Array,
) -> None:  # fmt: skip
    for x in range(row.size):
        gain = wx * (across[x + 1] - across[x]) + wy * (below[x] - above[x])
        out[x] = row[x] + time * (gain + wz * (far[x] - near[x]))


@numba.njit(parallel=True, cache=True)
def mean_square_slope(u: Array, weights: Array, deep: int) -> Float:
    """Per plane the sum of squared central slopes, and the count of finite voxels: ``(nz, 2)``."""
    nz, ny, nx = u.shape
    out = np.zeros((nz, 2))
    for z in numba.prange(nz):
        za, zb = max(z - 1, 0), min(z + 1, nz - 1)
        s = np.zeros((3, nx), np.float32)
        total, count = 0.0, 0
        for y in range(ny):
            if deep:
                _central(u[za, y], u[zb, y], u[z, y], weights[0], s[0])
            _central(u[z, max(y - 1, 0)], u[z, min(y + 1, ny - 1)], u[z, y], weights[1], s[1])
            _sideways(u[z, y], weights[2], s[2])
            part = np.float32(0)
            for x in range(nx):
                part += s[0, x] * s[0, x] + s[1, x] * s[1, x] + s[2, x] * s[2, x]
                count += 1 if np.isfinite(u[z, y, x]) else 0
            total += part
        out[z, 0], out[z, 1] = total, count
    return out


def exponent(edge: float) -> float:
    """`stepped`'s ``scale`` for an exponential conductance ``exp(-(slope / edge)^2 / 2)``."""
    return LOG2E / (2.0 * edge * edge)
