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
def _joint(
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
def _smoothed(table: Float) -> Float:
    """The histogram as a density, smoothed 1 2 1 both ways, with a trace of everything."""
    n = BINS
    once, out = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            low, high = table[max(i - 1, 0), j], table[min(i + 1, n - 1), j]
            once[i, j] = 0.25 * low + 0.5 * table[i, j] + 0.25 * high
    total = 0.0
    for i in range(n):
        for j in range(n):
            low, high = once[i, max(j - 1, 0)], once[i, min(j + 1, n - 1)]
            out[i, j] = 0.25 * low + 0.5 * once[i, j] + 0.25 * high
            total += out[i, j]
    trace = 1e-6
    for i in range(n):
        for j in range(n):
            out[i, j] = out[i, j] / max(total, 1e-9) * (1 - trace) + trace / (n * n)
    return out


@numba.njit(nogil=True, cache=True)
def _information(p: Float) -> tuple[float, float]:
    """Mutual information (nat), and (H(F) + H(M)) / H(F, M) - 1."""
    n = BINS
    hf = hm = hj = 0.0
    for i in range(n):
        row = column = 0.0
        for j in range(n):
            row += p[i, j]
            column += p[j, i]
            hj -= p[i, j] * np.log(p[i, j])
        hf -= row * np.log(row)
        hm -= column * np.log(column)
    return hf + hm - hj, (hf + hm) / hj - 1.0


@numba.njit(nogil=True, cache=True)
def _scores(p: Float) -> Float:
    """Derivative of ``log p(f, m) / p(m)`` along m, per unit of the volume's values."""
    n = BINS
    logs = np.empty((n, n))
    for j in range(n):
        column = 0.0
        for i in range(n):
            column += p[i, j]
        for i in range(n):
            logs[i, j] = np.log(p[i, j] / column)
    out = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            low, high = max(j - 1, 0), min(j + 1, n - 1)
            out[i, j] = (logs[i, high] - logs[i, low]) / (high - low) * (n - 1)
    return out


@numba.njit(nogil=True, cache=True)
def _add(
    f: Array, points: Array, volume: Array, b: Float, radius: float, scores: Float, mutual: bool,
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


@numba.njit(nogil=True, cache=True)
def _solve(sums: Float, basis: Float, mutual: bool, damping: float) -> Float:
    """The step (12) within ``basis`` ``(12, k)``."""
    k = basis.shape[1]
    whole = np.zeros((15, 15))
    for a in range(15):
        for c in range(a + 1):
            whole[a, c] = sums[a, c]
            whole[c, a] = sums[a, c]
    extra = 0 if mutual else 2
    h, right = np.zeros((k + extra, k + extra)), np.zeros(k + extra)
    h[:k, :k] = basis.T @ np.ascontiguousarray(whole[:12, :12]) @ basis
    if mutual:
        right[:k] = basis.T @ np.ascontiguousarray(whole[:12, 14])
    else:
        # m + j step = slope f + level: linear in step, slope and level.
        cross = basis.T @ np.ascontiguousarray(whole[:12, 12:14])
        h[:k, k:] = -cross
        h[k:, :k] = -cross.T
        h[k:, k:] = whole[12:14, 12:14]
        right[:k] = -(basis.T @ np.ascontiguousarray(whole[:12, 14]))
        right[k:] = whole[12:14, 14]
    most = 0.0
    for a in range(k):
        most = max(most, h[a, a])
    for a in range(k + extra):
        h[a, a] += damping * h[a, a] + (1e-9 * most if a < k else 0.0) + 1e-12
    found = np.linalg.solve(h, right)
    return basis @ np.ascontiguousarray(found[:k])


@numba.njit(nogil=True, cache=True)
def correlation(sums: Float) -> float:
    """Pearson's from the sums of `_add`."""
    n, f, m = sums[13, 13], sums[13, 12], sums[14, 13]
    if n < 1:
        return 0.0
    ff, mm = sums[12, 12] - f * f / n, sums[14, 14] - m * m / n
    fm = sums[14, 12] - f * m / n
    return fm / np.sqrt(max(ff * mm, 1e-20))


@numba.njit(nogil=True, cache=True)
def advanced(b: Float, step: Float, radius: float, rigid: bool, scale: float) -> Float:
    """``b`` after the step: ``b o (1 + step)``; a rigid one is a true rotation (Rodrigues)."""
    m = np.eye(4)
    if rigid:
        # The antisymmetric entries: L[a, c] turns about the third axis.
        w = np.array([step[10] - step[8], step[5] - step[9], step[6] - step[4]]) * (
            0.5 * scale / radius
        )
        angle = np.sqrt((w * w).sum())
        k = np.zeros((3, 3))
        k[0, 1], k[0, 2], k[1, 0] = -w[2], w[1], w[2]
        k[1, 2], k[2, 0], k[2, 1] = -w[0], -w[1], w[0]
        s = np.sin(angle) / angle if angle > 1e-12 else 1.0
        c = (1 - np.cos(angle)) / (angle * angle) if angle > 1e-12 else 0.5
        turn = np.eye(3) + s * k + c * (k @ k)
        # What a similarity adds: one scale.
        grow = (step[3] + step[7] + step[11]) / 3 * scale / radius
        m[:3, :3] = turn * np.exp(grow)
    else:
        for a in range(3):
            for c in range(3):
                m[a, c] += step[3 + 3 * a + c] * scale / radius
    for a in range(3):
        m[a, 3] = step[a] * scale
    whole = np.eye(4)
    whole[:3] = b
    return np.ascontiguousarray((whole @ m)[:3])


@numba.njit(nogil=True, cache=True)
def _one(
    f: Array, points: Array, volume: Array, b: Float, radius: float, basis: Float, rigid: bool,
    mutual: bool, steps: int, least: float,
) -> tuple[Float, float]:  # fmt: skip
    """Descend from one start; the map and its score (greater is better)."""
    n = len(f)
    scores = np.zeros((BINS, BINS))
    best, best_score = b, -np.inf
    damping = 0.05
    step = np.zeros(12)
    here = b
    for _ in range(steps):
        table = np.zeros((BINS, BINS))
        inside = _joint(f, points, volume, here, 0, n, table)
        if inside < least * n:
            score = -np.inf
        else:
            p = _smoothed(table)
            mi, nmi = _information(p)
            score = nmi
        sums = np.zeros((15, 15))
        if score > -np.inf and not mutual:
            _add(f, points, volume, here, radius, scores, False, 0, n, sums)
            score = correlation(sums)
        if score > best_score:
            best, best_score = here, score
            damping = max(damping * 0.3, 1e-3)
            if mutual:
                scores = _scores(p)
                _add(f, points, volume, here, radius, scores, True, 0, n, sums)
            step = _solve(sums, basis, mutual, damping)
            kept = sums
        else:
            if best_score == -np.inf:
                break
            damping = max(damping * 10, 0.1)
            if damping > 1e3:
                break
            step = _solve(kept, basis, mutual, damping)
        size = np.sqrt((step * step).sum())
        if size < 0.02:
            break
        here = advanced(best, step, radius, rigid, min(1.0, 15.0 / max(size, 1e-9)))
    return best, best_score


@numba.njit(parallel=True, cache=True)
def many(
    f: Array, points: Array, volume: Array, starts: Float, radius: float, basis: Float,
    rigid: bool, mutual: bool, steps: int, least: float, out: Float, scores: Float,
) -> None:  # fmt: skip
    """Descend from each of ``starts`` ``(n, 3, 4)``."""
    for k in numba.prange(len(starts)):
        found, score = _one(
            f, points, volume, np.ascontiguousarray(starts[k]), radius, basis, rigid, mutual,
            steps, least,
        )  # fmt: skip
        out[k] = found
        scores[k] = score


@numba.njit(parallel=True, cache=True)
def joint(f: Array, points: Array, volume: Array, b: Float, tables: Float, inside: Float) -> None:
    """Joint histograms of as many parts as ``tables`` has."""
    parts, n = len(tables), len(f)
    for k in numba.prange(parts):
        inside[k] = _joint(f, points, volume, b, n * k // parts, n * (k + 1) // parts, tables[k])


@numba.njit(parallel=True, cache=True)
def equations(
    f: Array, points: Array, volume: Array, b: Float, radius: float, scores: Float, mutual: bool,
    out: Float,
) -> None:  # fmt: skip
    """Normal equations of as many parts as ``out`` ``(parts, 15, 15)`` has."""
    parts, n = len(out), len(f)
    for k in numba.prange(parts):
        _add(
            f, points, volume, b, radius, scores, mutual, n * k // parts, n * (k + 1) // parts,
            out[k],
        )  # fmt: skip


density, information, score_table, solve = _smoothed, _information, _scores, _solve
