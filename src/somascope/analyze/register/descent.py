"""The linear search by correlation as one kernel: small images are done before Python has begun.

It takes the steps of `affine._descend`: the sums of `affine_kernels.equations`, their solution with
slope and level of the fit eliminated, the map advanced.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.analyze.register.affine_kernels import equations
from somascope.core.grid import Array, Float

FARTHEST = 15.0
"""mm (at the radius) of one step at most."""


@numba.njit(nogil=True, cache=True)
def _solved(a: Float, x: Float, n: int) -> None:
    """``a x = x`` in place, by elimination with pivots."""
    for k in range(n):
        pivot = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[pivot, k]):
                pivot = i
        if pivot != k:
            for j in range(n):
                a[k, j], a[pivot, j] = a[pivot, j], a[k, j]
            x[k], x[pivot] = x[pivot], x[k]
        if a[k, k] == 0:
            a[k, k] = 1e-300
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            for j in range(k, n):
                a[i, j] -= factor * a[k, j]
            x[i] -= factor * x[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            x[k] -= a[k, j] * x[j]
        x[k] /= a[k, k]


@numba.njit(nogil=True, cache=True)
def _step(sums: Float, basis: Float, damping: float, out: Float) -> None:
    """`affine_kernels.solve` for one contrast: the step ``(12,)`` into ``out``."""
    k = basis.shape[1]
    whole = np.empty((15, 15))
    for i in range(15):
        for j in range(15):
            whole[i, j] = sums[max(i, j), min(i, j)]
    half = np.zeros((15, k))
    for i in range(15):
        for j in range(k):
            for m in range(12):
                half[i, j] += whole[i, m] * basis[m, j]
    system, right = np.zeros((14, 14)), np.zeros(14)
    largest = 0.0
    for i in range(k):
        for j in range(k):
            for m in range(12):
                system[i, j] += basis[m, i] * half[m, j]
        largest = max(largest, system[i, i])
    for i in range(k):
        system[i, i] += damping * system[i, i] + 1e-9 * largest + 1e-12
        right[i] = -half[14, i]
        for c in range(2):
            system[i, k + c] = system[k + c, i] = -half[12 + c, i]
    for c in range(2):
        right[k + c] = whole[12 + c, 14]
        for d in range(2):
            system[k + c, k + d] = whole[12 + c, 12 + d]
        system[k + c, k + c] += 1e-9
    _solved(system, right, k + 2)
    out[:] = 0
    for m in range(12):
        for j in range(k):
            out[m] += basis[m, j] * right[j]


@numba.njit(nogil=True, cache=True)
def _advanced(b: Float, step: Float, radius: float, scale: float, rigid: bool, out: Float) -> None:  # noqa: FBT001
    """`affine_kernels.advanced`: ``b o (1 + step)`` into ``out`` ``(3, 4)``."""
    linear = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            linear[i, j] = step[3 + 3 * i + j] * scale / radius
    m = np.eye(3)
    if rigid:
        w = np.empty(3)
        w[0] = 0.5 * (linear[2, 1] - linear[1, 2])
        w[1] = 0.5 * (linear[0, 2] - linear[2, 0])
        w[2] = 0.5 * (linear[1, 0] - linear[0, 1])
        angle = np.sqrt(w[0] ** 2 + w[1] ** 2 + w[2] ** 2)
        s = np.sin(angle) / angle if angle > 1e-12 else 1.0
        c = (1 - np.cos(angle)) / angle**2 if angle > 1e-12 else 0.5
        turn = np.zeros((3, 3))
        turn[0, 1], turn[0, 2], turn[1, 2] = -w[2], w[1], -w[0]
        turn[1, 0], turn[2, 0], turn[2, 1] = w[2], -w[1], w[0]
        total = linear[0, 0] + linear[1, 1] + linear[2, 2]
        plain = np.empty((3, 3))
        squares = 0.0
        for i in range(3):
            for j in range(3):
                plain[i, j] = 0.5 * (linear[i, j] + linear[j, i])
                squares += plain[i, j] ** 2
        grow = squares / total if abs(total) > 1e-12 else 0.0
        size = np.expm1(grow) / grow if grow != 0 else 1.0
        rotated, scaled = np.eye(3), np.eye(3)
        for i in range(3):
            for j in range(3):
                rotated[i, j] += s * turn[i, j]
                scaled[i, j] += plain[i, j] * size
                for n in range(3):
                    rotated[i, j] += c * turn[i, n] * turn[n, j]
        for i in range(3):
            for j in range(3):
                m[i, j] = 0
                for n in range(3):
                    m[i, j] += rotated[i, n] * scaled[n, j]
    else:
        for i in range(3):
            for j in range(3):
                m[i, j] += linear[i, j]
    for i in range(3):
        for j in range(3):
            out[i, j] = b[i, 0] * m[0, j] + b[i, 1] * m[1, j] + b[i, 2] * m[2, j]
        out[i, 3] = b[i, 3]
        for n in range(3):
            out[i, 3] += b[i, n] * step[n] * scale


@numba.njit(nogil=True, cache=True)
def descend(
    f: Array, points: Array, volume: Array, b: Float, radius: float, basis: Float,
    rigid: bool, steps: int, still: float, least: float, best: Float,  # noqa: FBT001
) -> float:  # fmt: skip
    """Levenberg-Marquardt from ``b`` by correlation; the best map into ``best``, its score.

    ``least``: how many points must lie in the volume.
    """
    best[:] = b
    here, step = b.copy(), np.empty(12)
    sums, kept = np.empty((15, 15)), np.empty((15, 15))
    none = np.zeros((1, 1))
    score, damping = -np.inf, 1e-2
    for _ in range(steps):
        sums[:] = 0
        equations(f, points, volume, here, radius, none, False, 0, len(f), sums)
        n, mf, mm = sums[13, 13], sums[13, 12], sums[14, 13]
        now = -np.inf
        if n >= least and n >= 1:
            spread = (sums[12, 12] - mf * mf / n) * (sums[14, 14] - mm * mm / n)
            now = (sums[14, 12] - mf * mm / n) / np.sqrt(max(spread, 1e-20))
        if now > score:
            gain = now - score
            score = now
            best[:] = here
            kept[:] = sums
            damping = max(damping * 0.3, 1e-4)
            if gain < 1e-6:
                break
        else:
            damping = max(damping * 10, 0.1)
        if score == -np.inf or damping > 1e3:
            break
        _step(kept, basis, damping, step)
        size = 0.0
        for m in range(12):
            size += step[m] ** 2
        size = np.sqrt(size)
        if not size > still:
            break
        _advanced(best, step, radius, min(1.0, FARTHEST / size), rigid, here)
    return score
