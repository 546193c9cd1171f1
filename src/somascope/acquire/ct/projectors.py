"""Joseph's projector in a plane: sums along rays, and their exact transpose.

A ray ``x(y) = start + slope y`` in index coordinates crosses each row once; there the image is
interpolated between two pixels, and the sum is weighted with the ray's length per row (Joseph
1982). Rays nearer to the rows' direction are handled the same way in the transposed image. The
transpose runs over rows in blocks that no other thread touches, so it needs no atomic sums.

Speed: unsigned 32-bit flat indices into a padded image; the compiler then gathers in vectors.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float

_PAD = 2
_BLOCK = 8


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _gather(padded: Array, start: Array, slope: Array, weight: Array, out: Array) -> None:
    ny, width = padded.shape
    flat = padded.reshape(-1)
    views, bins = start.shape
    one = weight.dtype.type(1)
    low, high = -one, one * (width - 2 * _PAD)
    shift = one * _PAD
    for v in numba.prange(views):
        total = np.zeros(bins, start.dtype)
        for y in range(ny):
            base = np.uint32(y * width)
            for b in range(bins):
                x = min(max(start[v, b] + slope[v, b] * y, low), high) + shift
                i = np.uint32(x)
                f = x - i
                a = flat[base + i]
                total[b] += a + f * (flat[base + i + np.uint32(1)] - a)
        for b in range(bins):
            out[v, b] += total[b] * weight[v, b]


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _scatter(rows: Array, start: Array, slope: Array, weight: Array, padded: Array) -> None:
    ny, width = padded.shape
    flat = padded.reshape(-1)
    views, bins = start.shape
    one = weight.dtype.type(1)
    low, high = -one, one * (width - 2 * _PAD)
    shift = one * _PAD
    for block in numba.prange((ny + _BLOCK - 1) // _BLOCK):
        for v in range(views):
            for y in range(block * _BLOCK, min(ny, block * _BLOCK + _BLOCK)):
                base = np.uint32(y * width)
                for b in range(bins):
                    value = rows[v, b] * weight[v, b]
                    x = min(max(start[v, b] + slope[v, b] * y, low), high) + shift
                    i = np.uint32(x)
                    f = x - i
                    flat[base + i] += value - f * value
                    flat[base + i + np.uint32(1)] += f * value


class PlaneRays:
    """Rays of a plane in the index coordinates of a grid, ready for the kernels.

    Parameters
    ----------
    starts, ends
        Two points of each ray as indices ``(y, x)``, shape ``(views, bins, 2)``.
    down, across
        Steps along y and x in mm, ``(L, P)``.
    """

    def __init__(self, starts: Float, ends: Float, down: Float, across: Float) -> None:
        step = ends - starts
        steep = np.abs(step[..., 0]) >= np.abs(step[..., 1])
        length = np.linalg.norm(step[..., :1] * down + step[..., 1:] * across, axis=-1)
        self._parts: list[tuple[bool, Array, Float, Float, Float]] = []
        for turned in (False, True):
            along, beside = (1, 0) if turned else (0, 1)
            chosen = steep != turned
            views = np.flatnonzero(chosen.any(axis=1))
            if views.size == 0:
                continue
            run = np.where(chosen, step[..., along], 1.0)[views]
            slope = np.where(chosen[views], step[views][..., beside] / run, 0.0)
            start = starts[views][..., beside] - slope * starts[views][..., along]
            weight = np.where(chosen[views], length[views] / np.abs(run), 0.0)
            self._parts.append((turned, views, start, slope, weight))
        self.shape = starts.shape[:2]
        self._cast: dict[object, list[tuple[bool, Array, Array, Array, Array]]] = {}

    def _in(self, dtype: object) -> list[tuple[bool, Array, Array, Array, Array]]:
        if dtype not in self._cast:
            self._cast[dtype] = [
                (t, v, *(np.ascontiguousarray(a, dtype) for a in (s, m, w)))  # pyright: ignore
                for t, v, s, m, w in self._parts
            ]
        return self._cast[dtype]

    def forward(self, image: Array) -> Array:
        """Line integrals ``(views, bins)`` of ``(ny, nx)`` in value times mm."""
        out = np.zeros(self.shape, image.dtype)
        for turned, views, start, slope, weight in self._in(image.dtype):
            padded = np.pad(image.T if turned else image, ((0, 0), (_PAD, _PAD)))
            part = np.zeros((len(views), self.shape[1]), image.dtype)
            _gather(np.ascontiguousarray(padded), start, slope, weight, part)
            out[views] += part
        return out

    def adjoint(self, sinogram: Array, shape: tuple[int, int]) -> Array:
        """The transpose: ``(ny, nx)`` of ``(views, bins)``."""
        out = np.zeros(shape, sinogram.dtype)
        for turned, views, start, slope, weight in self._in(sinogram.dtype):
            ny, nx = shape[::-1] if turned else shape
            padded = np.zeros((ny, nx + 2 * _PAD), sinogram.dtype)
            _scatter(np.ascontiguousarray(sinogram[views]), start, slope, weight, padded)
            part = padded[:, _PAD:-_PAD]
            out += part.T if turned else part
        return out
