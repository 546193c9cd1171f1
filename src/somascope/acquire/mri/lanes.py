"""Eight Fourier transforms at a time, one per vector lane, inside compiled kernels.

With as many coils as a vector has lanes, every butterfly of an FFT is plain vector arithmetic: no
shuffles, no transposes, and the twiddle factors are loaded once for all coils. Lines are those of
`somascope.acquire.mri.vectors`, ``(n, 2, 8)``.

The forward transform decimates in frequency and leaves its result in digit-reversed order; the
inverse decimates in time and takes that order. In between there is only a multiplication, whose
factors are put into that order once (`order`), so nothing is ever reordered. Neither is normalised.
Gentleman and Sande 1966; mixed radix 2, 3, 4, 5.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from somascope.acquire.mri import vectors as v
from somascope.acquire.mri.vectors import LANES
from somascope.core.grid import Array

RADICES = (4, 2, 3, 5)
__all__ = ["LANES", "RADICES", "factors", "filtered", "forward", "inverse", "order", "plan"]


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def forward(line: Array, n: int, radices: Array, twiddles: Array) -> None:
    """Transform ``line[:n]`` in place into digit-reversed order."""
    length, blocks, t = n, 1, 0
    for s in range(radices.size):
        r = radices[s]
        m = length // r
        for j in range(m):
            for b in range(blocks):
                i = b * length + j
                if r == 4:
                    v.forward_4(line, i, m, twiddles, t)
                elif r == 2:
                    v.forward_2(line, i, m, twiddles, t)
                elif r == 3:
                    v.forward_3(line, i, m, twiddles, t)
                else:
                    v.forward_5(line, i, m, twiddles, t)
            t += 2 * (r - 1)
        blocks *= r
        length = m


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def _finish(line: Array, n: int, radices: Array, twiddles: Array, first: int) -> None:
    """The stages of the inverse from ``first`` down to 0; those above are done."""
    length, blocks, t = 1, n, twiddles.size
    for s in range(radices.size - 1, first, -1):
        t -= 2 * (radices[s] - 1) * length
        length *= radices[s]
        blocks //= radices[s]
    for s in range(first, -1, -1):
        r = radices[s]
        m = length
        length *= r
        blocks //= r
        t -= 2 * (r - 1) * m
        at = t
        for j in range(m):
            for b in range(blocks):
                i = b * length + j
                if r == 4:
                    v.inverse_4(line, i, m, twiddles, at)
                elif r == 2:
                    v.inverse_2(line, i, m, twiddles, at)
                elif r == 3:
                    v.inverse_3(line, i, m, twiddles, at)
                else:
                    v.inverse_5(line, i, m, twiddles, at)
            at += 2 * (r - 1)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def filtered(line: Array, n: int, factor: Array, radices: Array, twiddles: Array) -> None:
    """`forward`, the product with ``factor`` (in that order), `inverse`; their middle at once."""
    last = radices.size - 1
    if last < 0:
        v.scale(line, 0, factor[0])
        return
    forward(line, n, radices[:last], twiddles)
    r = radices[last]
    for i in range(0, n, r):
        if r == 4:
            v.middle_4(line, i, factor, i)
        elif r == 2:
            v.middle_2(line, i, factor, i)
        elif r == 3:
            v.middle_3(line, i, factor, i)
        else:
            v.middle_5(line, i, factor, i)
    _finish(line, n, radices, twiddles, last - 1)


@njit(fastmath=True, error_model="numpy", cache=True, nogil=True)
def inverse(line: Array, n: int, radices: Array, twiddles: Array) -> None:
    """Transform ``line[:n]`` back, from digit-reversed order; ``n`` times the values."""
    _finish(line, n, radices, twiddles, radices.size - 1)


def factors(n: int) -> tuple[int, ...] | None:
    """Radices of ``n``, or None where it has another prime factor than 2, 3 and 5."""
    found: list[int] = []
    for r in RADICES:
        while n % r == 0:
            found.append(r)
            n //= r
    return tuple(found) if n == 1 else None


def order(n: int) -> Array:
    """Frequency (``0 .. n - 1``) that stands at each place after `forward`."""
    index = np.zeros(1, np.int64)
    length = 1
    # Splitting n = r m puts the frequencies p + r q into block p, at the place of q below.
    for r in reversed(factors(n) or ()):
        index = np.concatenate([p + r * index for p in range(r)])
        length *= r
    return index


def plan(n: int) -> tuple[Array, Array]:
    """Radices (int64) and twiddle factors (float32 pairs) of a transform of ``n``."""
    radices = factors(n)
    if radices is None:
        raise ValueError(f"{n} has other prime factors than 2, 3 and 5")
    parts: list[Array] = [np.empty(0)]
    length = n
    for r in radices:
        m = length // r
        angle = -2 * np.pi * np.outer(np.arange(m), np.arange(1, r)) / length
        parts.append(np.stack([np.cos(angle), np.sin(angle)], -1).ravel())
        length = m
    return np.array(radices, np.int64), np.concatenate(parts).astype(np.float32)
