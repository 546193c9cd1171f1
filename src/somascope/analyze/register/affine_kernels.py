"""Kernels of the linear part: similarity of sampled points, its derivative, descent.

Points are mm from a centre in the fixed frame; ``b`` ``(3, 4)`` takes them to voxels of the
moving volume. The twelve parameters of a step are a shift (mm) and a 3x3 matrix whose entries
are told in mm at ``radius``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.core.grid import Array, Float

BINS = 32
BLOCK = 128
"""Points summed at a time, in single precision; the sums of blocks are double."""


@numba.njit(nogil=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def _value(volume: Array, a: float, b: float, c: float, g: Float) -> float:
    """Linear interpolation and its gradient per voxel into ``g``; NaN outside."""
    nz, ny, nx = volume.shape
    flat = nz == 1
    if (a < -0.5 or b < 0 or c < 0 or a > nz - 0.5 or b > ny - 1 or c > nx - 1) or (
        not flat and (a < 0 or a > nz - 1)
    ):
        return np.nan
    z = min(int(a), nz - 2) if not flat else 0
    y, x = min(int(b), max(ny - 2, 0)), min(int(c), max(nx - 2, 0))
    t, u, w = (0.0 if flat else a - z), b - y, c - x
    z1, y1, x1 = (z if flat else z + 1), min(y + 1, ny - 1), min(x + 1, nx - 1)
    v000, v001 = volume[z, y, x], volume[z, y, x1]
    v010, v011 = volume[z, y1, x], volume[z, y1, x1]
    v100, v101 = volume[z1, y, x], volume[z1, y, x1]
    v110, v111 = volume[z1, y1, x], volume[z1, y1, x1]
    p00, p01 = v000 + w * (v001 - v000), v010 + w * (v011 - v010)
    p10, p11 = v100 + w * (v101 - v100), v110 + w * (v111 - v110)
    q0, q1 = p00 + u * (p01 - p00), p10 + u * (p11 - p10)
    g[0] = q1 - q0
    g[1] = (1 - t) * (p01 - p00) + t * (p11 - p10)
    g[2] = (1 - t) * ((1 - u) * (v001 - v000) + u * (v011 - v010)) + t * (
        (1 - u) * (v101 - v100) + u * (v111 - v110)
    )
    return q0 + t * (q1 - q0)


@numba.njit(nogil=True, cache=True)
def joint(
    f: Array, points: Array, volume: Array, b: Float, start: int, stop: int, table: Float
) -> float:
    """Joint histogram ``(BINS, BINS)`` added to ``table``; the weight inside the volume."""
    g = np.empty(3)
    inside = 0.0
    for i in range(start, stop):
        z, y, x = points[i, 0], points[i, 1], points[i, 2]
        v = _value(
            volume,
            b[0, 0] * z + b[0, 1] * y + b[0, 2] * x + b[0, 3],
            b[1, 0] * z + b[1, 1] * y + b[1, 2] * x + b[1, 3],
            b[2, 0] * z + b[2, 1] * y + b[2, 2] * x + b[2, 3],
            g,
        )
        if np.isnan(v):
            continue
        inside += 1
        k = min(max(f[i] * (BINS - 1), 0.0), BINS - 1.001)
        m = min(max(v * (BINS - 1), 0.0), BINS - 1.001)
        kf, km = int(k), int(m)
        s, t = k - kf, m - km
        table[kf, km] += (1 - s) * (1 - t)
        table[kf, km + 1] += (1 - s) * t
        table[kf + 1, km] += s * (1 - t)
        table[kf + 1, km + 1] += s * t
    return inside


@numba.njit(nogil=True, cache=True, fastmath={"contract", "arcp", "nsz", "reassoc"})
def _dot(a: Array, b: Array, n: int) -> Any:
    total = np.float32(0)
    for i in range(n):
        total += a[i] * b[i]
    return total


@numba.njit(nogil=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def equations(
    f: Array, points: Array, volume: Array, b: Float, radius: float, scores: Float, mutual: bool,  # noqa: FBT001
    start: int, stop: int, out: Float,
) -> None:  # fmt: skip
    """Sums of the normal equations: ``out`` ``(15, 15)``, rows step 12, f, 1, m.

    With ``mutual`` the last row and column hold the score instead, and points are weighted by
    its square. A step's derivative is the outer product of three slopes and ``(1, x)``, so that
    60 sums tell its 78 products; they are taken over blocks of points.
    """
    g = np.empty(3)
    j, p = np.empty((3, BLOCK), np.float32), np.empty((4, BLOCK), np.float32)
    e = np.empty((3, BLOCK), np.float32)
    both, pairs = np.empty(BLOCK, np.float32), np.empty((10, BLOCK), np.float32)
    squares, cross, rest = np.zeros((6, 10)), np.zeros((3, 4, 3)), np.zeros((3, 3))
    for first in range(start, stop, BLOCK):
        n = 0
        for i in range(first, min(first + BLOCK, stop)):
            z, y, x = points[i, 0], points[i, 1], points[i, 2]
            v = _value(
                volume,
                b[0, 0] * z + b[0, 1] * y + b[0, 2] * x + b[0, 3],
                b[1, 0] * z + b[1, 1] * y + b[1, 2] * x + b[1, 3],
                b[2, 0] * z + b[2, 1] * y + b[2, 2] * x + b[2, 3],
                g,
            )
            if np.isnan(v):
                continue
            score = 1.0
            e[0, n], e[1, n], e[2, n] = f[i], 1, v
            if mutual:
                k = min(max(f[i] * (BINS - 1), 0.0), BINS - 1.001)
                m = min(max(v * (BINS - 1), 0.0), BINS - 1.001)
                kf, km = int(k), int(m)
                s, t = k - kf, m - km
                score = (1 - s) * ((1 - t) * scores[kf, km] + t * scores[kf, km + 1]) + s * (
                    (1 - t) * scores[kf + 1, km] + t * scores[kf + 1, km + 1]
                )
                e[0, n], e[1, n], e[2, n] = 0, 0, 1
            for a in range(3):
                j[a, n] = (b[0, a] * g[0] + b[1, a] * g[1] + b[2, a] * g[2]) * score
            p[0, n], p[1, n], p[2, n], p[3, n] = 1, z / radius, y / radius, x / radius
            n += 1
        q = 0
        for a in range(4):
            for c in range(a, 4):
                for i in range(n):
                    pairs[q, i] = p[a, i] * p[c, i]
                q += 1
        q = 0
        for a in range(3):
            for c in range(a, 3):
                for i in range(n):
                    both[i] = j[a, i] * j[c, i]
                for k in range(10):
                    squares[q, k] += _dot(both, pairs[k], n)
                q += 1
                rest[c, a] += _dot(e[a], e[c], n)
            for k in range(4):
                for i in range(n):
                    both[i] = j[a, i] * p[k, i]
                for c in range(3):
                    cross[a, k, c] += _dot(both, e[c], n)
    slopes = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
    places = np.array([[0, 1, 2, 3], [1, 4, 5, 6], [2, 5, 7, 8], [3, 6, 8, 9]])
    for a in range(3):
        for k in range(4):
            row = a if k == 0 else 2 + 3 * a + k
            for c in range(3):
                out[12 + c, row] += cross[a, k, c]
                for m in range(4):
                    column = c if m == 0 else 2 + 3 * c + m
                    if column <= row:
                        out[row, column] += squares[slopes[a, c], places[k, m]]
        for c in range(a, 3):
            out[12 + c, 12 + a] += rest[c, a]


def density(table: Float) -> Float:
    """The histogram as a density, smoothed 1 2 1 both ways, with a trace of everything."""
    for axis in (0, 1):
        padded = np.pad(table, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        low, mid, high = (np.take(padded, np.arange(BINS) + k, axis=axis) for k in range(3))
        table = 0.25 * low + 0.5 * mid + 0.25 * high
    trace = 1e-6
    return table / max(float(table.sum()), 1e-9) * (1 - trace) + trace / BINS**2


def information(p: Float) -> tuple[float, float]:
    """Mutual information (nat), and (H(F) + H(M)) / H(F, M) - 1."""
    hf, hm, hj = (-float((q * np.log(q)).sum()) for q in (p.sum(axis=1), p.sum(axis=0), p))
    return hf + hm - hj, (hf + hm) / max(hj, 1e-12) - 1.0


def score_table(p: Float) -> Float:
    """Derivative of ``log p(f, m) / p(m)`` along m, per unit of the volume's values."""
    logs = np.log(p / p.sum(axis=0))
    return np.ascontiguousarray(np.gradient(logs, axis=1) * (BINS - 1))


def correlation(sums: Float) -> float:
    """Pearson's from the sums of `equations`."""
    n, f, m = sums[13, 13], sums[13, 12], sums[14, 13]
    if n < 1:
        return 0.0
    ff, mm = sums[12, 12] - f * f / n, sums[14, 14] - m * m / n
    return float((sums[14, 12] - f * m / n) / np.sqrt(max(ff * mm, 1e-20)))


def solve(sums: Float, basis: Float, *, mutual: bool, damping: float) -> Float:
    """The step ``(12,)`` within ``basis`` ``(12, k)`` from the lower triangle of ``sums``."""
    whole = np.tril(sums) + np.tril(sums, -1).T
    k = basis.shape[1]
    h = basis.T @ whole[:12, :12] @ basis
    # Damping and its floor are for the step alone: slope and level of the fit are free.
    ridge = damping * np.diag(h) + 1e-9 * np.diag(h).max(initial=0.0) + 1e-12
    h = h + np.diag(ridge)
    if mutual:
        return basis @ np.linalg.solve(h, basis.T @ whole[:12, 14])
    # m + j step = slope f + level: linear in step, slope and level.
    cross = basis.T @ whole[:12, 12:14]
    fit = whole[12:14, 12:14] + 1e-9 * np.eye(2)
    system = np.block([[h, -cross], [-cross.T, fit]])
    right = np.concatenate([-(basis.T @ whole[:12, 14]), whole[12:14, 14]])
    return basis @ np.linalg.solve(system, right)[:k]


def advanced(b: Float, step: Float, radius: float, *, rigid: bool, scale: float = 1.0) -> Float:
    """``b`` ``(3, 4)`` after the step, ``b o (1 + step)``; a rigid one turns truly (Rodrigues)."""
    linear = step[3:].reshape(3, 3) * (scale / radius)
    m = np.eye(4)
    if rigid:
        w = 0.5 * np.array(
            [linear[2, 1] - linear[1, 2], linear[0, 2] - linear[2, 0], linear[1, 0] - linear[0, 1]]
        )
        angle = float(np.sqrt(w @ w))
        k = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
        s = np.sin(angle) / angle if angle > 1e-12 else 1.0
        c = (1 - np.cos(angle)) / angle**2 if angle > 1e-12 else 0.5
        # What is no turn is a scale of all directions, or of those in the plane of a slice: a
        # multiple of a projector, whose exponential is the projector's too.
        plain = 0.5 * (linear + linear.T)
        total = float(np.trace(plain))
        grow = float((plain * plain).sum()) / total if abs(total) > 1e-12 else 0.0
        scaled = np.eye(3) + plain * (np.expm1(grow) / grow if grow else 1.0)
        m[:3, :3] = (np.eye(3) + s * k + c * (k @ k)) @ scaled
    else:
        m[:3, :3] += linear
    m[:3, 3] = step[:3] * scale
    whole = np.eye(4)
    whole[:3] = b
    return np.ascontiguousarray((whole @ m)[:3])
