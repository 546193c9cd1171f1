"""The largest eigenvector of one small Hermitian matrix per pixel, 16 pixels at a time."""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

LANES = 16
ITERATIONS = 60
TOLERANCE = 1e-7


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _power(
    start: int,
    stop: int,
    half_real: Array,
    half_imag: Array,
    cosine: Array,
    sine: Array,
    coils: int,
    iterations: int,
    tolerance: float,
    vectors: Array,
    values: Array,
) -> None:
    """Eigenvectors of columns ``16 start : 16 stop``, row by row.

    ``half`` is ``(ny, pairs, b)``; the sum over b with the columns' waves is done here, so that the
    matrices of a whole image are never stored. Neighbours have nearly the same vector: each row
    starts from the row above.
    """
    ny, pairs, terms = half_real.shape
    gr = np.empty((pairs, LANES), np.float32)
    gi = np.empty((pairs, LANES), np.float32)
    vr = np.empty((coils, LANES), np.float32)
    vi = np.empty((coils, LANES), np.float32)
    wr = np.empty((coils, LANES), np.float32)
    wi = np.empty((coils, LANES), np.float32)
    size = np.empty(LANES, np.float32)
    gap = np.empty(LANES, np.float32)
    for block in range(start, stop):
        x0 = block * LANES
        vr[:] = np.float32(1)
        vi[:] = np.float32(0)
        for y in range(ny):
            gr[:] = np.float32(0)
            gi[:] = np.float32(0)
            for p in range(pairs):
                for k in range(terms):
                    a = half_real[y, p, k]
                    b = half_imag[y, p, k]
                    for l in range(LANES):
                        c = cosine[k, x0 + l]
                        s = sine[k, x0 + l]
                        gr[p, l] += a * c - b * s
                        gi[p, l] += a * s + b * c
            # A little of every direction keeps a start from being orthogonal to the answer.
            for c_ in range(coils):
                for l in range(LANES):
                    vr[c_, l] += np.float32(1e-3)
            for _ in range(iterations):
                wr[:] = np.float32(0)
                wi[:] = np.float32(0)
                p = 0
                for i in range(coils):
                    for l in range(LANES):
                        wr[i, l] += gr[p, l] * vr[i, l]
                        wi[i, l] += gr[p, l] * vi[i, l]
                    p += 1
                    for j in range(i + 1, coils):
                        for l in range(LANES):
                            wr[i, l] += gr[p, l] * vr[j, l] - gi[p, l] * vi[j, l]
                            wi[i, l] += gr[p, l] * vi[j, l] + gi[p, l] * vr[j, l]
                            wr[j, l] += gr[p, l] * vr[i, l] + gi[p, l] * vi[i, l]
                            wi[j, l] += gr[p, l] * vi[i, l] - gi[p, l] * vr[i, l]
                        p += 1
                size[:] = np.float32(1e-30)
                gap[:] = np.float32(0)
                for i in range(coils):
                    for l in range(LANES):
                        size[l] += wr[i, l] * wr[i, l] + wi[i, l] * wi[i, l]
                for l in range(LANES):
                    size[l] = np.sqrt(size[l])
                for i in range(coils):
                    for l in range(LANES):
                        a = wr[i, l] / size[l]
                        b = wi[i, l] / size[l]
                        gap[l] += (a - vr[i, l]) ** 2 + (b - vi[i, l]) ** 2
                        vr[i, l] = a
                        vi[i, l] = b
                if gap.max() < tolerance:
                    break
            for i in range(coils):
                for l in range(LANES):
                    vectors[i, y, x0 + l] = np.complex64(complex(vr[i, l], vi[i, l]))
            for l in range(LANES):
                values[y, x0 + l] = size[l]


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _finish(
    start: int, stop: int, vectors: Array, values: Array, reference: Array, crop: float, out: Array
) -> None:
    coils, nx = out.shape[0], out.shape[2]
    for y in range(start, stop):
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
    blocks = -(-nx // LANES)
    ny = rows.shape[0]
    half = np.einsum("ya,pab->ypb", rows.astype(np.complex64), pairs.astype(np.complex64),
                     optimize=True)  # fmt: skip
    waves = np.zeros((columns.shape[1], blocks * LANES), np.complex64)
    waves[:, :nx] = columns.T
    vectors = np.empty((coils, ny, blocks * LANES), np.complex64)
    values = np.empty((ny, blocks * LANES), np.float32)
    in_chunks(
        _power, blocks, np.ascontiguousarray(half.real), np.ascontiguousarray(half.imag),
        np.ascontiguousarray(waves.real), np.ascontiguousarray(waves.imag), coils, ITERATIONS,
        TOLERANCE, vectors, values,
    )  # fmt: skip
    out = np.empty((coils, ny, nx), np.complex64)
    in_chunks(_finish, ny, vectors, values, reference, crop, out)
    return out
