"""The vector work of CG and FISTA on complex images in few sweeps, and an L1 shrinkage in place.

`somascope.acquire.solvers` has the general ones, `cg` and `fista`; with a normal operator of a
millisecond their dozen passes over the image would take longer than the physics. The steps are the
same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from somascope.acquire.iteration import Solution, Watch
from somascope.acquire.mri.sparse_kernels import shrink_plane
from somascope.acquire.mri.variation_kernels import denoise_plane
from somascope.acquire.priors import TV, Prior, WaveletL1
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import ParameterError
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


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _curvature(p: Array, q: Array, damping: float) -> float:
    """``q += damping p``, then ``<p, q>`` on real views."""
    extra, total = np.float32(damping), 0.0
    for i in range(p.size):
        q[i] += extra * p[i]
        total += float(p[i]) * float(q[i])
    return total


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _along(x: Array, p: Array, r: Array, q: Array, alpha: float) -> float:
    """``x += alpha p``, ``r -= alpha q``, then ``|r|^2`` on real views."""
    a, total = np.float32(alpha), 0.0
    for i in range(x.size):
        x[i] += a * p[i]
        r[i] -= a * q[i]
        total += float(r[i]) * float(r[i])
    return total


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _turn(p: Array, r: Array, beta: float) -> None:
    """``p = r + beta p`` on real views."""
    b = np.float32(beta)
    for i in range(p.size):
        p[i] = r[i] + b * p[i]


def conjugate(
    gram: Operator,
    back: Array,
    *,
    iterations: int,
    damping: float = 0.0,
    tolerance: float = 0.0,
    progress: Progress = QUIET,
) -> Solution:
    """Conjugate gradients for ``(N + damping) x = b`` from zero; complex64.

    The steps of `somascope.acquire.solvers.cg`. Residuals and tolerance: ``|b - N x| / |b|``.

    Raises
    ------
    ParameterError
        ``b`` is not finite, or ``N`` is not positive.
    """
    watch = Watch(iterations, tolerance, None, progress, "cg")
    r = np.array(back, np.complex64, order="C")
    x, p = np.zeros_like(r), r.copy()
    # Real views of the three vectors, for the sweeps.
    fx, fp, fr = (a.reshape(-1).view(np.float32) for a in (x, p, r))
    rho = float(np.vdot(fr, fr))
    if not math.isfinite(rho):
        raise ParameterError("cg: the samples hold values that are not finite; mask them first")
    size = math.sqrt(rho) or 1.0
    while rho > 0:
        q = np.ascontiguousarray(gram.forward(p), np.complex64).reshape(-1).view(np.float32)
        bent = _curvature(fp, q, damping)
        if bent <= 0:
            if bent < -1e-6 * float(np.linalg.norm(fp)) * float(np.linalg.norm(q)):
                raise ParameterError(
                    f"cg: <p, A p> = {bent:.3g} is negative; the operator is not positive"
                )
            break
        rho, before = _along(fx, fp, fr, q, rho / bent), rho
        if watch.done(x, math.sqrt(rho) / size):
            break
        _turn(fp, fr, rho / before)
    return watch.solution(x)


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


@dataclass(frozen=True)
class PlaneTV(TV):
    """`TV` whose proximal map of complex64 planes goes through memory once per inner step."""

    def prox(self, x: Array, step: float) -> Array:
        """The image of Rudin, Osher and Fatemi (1992) for each plane of ``x``."""
        if x.dtype != np.complex64 or self.ndim != 2 or self.iterations > 8:
            return super().prox(x, step)
        planes = x.reshape(-1, *x.shape[-2:])
        held = self._duals.get(planes.shape) if self.warm else None
        out, kept = np.empty_like(planes), np.empty((len(planes), 2, 2, *x.shape[-2:]), np.float32)
        for i, plane in enumerate(planes):
            out[i], kept[i] = denoise_plane(
                plane, step * self.weight, scale=self._scale[1:], iterations=self.iterations,
                held=None if held is None else held[i],
            )  # fmt: skip
        if self.warm:
            self._duals.clear()
            self._duals[planes.shape] = kept
        return out.reshape(x.shape)


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
