"""The proximal map of total variation on complex planes, one sweep per iteration.

The steps are those of `somascope.process.variation.denoise`. Here the real and the imaginary part
lie in planes of their own and every inner loop runs along a row with few operands, so that a
compiler makes vectors of it; and the dual of a row follows the image of the next one, so that an
iteration goes through memory once.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from somascope.core.grid import Array


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _image(out: Array, b: Array, ry: Array, up: Array, rx: Array, w: Array, step: float) -> None:
    """A row of ``b - step D^T r``; ``up`` is ``ry`` of the row above."""
    n, t = b.size, np.float32(step)
    wy, wx = t * w[0], t * w[1]
    for i in range(n):
        out[i] = b[i] + wy * (ry[i] - up[i])
    for i in range(n):
        out[i] += wx * rx[i]
    for i in range(1, n):
        out[i] -= wx * rx[i - 1]


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _climb(r: Array, near: Array, far: Array, w: float) -> None:
    """``r += w (far - near)``, as far as ``far`` goes."""
    f = np.float32(w)
    for i in range(far.size):
        r[i] += f * (far[i] - near[i])


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _shrink(scale: Array, a: Array, b: Array, c: Array, d: Array) -> None:
    """One over the norm of four components, at most one."""
    one = np.float32(1)
    for i in range(scale.size):
        size = a[i] * a[i] + b[i] * b[i] + c[i] * c[i] + d[i] * d[i]
        scale[i] = one / np.sqrt(max(size, one))


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _push(r: Array, p: Array, scale: Array, momentum: float) -> None:
    """``p' = scale r``, ``r = p' + momentum (p' - p)``, ``p = p'``."""
    m = np.float32(momentum)
    for i in range(r.size):
        a = scale[i] * r[i]
        r[i] = a + m * (a - p[i])
        p[i] = a


@njit(error_model="numpy", cache=True, nogil=True)
def _sweep(
    b: Array, p: Array, r: Array, w: Array, weight: float, step: float, momentum: float
) -> None:
    """One iteration on ``b (2, ny, nx)`` and the duals ``(2, 2, ny, nx)`` (part, axis)."""
    _, ny, nx = b.shape
    here, below = np.empty((2, nx), np.float32), np.empty((2, nx), np.float32)
    nothing, scale = np.zeros(nx, np.float32), np.empty(nx, np.float32)
    for c in range(2):
        _image(here[c], b[c, 0], r[c, 0, 0], nothing, r[c, 1, 0], w, weight)
    for y in range(ny):
        for c in range(2):
            if y + 1 < ny:
                _image(below[c], b[c, y + 1], r[c, 0, y + 1], r[c, 0, y], r[c, 1, y + 1], w, weight)
        for c in range(2):
            if y + 1 < ny:
                _climb(r[c, 0, y], here[c], below[c], step * w[0])
            _climb(r[c, 1, y], here[c], here[c, 1:], step * w[1])
        _shrink(scale, r[0, 0, y], r[0, 1, y], r[1, 0, y], r[1, 1, y])
        for c in range(2):
            for a in range(2):
                _push(r[c, a, y], p[c, a, y], scale, momentum)
        here, below = below, here


@njit(error_model="numpy", cache=True, nogil=True)
def _result(b: Array, p: Array, w: Array, weight: float, out: Array) -> None:
    nothing = np.zeros(b.shape[2], np.float32)
    for c in range(2):
        for y in range(b.shape[1]):
            up = p[c, 0, y - 1] if y else nothing
            _image(out[c, y], b[c, y], p[c, 0, y], up, p[c, 1, y], w, weight)


def denoise_plane(
    plane: Array, weight: float, *, scale: Array, iterations: int, held: Array | None = None
) -> tuple[Array, Array]:
    """``argmin_x 1/2 |x - plane|^2 + weight TV(x)`` of complex64 ``(ny, nx)``, and its dual.

    ``scale`` are the weights of the differences along y and x; ``held`` ``(2, 2, ny, nx)`` a dual
    to start from. Beck and Teboulle, IEEE TIP 18, 2009.
    """
    b = np.stack([np.real(plane), np.imag(plane)]).astype(np.float32, copy=False)
    p = np.zeros((2, 2, *plane.shape), np.float32) if held is None else held.copy()
    if weight <= 0:
        return plane.copy(), p
    r, w = p.copy(), np.asarray(scale, np.float32)
    active = sum(float(s) ** 2 for s, n in zip(scale, plane.shape, strict=True) if n > 1)
    step, t = 1.0 / (4.0 * max(active, 1e-12) * weight), 1.0
    for _ in range(iterations):
        ahead = (1 + math.sqrt(1 + 4 * t * t)) / 2
        _sweep(b, p, r, w, weight, step, (t - 1) / ahead)
        t = ahead
    x = np.empty_like(b)
    _result(b, p, w, weight, x)
    return x[0] + np.complex64(1j) * x[1], p
