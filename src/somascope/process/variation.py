"""Total variation of volumes and its proximal map, two fused passes per iteration.

Volumes are ``(nz, ny, nx, c)``: ``c`` is 1, or 2 for the real and imaginary part, which share one
norm. Forward differences with Neumann borders, isotropic:
``TV(x) = sum_voxels sqrt(sum_axes sum_c (wz dz x)^2 + (wy dy x)^2 + (wx dx x)^2)``.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array

PARALLEL_FROM = 1 << 17
"""Number of values from which the work is worth more than one core."""


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _primal_row(j: int, b: Array, r: Array, w: Array, step: float, low: float, x: Array) -> None:
    ny, nx, nc = b.shape[1:]
    z = j // ny
    y = j - z * ny
    wz, wy, wx = w[0], w[1], w[2]
    rz, ry, rx = r[0, z, y], r[1, z, y], r[2, z, y]
    up, above = r[1, z, max(y - 1, 0)], r[0, max(z - 1, 0), y]
    fy = wy if y > 0 else wy * 0
    fz = wz if z > 0 else wz * 0
    source, out = b[z, y], x[z, y]
    for i in range(nx):
        k = max(i - 1, 0)
        fx = wx if i > 0 else wx * 0
        for c in range(nc):
            # D^T r: what enters through the near faces minus what leaves (far faces are zero).
            flow = fx * rx[k, c] - wx * rx[i, c]
            flow += fy * up[i, c] - wy * ry[i, c] + fz * above[i, c] - wz * rz[i, c]
            out[i, c] = max(low, source[i, c] - step * flow)


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _dual_row(j: int, x: Array, w: Array, step: float, momentum: float, p: Array, r: Array) -> None:
    nz, ny, nx, nc = x.shape
    z = j // ny
    y = j - z * ny
    one = step * 0 + 1
    wz, wy, wx = step * w[0], step * w[1], step * w[2]
    here, below, behind = x[z, y], x[z, min(y + 1, ny - 1)], x[min(z + 1, nz - 1), y]
    pz, py, px = p[0, z, y], p[1, z, y], p[2, z, y]
    rz, ry, rx = r[0, z, y], r[1, z, y], r[2, z, y]
    for i in range(nx):
        k = min(i + 1, nx - 1)
        size = one * 0
        for c in range(nc):
            rz[i, c] += wz * (behind[i, c] - here[i, c])
            ry[i, c] += wy * (below[i, c] - here[i, c])
            rx[i, c] += wx * (here[k, c] - here[i, c])
            size += rz[i, c] * rz[i, c] + ry[i, c] * ry[i, c] + rx[i, c] * rx[i, c]
        scale = one / np.sqrt(max(size, one))
        for c in range(nc):
            a, b, d = rz[i, c] * scale, ry[i, c] * scale, rx[i, c] * scale
            rz[i, c] = a + momentum * (a - pz[i, c])
            ry[i, c] = b + momentum * (b - py[i, c])
            rx[i, c] = d + momentum * (d - px[i, c])
            pz[i, c] = a
            py[i, c] = b
            px[i, c] = d


@numba.njit(cache=True)
def _primal_one(b: Array, r: Array, w: Array, step: float, low: float, x: Array) -> None:
    for j in range(b.shape[0] * b.shape[1]):
        _primal_row(j, b, r, w, step, low, x)


@numba.njit(parallel=True, cache=True)
def _primal_all(b: Array, r: Array, w: Array, step: float, low: float, x: Array) -> None:
    for j in numba.prange(b.shape[0] * b.shape[1]):
        _primal_row(j, b, r, w, step, low, x)


@numba.njit(cache=True)
def _dual_one(x: Array, w: Array, step: float, momentum: float, p: Array, r: Array) -> None:
    for j in range(x.shape[0] * x.shape[1]):
        _dual_row(j, x, w, step, momentum, p, r)


@numba.njit(parallel=True, cache=True)
def _dual_all(x: Array, w: Array, step: float, momentum: float, p: Array, r: Array) -> None:
    for j in numba.prange(x.shape[0] * x.shape[1]):
        _dual_row(j, x, w, step, momentum, p, r)


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _primal_line(
    source: Array, rx: Array, ry: Array, up: Array, rz: Array, above: Array, w: Array, fy: float,
    fz: float, step: float, low: float, out: Array,
) -> None:  # fmt: skip
    """A row of one value per voxel: no inner loop, so that it becomes vector instructions."""
    wz, wy, wx = w[0], w[1], w[2]
    for i in range(1, out.size):
        flow = wx * (rx[i - 1] - rx[i]) + fy * up[i] - wy * ry[i] + fz * above[i] - wz * rz[i]
        out[i] = max(low, source[i] - step * flow)
    flow = fy * up[0] - wx * rx[0] - wy * ry[0] + fz * above[0] - wz * rz[0]
    out[0] = max(low, source[0] - step * flow)


@numba.njit(fastmath=True, cache=True, error_model="numpy")
def _dual_line(
    here: Array, right: Array, below: Array, behind: Array, w: Array, step: float, momentum: float,
    pz: Array, py: Array, px: Array, rz: Array, ry: Array, rx: Array,
) -> None:  # fmt: skip
    """As `_dual_row`; ``right`` may be shorter by one, where nothing lies beyond."""
    one = step * 0 + 1
    wz, wy, wx = step * w[0], step * w[1], step * w[2]
    for i in range(right.size):
        a = rz[i] + wz * (behind[i] - here[i])
        b = ry[i] + wy * (below[i] - here[i])
        d = rx[i] + wx * (right[i] - here[i])
        scale = one / np.sqrt(max(a * a + b * b + d * d, one))
        a, b, d = a * scale, b * scale, d * scale
        rz[i] = a + momentum * (a - pz[i])
        ry[i] = b + momentum * (b - py[i])
        rx[i] = d + momentum * (d - px[i])
        pz[i], py[i], px[i] = a, b, d


@numba.njit(parallel=True, cache=True)
def _primal_real(b: Array, r: Array, w: Array, step: float, low: float, x: Array) -> None:
    nz, ny, _ = b.shape
    for j in numba.prange(nz * ny):
        z, y = j // ny, j % ny
        fy = w[1] if y > 0 else w[1] * 0
        fz = w[0] if z > 0 else w[0] * 0
        _primal_line(
            b[z, y], r[2, z, y], r[1, z, y], r[1, z, max(y - 1, 0)], r[0, z, y],
            r[0, max(z - 1, 0), y], w, fy, fz, step, low, x[z, y],
        )  # fmt: skip


@numba.njit(parallel=True, cache=True)
def _dual_real(x: Array, w: Array, step: float, momentum: float, p: Array, r: Array) -> None:
    nz, ny, nx = x.shape
    for j in numba.prange(nz * ny):
        z, y = j // ny, j % ny
        here = x[z, y]
        below, behind = x[z, min(y + 1, ny - 1)], x[min(z + 1, nz - 1), y]
        pz, py, px = p[0, z, y], p[1, z, y], p[2, z, y]
        rz, ry, rx = r[0, z, y], r[1, z, y], r[2, z, y]
        _dual_line(here, here[1:], below, behind, w, step, momentum, pz, py, px, rz, ry, rx)
        k = nx - 1  # nothing lies to the right of the last: its own value stands for it
        _dual_line(
            here[k:], here[k:], below[k:], behind[k:], w, step, momentum, pz[k:], py[k:], px[k:],
            rz[k:], ry[k:], rx[k:],
        )  # fmt: skip


def _single(*arrays: Array) -> bool:
    """Whether there is one value per voxel, in arrays that can be seen without that axis."""
    return all(a.shape[-1] == 1 and a.flags.c_contiguous for a in arrays)


def _real(a: Array) -> Array:
    return a.reshape(a.shape[:-1])


def primal(b: Array, r: Array, w: Array, *, step: float, low: float, x: Array) -> None:
    """``x = max(b - step D^T r, low)``."""
    if b.size >= PARALLEL_FROM and _single(b, r, x):
        _primal_real(_real(b), _real(r), w, step, low, _real(x))
        return
    (_primal_all if b.size >= PARALLEL_FROM else _primal_one)(b, r, w, step, low, x)


def dual(x: Array, w: Array, *, step: float, momentum: float, p: Array, r: Array) -> None:
    """``p' = project(r + step D x)``, ``r = p' + momentum (p' - p)``, ``p = p'``."""
    if x.size >= PARALLEL_FROM and _single(x, p, r):
        _dual_real(_real(x), w, step, momentum, _real(p), _real(r))
        return
    (_dual_all if x.size >= PARALLEL_FROM else _dual_one)(x, w, step, momentum, p, r)


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
    held: Array | None = None,
) -> tuple[Array, Array]:
    """``argmin_x 1/2 |x - b|^2 + weight TV(x)``, ``x >= low``, and the dual that proves it.

    Fast gradient projection (Beck and Teboulle, IEEE TIP 18, 2009) of Chambolle's dual;
    ``held`` ``(3, nz, ny, nx, c)`` is a dual to start from. Ends when ``x`` changes by less than
    ``tolerance``
    relative, looked at every eighth iteration.
    """
    kind = b.dtype.type
    p = np.zeros((3, *b.shape), b.dtype) if held is None else held.copy()
    if weight <= 0:
        return np.maximum(b, kind(low)), p
    r, x = p.copy(), np.empty_like(b)
    w = scale.astype(b.dtype)
    # |D|^2 <= 4 sum w^2, and the dual function has that times weight as its Lipschitz constant.
    active = sum(float(s) ** 2 for s, n in zip(scale, b.shape, strict=False) if n > 1)
    step = kind(1.0 / (4.0 * max(active, 1e-12) * weight))
    t, kept = 1.0, None
    for i in range(iterations):
        primal(b, r, w, step=kind(weight), low=kind(low), x=x)
        if i % 8 == 7 and tolerance > 0:
            if kept is None:
                kept = np.empty_like(x)
            else:
                # Plane by plane, without a volume of differences.
                gap = sum(float(np.sum(np.square(a - b))) for a, b in zip(x, kept, strict=True))
                if gap <= tolerance**2 * sum(float(np.sum(np.square(a))) for a in x):
                    break
            kept[:] = x
        ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
        dual(x, w, step=step, momentum=kind((t - 1) / ahead), p=p, r=r)
        t = ahead
    primal(b, p, w, step=kind(weight), low=kind(low), x=x)
    return x, p
