"""The vector work of FISTA on complex images in two sweeps, and an L1 shrinkage in place.

`somascope.acquire.solvers.fista` is the general solver; with a normal operator of a millisecond its
dozen passes over the image would take longer than the physics. The steps are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from somascope.acquire.iteration import Solution, Watch
from somascope.acquire.mri.sparse_kernels import shrink_plane
from somascope.acquire.priors import Prior, WaveletL1
from somascope.core import QUIET, Operator, Progress
from somascope.core.grid import Array


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _downhill(z: Array, gradient: Array, back: Array, step: float, out: Array) -> None:
    """``out = z - step (gradient - back)`` on real views."""
    size = np.float32(step)
    for i in range(z.size):
        out[i] = z[i] - size * (gradient[i] - back[i])


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _measure(new: Array, x: Array, z: Array) -> tuple[float, float, float]:
    """``|new - x|^2, |new|^2, <z - new, new - x>`` on real views."""
    change, size, uphill = np.float32(0), np.float32(0), np.float32(0)
    for i in range(new.size):
        d = new[i] - x[i]
        change += d * d
        size += new[i] * new[i]
        uphill += (z[i] - new[i]) * d
    return float(change), float(size), float(uphill)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _ahead(new: Array, x: Array, momentum: float, z: Array) -> None:
    """``z = new + momentum (new - x)`` on real views."""
    m = np.float32(momentum)
    for i in range(new.size):
        z[i] = new[i] + m * (new[i] - x[i])


@dataclass(frozen=True)
class SparseWavelets(WaveletL1):
    """`WaveletL1` whose proximal map of complex64 planes is one compiled sweep."""

    def prox(self, x: Array, step: float) -> Array:
        """Transform, shrink, transform back."""
        w = self._transform(x.shape)
        plane = w.ndim == 2 or x.shape[-3] == 1
        if x.dtype != np.complex64 or not self.averages or w.range != x.shape or not plane:
            return super().prox(x, step)
        ny, nx = x.shape[-2:]
        out = np.array(x, order="C")
        low, high = (f.astype(np.float32) for f in (w.low, w.high))
        taps = tuple(range(low.size))
        for part in out.reshape(-1, ny * nx).view(np.float32):
            shrink_plane(taps, part, ny, nx, w.levels, low, high, step * self.weight)
        return out


def descend(
    gram: Operator,
    back: Array,
    *,
    prior: Prior,
    step: float,
    iterations: int,
    tolerance: float = 0.0,
    progress: Progress = QUIET,
) -> Solution:
    """FISTA with restart for ``1/2 <x, N x> - Re <x, b> + prior(x)``; complex64.

    Parameters
    ----------
    gram
        ``N = A^H W A``.
    back
        ``b = A^H W y``, the shape of the domain.
    step
        At most one over the largest eigenvalue of ``N``.

    Residuals and tolerance: ``|x' - x| / |x'|``.
    """
    watch = Watch(iterations, tolerance, None, progress, "compressed sensing")
    b = np.ascontiguousarray(back, np.complex64)
    x = np.zeros_like(b)
    z, work, t = x.copy(), np.empty_like(b), 1.0

    def flat(a: Array) -> Array:
        return a.reshape(-1).view(np.float32)

    while True:
        gradient = np.ascontiguousarray(gram.forward(z), np.complex64)
        _downhill(flat(z), flat(gradient), flat(b), step, flat(work))
        new = np.ascontiguousarray(prior.prox(work, step), np.complex64)
        if np.may_share_memory(new, work):
            new = new.copy()
        change, size, uphill = _measure(flat(new), flat(x), flat(z))
        restart = uphill > 0
        ahead = 1.0 if restart else (1 + math.sqrt(1 + 4 * t * t)) / 2
        _ahead(flat(new), flat(x), 0.0 if restart else (t - 1) / ahead, flat(z))
        x, t = new, ahead
        if watch.done(x, math.sqrt(change / size) if size else 0.0):
            return watch.solution(x)
