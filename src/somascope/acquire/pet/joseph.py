"""Joseph's projector for any lines: sums along them, and their exact transpose.

A line is followed along the axis in which it advances most (in mm); in each plane it crosses, the
volume is interpolated between four voxels, zero outside the grid (Joseph 1982). A time-of-flight
kernel weighs the planes by their distance from the bin's centre. The transpose runs over planes in
blocks that only one thread touches, line after line, so that its sums are the same to the bit
however many threads there are. `lanes` does the same for whole sinograms, faster.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numba
import numpy as np

from somascope.acquire.pet import tof
from somascope.acquire.pet.scanner import Scanner
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

PAD = 2
_BLOCK = 8
_COLUMNS = 9
# Columns of the table of lines: position and slope beside, position and slope across (padded
# indices per plane), length per plane in mm, first and last plane, plane at the middle of the
# line, signed mm per plane towards the second end.

_ORDERS = ((0, 1, 2), (1, 2, 0), (2, 1, 0))
"""Axes (z, y, x) of the volume per axis marched along; z last where it can be."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _prepare(
    start: int, stop: int, points: Array, pairs: Array, metric: Array, shape: Array, axis: Array,
    lines: Array,
) -> None:  # fmt: skip
    """Fill ``axis`` and ``lines`` from ends in index coordinates (z, y, x)."""
    for i in range(start, stop):
        a, b = points[pairs[i, 0]], points[pairs[i, 1]]
        z, y, x = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        length = np.sqrt(
            metric[0, 0] * z * z + metric[1, 1] * y * y + metric[2, 2] * x * x
            + 2 * (metric[0, 1] * z * y + metric[0, 2] * z * x + metric[1, 2] * y * x)
        )  # fmt: skip
        along = (
            metric[0, 0] * z * z, metric[1, 1] * y * y, metric[2, 2] * x * x
        )  # fmt: skip
        k = 2 if along[2] > 1.000001 * along[1] else 1
        if along[0] > 1.000001 * along[k]:
            k = 0
        o1, o2 = (1, 2) if k == 0 else ((2, 0) if k == 1 else (1, 0))
        run = b[k] - a[k]
        axis[i] = k
        if run == 0:
            lines[i, :] = 0
            lines[i, 6] = -1
            continue
        lines[i, 1] = (b[o1] - a[o1]) / run
        lines[i, 0] = a[o1] - a[k] * (b[o1] - a[o1]) / run + PAD
        lines[i, 3] = (b[o2] - a[o2]) / run
        lines[i, 2] = a[o2] - a[k] * (b[o2] - a[o2]) / run + PAD
        lines[i, 4] = length / abs(run)
        lines[i, 5] = max(np.ceil(min(a[k], b[k])), 0.0)
        lines[i, 6] = min(np.floor(max(a[k], b[k])), shape[k] - 1.0)
        lines[i, 7] = 0.5 * (a[k] + b[k])
        lines[i, 8] = length / run


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _span(line: Array, centre: Any, reach: float) -> tuple[int, int]:
    """First and last plane of a line, or of its part within ``reach`` mm of ``centre``."""
    first, last = line[5], line[6]
    if reach > 0:
        middle, half = line[7] + centre / line[8], abs(reach / line[8])
        first, last = max(first, np.ceil(middle - half)), min(last, np.floor(middle + half))
    return int(first), int(last)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _gather(
    start: int, stop: int, which: Array, lines: Array, padded: Array, centre: Array, reach: float,
    kernel: Array, out: Array,
) -> None:  # fmt: skip
    _, nb, nc = padded.shape
    flat = padded.reshape(-1)
    row, plane = np.uint32(nc), np.uint32(nb * nc)
    one = np.float32(1)
    top_b, top_c = np.float32(nb - PAD), np.float32(nc - PAD)
    scale = np.float32((len(kernel) - 2) / reach) if reach > 0 else np.float32(0)
    top = np.float32(len(kernel) - 2)
    for n in range(start, stop):
        i = which[n]
        line = lines[i]
        mid = centre[i] if reach > 0 else np.float32(0)
        first, last = _span(line, mid, reach)
        total = np.float32(0)
        b0, bs, c0, cs = line[0], line[1], line[2], line[3]
        for k in range(first, last + 1):
            p = np.float32(k)
            b = min(max(b0 + bs * p, one), top_b)
            c = min(max(c0 + cs * p, one), top_c)
            ib, ic = np.uint32(b), np.uint32(c)
            fb, fc = b - np.float32(ib), c - np.float32(ic)
            at = np.uint32(k) * plane + ib * row + ic
            low = flat[at] + fc * (flat[at + np.uint32(1)] - flat[at])
            at += row
            high = flat[at] + fc * (flat[at + np.uint32(1)] - flat[at])
            value = low + fb * (high - low)
            if reach > 0:
                u = min(abs((p - line[7]) * line[8] - mid) * scale, top)
                j = np.uint32(u)
                value *= kernel[j] + (u - np.float32(j)) * (kernel[j + np.uint32(1)] - kernel[j])
            total += value
        out[i] = total * line[4]


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _scatter(
    start: int, stop: int, which: Array, lines: Array, values: Array, centre: Array, reach: float,
    kernel: Array, padded: Array,
) -> None:  # fmt: skip
    n0, nb, nc = padded.shape
    flat = padded.reshape(-1)
    row, plane = np.uint32(nc), np.uint32(nb * nc)
    one = np.float32(1)
    top_b, top_c = np.float32(nb - PAD), np.float32(nc - PAD)
    scale = np.float32((len(kernel) - 2) / reach) if reach > 0 else np.float32(0)
    top = np.float32(len(kernel) - 2)
    for block in range(start, stop):
        low, high = block * _BLOCK, min(block * _BLOCK + _BLOCK, n0) - 1
        for n in range(len(which)):
            i = which[n]
            line = lines[i]
            mid = centre[i] if reach > 0 else np.float32(0)
            first, last = _span(line, mid, reach)
            first, last = max(first, low), min(last, high)
            if first > last or values[i] == 0:
                continue
            value = values[i] * line[4]
            b0, bs, c0, cs = line[0], line[1], line[2], line[3]
            for k in range(first, last + 1):
                p = np.float32(k)
                b = min(max(b0 + bs * p, one), top_b)
                c = min(max(c0 + cs * p, one), top_c)
                ib, ic = np.uint32(b), np.uint32(c)
                fb, fc = b - np.float32(ib), c - np.float32(ic)
                at = np.uint32(k) * plane + ib * row + ic
                part = value
                if reach > 0:
                    u = min(abs((p - line[7]) * line[8] - mid) * scale, top)
                    j = np.uint32(u)
                    part *= kernel[j] + (u - np.float32(j)) * (kernel[j + np.uint32(1)] - kernel[j])
                upper = part * fb
                lower = part - upper
                flat[at] += lower - lower * fc
                flat[at + np.uint32(1)] += lower * fc
                at += row
                flat[at] += upper - upper * fc
                flat[at + np.uint32(1)] += upper * fc


class Lines:
    """Lines between pairs of points, ready for the kernels.

    Parameters
    ----------
    grid
        Where the volume is.
    points
        LPS mm, ``(n, 3)``: crystals, or ends of lines.
    pairs
        Numbers of the two points of each line, int32 ``(m, 2)``.
    scanner
        Whose TOF kernel is applied; None, or without TOF: whole lines.
    bins
        TOF bin of each line, ``(m,)``; with a ``scanner`` that has TOF.
    """

    def __init__(
        self,
        grid: Grid,
        points: Float,
        pairs: Array,
        *,
        scanner: Scanner | None = None,
        bins: Array | None = None,
    ) -> None:
        self.grid = grid
        count = len(pairs)
        # Neighbouring lines one after the other: they read the same part of the volume.
        self._order = np.argsort(
            pairs[:, 0].astype(np.int64) * len(points) + pairs[:, 1], kind="stable"
        )
        pairs = np.asarray(pairs)[self._order]
        step = grid.affine[:3, :3]
        self._axis = np.empty(count, np.int8)
        self._lines = np.empty((count, _COLUMNS), np.float32)
        in_chunks(
            _prepare, count, np.ascontiguousarray(grid.to_index(points)),
            np.ascontiguousarray(pairs, np.int32), np.ascontiguousarray(step.T @ step),
            np.array(grid.shape), self._axis, self._lines,
        )  # fmt: skip
        self._which = [np.flatnonzero(self._axis == k).astype(np.uint32) for k in range(3)]
        self._reach, self._kernel = 0.0, np.zeros(2, np.float32)
        self._centres = np.zeros(1, np.float32)
        if scanner is not None and bins is not None:
            self._resolve(scanner, bins)

    def __len__(self) -> int:
        return len(self._lines)

    def resolved(self, scanner: Scanner, bins: Array) -> Lines:
        """The same lines in these TOF bins, their geometry shared."""
        other = copy(self)
        other._resolve(scanner, bins)  # noqa: SLF001
        return other

    def _resolve(self, scanner: Scanner, bins: Array) -> None:
        if scanner.tof_bins > 1:
            self._reach, self._kernel = tof.reach(scanner), tof.table(scanner)
            self._centres = tof.centres(scanner)[np.asarray(bins)[self._order]]

    def forward(self, volume: Array) -> Array:
        """Line integrals ``(m,)``, float32, of ``(nz, ny, nx)``: value times mm."""
        out = np.zeros(len(self), np.float32)
        for which, order in zip(self._which, _ORDERS, strict=True):
            if which.size:
                turned = np.asarray(volume, np.float32).transpose(order)
                padded = np.pad(turned, ((0, 0), (PAD, PAD), (PAD, PAD)))
                in_chunks(_gather, len(which), which, self._lines, np.ascontiguousarray(padded),
                          self._centres, self._reach, self._kernel, out)  # fmt: skip
        sums = np.empty_like(out)
        sums[self._order] = out
        return sums

    def adjoint(self, values: Array) -> Array:
        """The transpose: ``(nz, ny, nx)``, float32, of ``(m,)``."""
        values = np.asarray(values, np.float32)[self._order]
        out = np.zeros(self.grid.shape, np.float32)
        for which, order in zip(self._which, _ORDERS, strict=True):
            if which.size:
                n, b, c = (self.grid.shape[k] for k in order)
                padded = np.zeros((n, b + 2 * PAD, c + 2 * PAD), np.float32)
                in_chunks(_scatter, -(-n // _BLOCK), which, self._lines, values, self._centres,
                          self._reach, self._kernel, padded)  # fmt: skip
                inner = padded[:, PAD:-PAD, PAD:-PAD]
                out += inner.transpose(np.argsort(order))
        return out
