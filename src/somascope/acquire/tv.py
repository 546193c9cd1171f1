"""Total variation of volumes and its proximal map, two fused passes per iteration.

Volumes are ``(nz, ny, nx, c)``: ``c`` is 1, or 2 for the real and imaginary part, which share one
norm. Forward differences with Neumann borders, isotropic:
``TV(x) = sum_voxels sqrt(sum_axes sum_c (wz dz x)^2 + (wy dy x)^2 + (wx dx x)^2)``.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _primal(b: Array, r: Array, w: Array, step: float, low: float, x: Array) -> None:
    """``x = max(b - step D^T r, low)``."""
    nz, ny, nx, nc = b.shape
    wz, wy, wx = w[0], w[1], w[2]
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        rz, ry, rx = r[0, z, y], r[1, z, y], r[2, z, y]
        up, above = r[1, z, max(y - 1, 0)], r[0, max(z - 1, 0), y]
        fy = wy if y > 0 else wy * 0
        fz = wz if z > 0 else wz * 0
        source, out = b[z, y], x[z, y]
        for c in range(nc):
            before = rx[0, c] * 0
            for i in range(nx):
                # D^T r: what leaves through the near face minus what enters (far face is zero).
                flow = wx * (before - rx[i, c])
                flow += fy * up[i, c] - wy * ry[i, c] + fz * above[i, c] - wz * rz[i, c]
                before = rx[i, c]
                value = source[i, c] - step * flow
                out[i, c] = max(low, value)


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _dual(x: Array, w: Array, step: float, momentum: float, p: Array, r: Array) -> None:
    """``p' = project(r + step D x)``, ``r = p' + momentum (p' - p)``, ``p = p'``."""
    nz, ny, nx, nc = x.shape
    wz, wy, wx = w[0], w[1], w[2]
    one = step * 0 + 1
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        here, below = x[z, y], x[z, min(y + 1, ny - 1)]
        behind = x[min(z + 1, nz - 1), y]
        for i in range(nx):
            k = i + 1 if i + 1 < nx else i
            size = one * 0
            for c in range(nc):
                a = r[0, z, y, i, c] + step * wz * (behind[i, c] - here[i, c])
                b = r[1, z, y, i, c] + step * wy * (below[i, c] - here[i, c])
                d = r[2, z, y, i, c] + step * wx * (here[k, c] - here[i, c])
                r[0, z, y, i, c] = a
                r[1, z, y, i, c] = b
                r[2, z, y, i, c] = d
                size += a * a + b * b + d * d
            scale = one / np.sqrt(size) if size > one else one
            for e in range(3):
                for c in range(nc):
                    new = r[e, z, y, i, c] * scale
                    r[e, z, y, i, c] = new + momentum * (new - p[e, z, y, i, c])
                    p[e, z, y, i, c] = new


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def variation(x: Array, w: Array) -> float:
    """``TV(x)``."""
    nz, ny, nx, nc = x.shape
    total = 0.0
    for z in range(nz):
        behind = min(z + 1, nz - 1)
        for y in range(ny):
            below = min(y + 1, ny - 1)
            for i in range(nx):
                k = min(i + 1, nx - 1)
                size = 0.0
                for c in range(nc):
                    v = x[z, y, i, c]
                    a = w[0] * (x[behind, y, i, c] - v)
                    b = w[1] * (x[z, below, i, c] - v)
                    d = w[2] * (x[z, y, k, c] - v)
                    size += a * a + b * b + d * d
                total += np.sqrt(size)
    return total


def denoise(
    b: Array,
    weight: float,
    *,
    scale: Array,
    iterations: int,
    tolerance: float,
    low: float,
    dual: Array | None = None,
) -> tuple[Array, Array]:
    """``argmin_x 1/2 |x - b|^2 + weight TV(x)``, ``x >= low``, and the dual that proves it.

    Fast gradient projection (Beck and Teboulle, IEEE TIP 18, 2009) of Chambolle's dual;
    ``dual`` ``(3, nz, ny, nx, c)`` starts it. Ends when ``x`` changes by less than ``tolerance``
    relative, looked at every eighth iteration.
    """
    kind = b.dtype.type
    p = np.zeros((3, *b.shape), b.dtype) if dual is None else dual.copy()
    if weight <= 0:
        return np.maximum(b, kind(low)), p
    r, x = p.copy(), np.empty_like(b)
    w = scale.astype(b.dtype)
    # |D|^2 <= 4 sum w^2, and the dual function has that times weight as its Lipschitz constant.
    active = sum(float(s) ** 2 for s, n in zip(scale, b.shape, strict=False) if n > 1)
    step = kind(1.0 / (4.0 * max(active, 1e-12) * weight))
    t, kept = 1.0, None
    for i in range(iterations):
        _primal(b, r, w, kind(weight), kind(low), x)
        if i % 8 == 7 and tolerance > 0:
            if kept is not None:
                gap = float(np.linalg.norm((x - kept).ravel()))
                if gap <= tolerance * float(np.linalg.norm(x.ravel())):
                    break
            kept = x.copy()
        ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
        _dual(x, w, step, kind((t - 1) / ahead), p, r)
        t = ahead
    _primal(b, p, w, kind(weight), kind(low), x)
    return x, p
