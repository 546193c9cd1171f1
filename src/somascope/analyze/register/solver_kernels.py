"""Kernels of the linear system of one Gauss-Newton step; every array is planes ``(3, z, y, x)``.

The 3x3 block of a node is kept as six planes zz yy xx zy zx yx.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array


@numba.njit(nogil=True, fastmath=True, cache=True)
def _laplacian(start: int, stop: int, v: Array, scale: Array, out: Array) -> None:
    _, lz, ly, lx = v.shape
    a, b, c = scale[0], scale[1], scale[2]
    both = np.float32(2) * (a + b + c)
    for j in range(start, stop):
        i = j // lz
        z = j - i * lz
        zl, zh = max(z - 1, 0), min(z + 1, lz - 1)
        for y in range(ly):
            here, to = v[i, z, y], out[i, z, y]
            p, q = v[i, zl, y], v[i, zh, y]
            r, s = v[i, z, max(y - 1, 0)], v[i, z, min(y + 1, ly - 1)]
            for x in range(1, lx - 1):
                to[x] = (
                    both * here[x] - a * (p[x] + q[x]) - b * (r[x] + s[x])
                    - c * (here[x - 1] + here[x + 1])
                )  # fmt: skip
            to[0] = (
                both * here[0] - a * (p[0] + q[0]) - b * (r[0] + s[0])
                - c * (here[0] + here[min(1, lx - 1)])
            )  # fmt: skip
            if lx > 1:
                e = lx - 1
                to[e] = (
                    both * here[e] - a * (p[e] + q[e]) - b * (r[e] + s[e])
                    - c * (here[e] + here[e - 1])
                )  # fmt: skip


@numba.njit(nogil=True, fastmath=True, cache=True)
def _product(start: int, stop: int,
    g: Array, p: Array, once: Array, twice: Array, membrane: Any, bending: Any, out: Array,
    dots: Array,
) -> None:  # fmt: skip
    _, _, ly, lx = p.shape
    for z in range(start, stop):
        total = 0.0
        for y in range(ly):
            part = np.float32(0)
            for x in range(lx):
                a, b, c = p[0, z, y, x], p[1, z, y, x], p[2, z, y, x]
                d, e, f = g[3, z, y, x], g[4, z, y, x], g[5, z, y, x]
                u = (g[0, z, y, x] * a + d * b + e * c
                     + membrane * once[0, z, y, x] + bending * twice[0, z, y, x])  # fmt: skip
                v = (d * a + g[1, z, y, x] * b + f * c
                     + membrane * once[1, z, y, x] + bending * twice[1, z, y, x])  # fmt: skip
                w = (e * a + f * b + g[2, z, y, x] * c
                     + membrane * once[2, z, y, x] + bending * twice[2, z, y, x])  # fmt: skip
                out[0, z, y, x], out[1, z, y, x], out[2, z, y, x] = u, v, w
                part += a * u + b * v + c * w
            total += part
        dots[z] = total


@numba.njit(nogil=True, fastmath=True, cache=True)
def _invert_blocks(start: int, stop: int, g: Array, extra: Any, out: Array) -> None:
    _, _, ly, lx = g.shape
    for z in range(start, stop):
        for y in range(ly):
            for x in range(lx):
                a, b, c = g[0, z, y, x] + extra, g[1, z, y, x] + extra, g[2, z, y, x] + extra
                d, e, f = g[3, z, y, x], g[4, z, y, x], g[5, z, y, x]
                p, q, r = b * c - f * f, e * f - d * c, d * f - b * e
                s = np.float32(1) / (a * p + d * q + e * r)
                out[0, z, y, x] = p * s
                out[1, z, y, x] = (a * c - e * e) * s
                out[2, z, y, x] = (a * b - d * d) * s
                out[3, z, y, x] = q * s
                out[4, z, y, x] = r * s
                out[5, z, y, x] = (d * e - a * f) * s


@numba.njit(nogil=True, fastmath=True, cache=True)
def _advance(
    start: int,
    stop: int,
    g: Array,
    r: Array,
    q: Array,
    p: Array,
    v: Array,
    step: Any,
    out: Array,
    dots: Array,
) -> None:
    _, _, ly, lx = r.shape
    for z in range(start, stop):
        total = 0.0
        for y in range(ly):
            for i in range(3):
                for x in range(lx):
                    v[i, z, y, x] += step * p[i, z, y, x]
                    r[i, z, y, x] -= step * q[i, z, y, x]
            part = np.float32(0)
            for x in range(lx):
                a, b, c = r[0, z, y, x], r[1, z, y, x], r[2, z, y, x]
                d, e, f = g[3, z, y, x], g[4, z, y, x], g[5, z, y, x]
                u = g[0, z, y, x] * a + d * b + e * c
                w = d * a + g[1, z, y, x] * b + f * c
                t = e * a + f * b + g[2, z, y, x] * c
                out[0, z, y, x], out[1, z, y, x], out[2, z, y, x] = u, w, t
                part += a * u + b * w + c * t
            total += part
        dots[z] = total


@numba.njit(nogil=True, fastmath=True, cache=True)
def _direction(start: int, stop: int, p: Array, z: Array, factor: Any) -> None:
    for i in range(start, stop):
        p[i] = z[i] + factor * p[i]


def laplacian(v: Array, scale: Array, out: Array) -> None:
    """Minus the Laplacian with free borders; ``scale`` ``(3,)`` is 1 / node distance squared."""
    shared(_laplacian, v.shape[0] * v.shape[1], v.size // 3, v, scale, out)


def product(
    g: Array,
    p: Array,
    once: Array,
    twice: Array,
    membrane: Any,
    bending: Any,
    out: Array,
    dots: Array,
) -> None:
    """``out = g p + membrane once + bending twice``; ``dots`` ``(lz,)`` of ``p . out``."""
    shared(_product, p.shape[1], p.size // 3, g, p, once, twice, membrane, bending, out, dots)


def invert_blocks(g: Array, extra: Any, out: Array) -> None:
    """Inverses of the 3x3 blocks with ``extra`` on their diagonals (same six planes)."""
    shared(_invert_blocks, g.shape[1], g.size // 6, g, extra, out)


def advance(
    g: Array, r: Array, q: Array, p: Array, v: Array, step: Any, out: Array, dots: Array
) -> None:
    """``v += step p``, ``r -= step q``, ``out = g r``; ``dots`` ``(lz,)`` of ``r . out``."""
    shared(_advance, r.shape[1], r.size // 3, g, r, q, p, v, step, out, dots)


def direction(p: Array, z: Array, factor: Any) -> None:
    """``p = z + factor p``, both flat."""
    shared(_direction, len(p), p.size // 3, p, z, factor)


@numba.njit(nogil=True, cache=True)
def conjugate(
    blocks: Array, right: Array, scale: Array, membrane: Any, bending: Any, extra: Any,
    iterations: int, least: float, x: Array,
) -> None:  # fmt: skip
    """`field.solve` on one processor, without a way back to Python between its kernels.

    ``extra``: on the diagonal of the preconditioner's blocks; ``least``: share of the first
    preconditioned residual's square at which it ends; the result is added to ``x`` (zeros).
    """
    lz, size = right.shape[1], right.size
    inverse = np.empty_like(blocks)
    _invert_blocks(0, lz, blocks, extra, inverse)
    r = right.copy()
    z, q, p = np.empty_like(r), np.zeros_like(r), np.zeros_like(r)
    once, twice = np.zeros_like(r), np.zeros_like(r)
    dots = np.empty(lz)
    _advance(0, lz, inverse, r, q, p, x, np.float32(0), z, dots)
    rz = first = dots.sum()
    p[:] = z
    for _ in range(iterations):
        if rz <= first * least or rz <= 0:
            break
        _laplacian(0, 3 * lz, p, scale, once)
        if bending != 0:
            _laplacian(0, 3 * lz, once, scale, twice)
        _product(0, lz, blocks, p, once, twice, membrane, bending, q, dots)
        curvature = dots.sum()
        if curvature <= 0:
            break
        _advance(0, lz, inverse, r, q, p, x, np.float32(rz / curvature), z, dots)
        new = dots.sum()
        _direction(0, size, p.reshape(-1), z.reshape(-1), np.float32(new / rz))
        rz = new
