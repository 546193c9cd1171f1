"""Voxel by voxel from the sums of a run to its coefficients, plain and whitened."""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.fmri.sums import Sums
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

_RUN = 512
"""Voxels per call of a kernel's inner part."""


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _lag(
    start: int, stop: int, z: Array, neighbours: Array, lagged: Array, square: Array, step: Array,
    own: Array, ratio: Array,
) -> None:  # fmt: skip
    p, voxels = z.shape
    for i in range(start * _RUN, min(stop * _RUN, voxels)):
        left, beside = square[i], lagged[i]
        for j in range(p):
            here = z[j, i]
            left -= here * here
            inner = np.float32(0)
            for k in range(p):
                inner += step[j, k] * z[k, i]
            beside += here * (inner - neighbours[j, i])
        own[i] = max(left, np.float32(0))
        ratio[i] = beside / left if left > 0 else np.float32(0)


def lag_one(found: Sums, q: Float) -> tuple[Array, Array]:
    """Residual sum of squares of the ordinary fit, and lag-one correlation of its residuals.

    Both ``(v,)``, from the sums alone: ``r'Lr`` for ``r = y - Q z``.
    """
    voxels = found.square.size
    step = q[1:].T @ q[:-1]
    own, ratio = np.empty(voxels, np.float32), np.empty(voxels, np.float32)
    in_chunks(
        _lag, -(-voxels // _RUN), found.projected, found.neighbours, found.lagged, found.square,
        (0.5 * (step + step.T)).astype(np.float32), own, ratio,
    )  # fmt: skip
    return own, ratio


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _solve(
    start: int, stop: int, z: Array, neighbours: Array, lagged: Array, square: Array, last: Array,
    level: Array, bins: Array, rho: Array, inverses: Array, back: Array, whole: Array, end: Array,
    beta: Array, left: Array,
) -> None:  # fmt: skip
    p, voxels = z.shape
    right = np.empty(p, np.float32)
    of_q = np.empty(p, np.float32)
    for i in range(start * _RUN, min(stop * _RUN, voxels)):
        b = bins[i]
        if b < 0:
            continue
        a = rho[b]
        aa = a * a
        for j in range(p):
            right[j] = (1 + aa) * z[j, i] - a * neighbours[j, i] - aa * end[j] * last[i]
        rest = (1 + aa) * square[i] - 2 * a * lagged[i] - aa * last[i] * last[i]
        inverse = inverses[b]
        for j in range(p):
            total = np.float32(0)
            for k in range(p):
                total += inverse[j, k] * right[k]
            of_q[j] = total
            rest -= total * right[j]
        left[i] = max(rest, np.float32(0))
        for j in range(p):
            total = whole[j] * level[i]
            for k in range(p):
                total += back[j, k] * of_q[k]
            beta[j, i] = total


def solve(
    found: Sums, q: Float, *, bins: Array, rho: Float, back: Float, whole: Float
) -> tuple[Array, Array, Float]:
    """Fit every voxel with the design whitened at the correlation of its bin.

    Parameters
    ----------
    bins
        Which of ``rho`` a voxel has, -1 for none.
    back
        ``(p, p)``: from coefficients of the basis to those of the design.
    whole
        Coefficients ``(p,)`` of the constant 1.

    Returns
    -------
    beta, left, inverses
        ``(p, v)``; residual sums of squares ``(v,)``; ``(Qw'Qw)^-1`` per bin.
    """
    p, voxels = found.projected.shape
    inverses = np.empty((len(rho), p, p))
    for k, a in enumerate(rho):
        white = q.copy()
        white[1:] -= a * q[:-1]
        inverses[k] = np.linalg.inv(white.T @ white)
    beta, left = np.zeros((p, voxels), np.float32), np.zeros(voxels, np.float32)
    in_chunks(
        _solve, -(-voxels // _RUN), found.projected, found.neighbours, found.lagged, found.square,
        found.last, found.level, bins, rho.astype(np.float32), inverses.astype(np.float32),
        back.astype(np.float32), whole.astype(np.float32), q[-1].astype(np.float32), beta, left,
    )  # fmt: skip
    return beta, left, inverses
