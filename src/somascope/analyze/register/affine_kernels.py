"""Kernels of the linear part: similarity of sampled points, its derivative, descent.

Points are mm from a centre in the fixed frame; ``b`` ``(3, 4)`` takes them to voxels of the
moving volume. The twelve parameters of a step are a shift (mm) and a 3x3 matrix whose entries
are told in mm at ``radius``.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float

BINS = 32


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


@numba.njit(nogil=True, cache=True)
def equations(
    f: Array, points: Array, volume: Array, b: Float, radius: float, scores: Float, mutual: bool,  # noqa: FBT001
    start: int, stop: int, out: Float,
) -> None:  # fmt: skip
    """Sums of the normal equations: ``out`` ``(15, 15)``, rows step 12, f, 1, m.

    With ``mutual`` the last row and column hold the score instead, and points are weighted by
    its square.
    """
    g, j = np.empty(3), np.empty(15)
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
        for a in range(3):
            j[a] = b[0, a] * g[0] + b[1, a] * g[1] + b[2, a] * g[2]
        for a in range(3):
            j[3 + 3 * a] = j[a] * z / radius
            j[4 + 3 * a] = j[a] * y / radius
            j[5 + 3 * a] = j[a] * x / radius
        if mutual:
            k = min(max(f[i] * (BINS - 1), 0.0), BINS - 1.001)
            m = min(max(v * (BINS - 1), 0.0), BINS - 1.001)
            kf, km = int(k), int(m)
            s, t = k - kf, m - km
            score = (1 - s) * ((1 - t) * scores[kf, km] + t * scores[kf, km + 1]) + s * (
                (1 - t) * scores[kf + 1, km] + t * scores[kf + 1, km + 1]
            )
            for a in range(12):
                j[a] *= score
            j[12], j[13], j[14] = 0.0, 0.0, 1.0
        else:
            j[12], j[13], j[14] = f[i], 1.0, v
        for a in range(15):
            for c in range(a + 1):
                out[a, c] += j[a] * j[c]


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
        grow = np.trace(linear) / max(int((np.abs(np.diag(linear)) > 0).sum()), 1)
        m[:3, :3] = (np.eye(3) + s * k + c * (k @ k)) * np.exp(grow)
    else:
        m[:3, :3] += linear
    m[:3, 3] = step[:3] * scale
    whole = np.eye(4)
    whole[:3] = b
    return np.ascontiguousarray((whole @ m)[:3])
