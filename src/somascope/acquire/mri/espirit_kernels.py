"""The largest eigenvector of one small Hermitian matrix per pixel, 16 pixels at a time."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from somascope.core.grid import Array

LANES = 16
ITERATIONS = 60
TOLERANCE = 1e-7


@njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def _power(
    real: Array,
    imag: Array,
    coils: int,
    iterations: int,
    tolerance: float,
    vectors: Array,
    values: Array,
) -> None:  # pragma: no cover
    """Power iteration on ``(pairs, ny, nx)`` upper triangles; ``nx`` is a multiple of 16.

    Neighbours have nearly the same vector, so each row starts from the row above.
    """
    ny, nx = real.shape[1:]
    for block in prange(nx // LANES):
        x0 = block * LANES
        vr = np.full((coils, LANES), np.float32(1))
        vi = np.zeros((coils, LANES), np.float32)
        wr = np.empty((coils, LANES), np.float32)
        wi = np.empty((coils, LANES), np.float32)
        size = np.empty(LANES, np.float32)
        gap = np.empty(LANES, np.float32)
        # A little of every direction keeps a start from being orthogonal to the answer.
        for y in range(ny):
            for c in range(coils):
                for l in range(LANES):
                    vr[c, l] += np.float32(1e-3)
            worst = np.float32(1)
            for _ in range(iterations):
                for c in range(coils):
                    for l in range(LANES):
                        wr[c, l] = np.float32(0)
                        wi[c, l] = np.float32(0)
                p = 0
                for i in range(coils):
                    for j in range(i, coils):
                        gr = real[p, y, x0 : x0 + LANES]
                        gi = imag[p, y, x0 : x0 + LANES]
                        for l in range(LANES):
                            wr[i, l] += gr[l] * vr[j, l] - gi[l] * vi[j, l]
                            wi[i, l] += gr[l] * vi[j, l] + gi[l] * vr[j, l]
                        if j != i:
                            for l in range(LANES):
                                wr[j, l] += gr[l] * vr[i, l] + gi[l] * vi[i, l]
                                wi[j, l] += gr[l] * vi[i, l] - gi[l] * vr[i, l]
                        p += 1
                for l in range(LANES):
                    size[l] = np.float32(1e-30)
                for c in range(coils):
                    for l in range(LANES):
                        size[l] += wr[c, l] * wr[c, l] + wi[c, l] * wi[c, l]
                for l in range(LANES):
                    size[l] = np.sqrt(size[l])
                    gap[l] = np.float32(0)
                for c in range(coils):
                    for l in range(LANES):
                        a = wr[c, l] / size[l]
                        b = wi[c, l] / size[l]
                        gap[l] += (a - vr[c, l]) ** 2 + (b - vi[c, l]) ** 2
                        vr[c, l] = a
                        vi[c, l] = b
                worst = np.float32(0)
                for l in range(LANES):
                    worst = max(worst, gap[l])
                if worst < tolerance:
                    break
            for c in range(coils):
                for l in range(LANES):
                    vectors[c, y, x0 + l] = np.complex64(complex(vr[c, l], vi[c, l]))
            for l in range(LANES):
                values[y, x0 + l] = size[l]


@njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def _finish(
    vectors: Array, values: Array, reference: Array, crop: float, out: Array
) -> None:  # pragma: no cover
    coils, ny, nx = out.shape
    for y in prange(ny):
        for x in range(nx):
            turn = np.complex64(0)
            for c in range(coils):
                turn += reference[c] * vectors[c, y, x]
            size = abs(turn)
            keep = values[y, x] > crop and size > np.float32(0)
            turn = np.conj(turn) / size if keep else np.complex64(0)
            for c in range(coils):
                out[c, y, x] = vectors[c, y, x] * turn


def dominant(
    pairs: Array, rows: Array, columns: Array, *, coils: int, reference: Array, crop: float
) -> Array:
    """Largest eigenvector of ``G(y, x) = sum_ab rows[y, a] pairs[p, a, b] columns[x, b]``.

    Parameters
    ----------
    pairs
        Complex ``(coils (coils + 1) / 2, a, b)``, the upper triangle of G row by row.
    rows, columns
        Complex ``(ny, a)`` and ``(nx, b)``.
    reference
        ``(coils,)``; the result's phase makes ``sum reference * v`` positive.
    crop
        Pixels whose eigenvalue is not above this are zero.

    Returns
    -------
    array
        Complex64 ``(coils, ny, nx)``.
    """
    nx = columns.shape[0]
    wide = -(-nx // LANES) * LANES
    count, ny = pairs.shape[0], rows.shape[0]
    half = np.matmul(rows.astype(np.complex64), pairs.astype(np.complex64))  # (pairs, ny, b)
    split = np.concatenate([half.real, half.imag], axis=-1).reshape(count * ny, -1)
    grown = np.zeros((wide, columns.shape[1]), np.complex64)
    grown[:nx] = columns
    c, s = grown.real.T, grown.imag.T
    real = (split @ np.concatenate([c, -s])).reshape(count, ny, wide)
    imag = (split @ np.concatenate([s, c])).reshape(count, ny, wide)
    vectors = np.empty((coils, ny, wide), np.complex64)
    values = np.empty((ny, wide), np.float32)
    _power(real, imag, coils, ITERATIONS, TOLERANCE, vectors, values)
    out = np.empty((coils, ny, nx), np.complex64)
    _finish(vectors, values, reference, crop, out)
    return out
