"""The non-uniform Fourier transform of all coils at once, eight coils in vector lanes.

A gridding transform (Jackson et al. 1991; Beatty et al. 2005): the coil images go to a lattice of
twice the size, and each sample is a weighted sum of ``w x w`` lattice points. The weights are the
same for all coils, so with the coils in vector lanes they are applied to all at once, and every
lattice point is one cache line. Two dimensions, single precision.
"""

from __future__ import annotations

import threading

import numpy as np

from somascope.acquire.mri import lanes
from somascope.acquire.mri.lane_kernels import (
    columns_in,
    columns_out,
    fill,
    interpolate,
    rows_in,
    rows_out,
    scatter,
)
from somascope.acquire.mri.lanes import LANES
from somascope.acquire.mri.normal_kernels import in_lanes
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks


def width_for(tolerance: float) -> int:
    """Kernel width for a relative accuracy, on the doubled lattice."""
    return int(np.clip(np.ceil(-np.log10(tolerance)) + 1, 4, 8))


class LaneNUFFT:
    """``y = F S x`` and its adjoint for one plane.

    Parameters
    ----------
    points
        ``(..., 2)``, cycles per field of view, inside the band.
    maps
        Sensitivities ``(coils, ny, nx)``.
    tolerance
        Relative accuracy, 1e-3 to 1e-6.
    scale
        Factor of the transform.
    """

    def __init__(self, points: Array, maps: Array, *, tolerance: float, scale: float) -> None:
        self.coils, ny, nx = maps.shape
        self.size = (2 * ny, 2 * nx)
        self.samples = points.shape[:-1]
        w = self.width = width_for(tolerance)
        self.taps = tuple(range(w))  # its length is what the kernels are compiled for
        beta = np.pi * np.sqrt((w / 2) ** 2 * 1.5**2 - 0.8)
        flat = points.reshape(-1, 2)
        corners: list[Array] = []
        weights: list[Array] = []
        for axis, m in enumerate(self.size):
            at = np.mod(2 * flat[:, axis], m)
            first = np.ceil(at - w / 2)
            weights.append(_kaiser(at[:, None] - first[:, None] - np.arange(w), w, beta))
            corners.append(np.mod(first, m).astype(np.int64))
        self.rows, self.columns = (np.ascontiguousarray(x, np.float32) for x in weights)
        self.stride = self.size[1] + w
        self.corners = corners[0] * self.stride + corners[1]
        lift = [_lift(n, m, w, beta) for n, m in zip((ny, nx), self.size, strict=True)]
        self.maps = in_lanes(maps * (scale * np.outer(*lift)).astype(np.float32))
        self.order, self.bounds = _bands(corners[0], self.size[0] + w, w)
        self.axes = tuple((*lanes.plan(m), lanes.order(m)) for m in self.size)
        self._scratch = threading.local()

    @staticmethod
    def fits(shape: tuple[int, ...], coils: int, tolerance: float) -> bool:
        """Whether a plane of ``shape`` with so many coils is better done here."""
        return (
            len(shape) == 2 and coils >= 4 and tolerance >= 1e-6
            and all(n % 2 == 0 and lanes.factors(n) is not None for n in shape)
        )  # fmt: skip

    def _work(self) -> Array:
        if not hasattr(self._scratch, "array"):
            rows = self.size[0] + self.width
            self._scratch.array = np.empty((rows, self.stride, 2, LANES), np.float32)
        return self._scratch.array

    def forward(self, x: Array) -> Array:
        """Samples ``(coils, *samples)`` of the image ``(ny, nx)``, complex64."""
        work, w = self._work(), self.width
        along_y, along_x = self.axes
        flat = work.reshape(-1, 2, LANES)
        my, mx = self.size
        ny = x.shape[0]
        y = np.empty((self.coils, self.corners.size), np.complex64)
        for g, maps in enumerate(self.maps):
            in_chunks(rows_in, ny, x, maps, mx, *along_x, self.stride, flat)
            in_chunks(columns_in, mx, ny, my, *along_y, self.stride, flat)
            work[my:] = work[:w]
            work[:, mx:] = work[:, :w]
            part = y[g * LANES : (g + 1) * LANES]
            in_chunks(
                interpolate, self.corners.size, self.taps, flat, self.corners, self.stride,
                self.rows, self.columns, part,
            )  # fmt: skip
        return y.reshape(self.coils, *self.samples)

    def adjoint(self, y: Array) -> Array:
        """Image ``(ny, nx)`` of samples ``(coils, *samples)``, complex64."""
        work, w = self._work(), self.width
        along_y, along_x = self.axes
        flat = work.reshape(-1, 2, LANES)
        my, mx = self.size
        ny, nx = my // 2, mx // 2
        y = np.ascontiguousarray(y, np.complex64).reshape(self.coils, -1)
        out = np.zeros((ny, nx), np.complex64)
        bands = self.bounds.size - 1
        for g, maps in enumerate(self.maps):
            part = y[g * LANES : (g + 1) * LANES]
            in_chunks(fill, my + w, work)
            for first in range(2):  # bands of one parity share no row
                in_chunks(
                    scatter, (bands + 1 - first) // 2, self.taps, first, self.bounds, self.order,
                    part, self.corners, self.stride, self.rows, self.columns, flat,
                )  # fmt: skip
            work[:w] += work[my:]
            work[:, :w] += work[:, mx:]
            in_chunks(columns_out, mx, ny, my, *along_y, self.stride, flat)
            in_chunks(rows_out, ny, maps, mx, *along_x, self.stride, flat, out)
        return out


def _kaiser(t: Array, width: int, beta: float) -> Array:
    """Kaiser-Bessel kernel, zero beyond half its width."""
    from scipy.special import i0e

    inside = np.sqrt(np.maximum(1 - (2 * t / width) ** 2, 0))
    return np.where(np.abs(t) <= width / 2, i0e(beta * inside) * np.exp(beta * (inside - 1)), 0)


def _lift(n: int, m: int, width: int, beta: float) -> Array:
    """One over the kernel's transform at the ``n`` image positions: undoes its shading."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    t, dt = nodes * width / 2, weights * width / 2
    position = (np.arange(n) - n // 2) / m
    return 1 / (np.cos(2 * np.pi * np.outer(position, t)) @ (dt * _kaiser(t, width, beta)))


def _bands(rows: Array, height: int, width: int) -> tuple[Array, Array]:
    """Samples in order of row bands, each at least a kernel high, and where each band begins."""
    counts = np.bincount(rows, minlength=height)
    wanted = max(rows.size / 48, 1)
    edges, begun, held = [0], 0, 0.0
    for row in range(height):
        held += counts[row]
        if held >= wanted and row + 1 - begun >= width and height - row - 1 >= width:
            edges.append(row + 1)
            begun, held = row + 1, 0.0
    edges.append(height)
    band = np.searchsorted(np.array(edges), rows, side="right") - 1
    order = np.argsort(band, kind="stable")
    bounds = np.searchsorted(band[order], np.arange(len(edges)))
    return order, bounds
