"""Separable footprints: what a voxel throws on the detector, as a trapezoid times a rectangle.

Long, Fessler and Balter (IEEE Trans. Med. Imaging 29, 1839, 2010), method SF-TR with amplitudes A2:
along the columns a voxel's shadow is the trapezoid through the shadows of its four edges, along the
rows a rectangle; both are averaged over the detector's elements. A reference where voxels are large
against the detector, or the other way round: a sum along rays (Joseph) then misses what lies
between the rays. Slices are perpendicular to S.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.ct import geometry
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks


class Footprint:
    """The projector of one circular or helical scan.

    Parameters
    ----------
    grid
        Axial slices.
    angles, heights
        Of the source in radians, and its S over the isocentre in mm, ``(views,)``.
    rows, columns, spacing, offset
        Of the detector: distance of rows and columns in mm, its centre along the columns in mm.
        ``rows`` 0: slices are scanned one by one, row k sees slice k (a fan).
    source, detector, curved
        As in `ConeScan`.
    isocentre
        LPS mm.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        angles: Float,
        heights: Float,
        rows: int,
        columns: int,
        spacing: tuple[float, float],
        offset: float,
        source: float,
        detector: float,
        curved: bool,
        isocentre: tuple[float, float, float],
        kind: str,
    ) -> None:
        first, down, across = geometry.plane(grid, isocentre, kind=f"{kind} by footprints")
        self.shape = grid.shape
        stacked = rows == 0
        self.rows, self.columns = (grid.shape[0] if stacked else rows), columns
        self.views = len(angles)
        self._stacked, self._curved = stacked, curved
        self._table = np.stack([np.cos(angles), np.sin(angles), heights], axis=-1)
        self._place = np.concatenate([first, down, across])
        self._lift = np.array([grid.origin[2] - isocentre[2], grid.affine[2, 0]])
        middle = (columns - 1) / 2 - offset / spacing[1]
        self._detector = np.array(
            [source, detector, middle, 1 / spacing[1], (self.rows - 1) / 2, 1 / spacing[0]]
        )
        column = (np.arange(columns) - middle)[:, None] * spacing[1]
        row = (np.arange(self.rows) - (self.rows - 1) / 2) * spacing[0]
        level = detector if curved else np.hypot(detector, column)
        # How much longer a ray is than its shadow in the plane; stacked ones lie in it.
        lean = np.ones((columns, self.rows)) if stacked else np.hypot(level, row) / level
        self._lean = np.broadcast_to(lean, (columns, self.rows))

    def forward(self, volume: Array) -> Array:
        """Line integrals ``(views, rows, columns)`` of ``(nz, ny, nx)``, value times mm."""
        pillars = np.ascontiguousarray(volume.transpose(1, 2, 0))
        out = np.zeros((self.views, self.columns, self.rows), volume.dtype)
        in_chunks(_forward, self.views, pillars, *self._numbers(), out)
        out *= self._lean.astype(out.dtype)
        return np.ascontiguousarray(out.transpose(0, 2, 1))

    def adjoint(self, data: Array) -> Array:
        """The transpose of `forward`."""
        lines = np.ascontiguousarray(data.transpose(0, 2, 1)) * self._lean.astype(data.dtype)
        nz, ny, nx = self.shape
        out = np.zeros((ny, nx, nz), data.dtype)
        in_chunks(_adjoint, ny, lines, *self._numbers(), out)
        return np.ascontiguousarray(out.transpose(2, 0, 1))

    def _numbers(self) -> tuple[Float, Float, Float, Float, bool, bool]:
        return (
            self._table, self._place, self._lift, self._detector, self._curved, self._stacked,
        )  # fmt: skip


@numba.njit(cache=True, error_model="numpy")
def _below(x: float, t: Float) -> float:
    """Area of the trapezoid with corners ``t`` (rising) and height 1 left of ``x``."""
    if x <= t[0]:
        return 0.0
    rise, top = 0.5 * (t[1] - t[0]), t[2] - t[1]
    if x < t[1]:
        return 0.5 * (x - t[0]) ** 2 / (t[1] - t[0])
    if x <= t[2]:
        return rise + x - t[1]
    if x < t[3]:
        return rise + top + 0.5 * (t[3] - t[2]) - 0.5 * (t[3] - x) ** 2 / (t[3] - t[2])
    return rise + top + 0.5 * (t[3] - t[2])


@numba.njit(cache=True, error_model="numpy")
def _shadow(
    y: int,
    x: int,
    view: Float,
    place: Float,
    detector: Float,
    curved: bool,  # noqa: FBT001
    columns: int,
    corners: Float,
    share: Float,
) -> tuple[int, int, float]:
    """First and last column that a pillar covers, and its rows' scale; fills ``share`` in mm."""
    c, s = view[0], view[1]
    radius, far, middle, per_column = detector[0], detector[1], detector[2], detector[3]
    l = place[0] + y * place[2] + x * place[4]
    p = place[1] + y * place[3] + x * place[5]
    for k in range(4):
        a, b = (0.5 if k & 1 else -0.5), (0.5 if k & 2 else -0.5)
        cl = l + a * place[2] + b * place[4]
        cp = p + a * place[3] + b * place[5]
        t, deep = cl * c + cp * s, radius - cl * s + cp * c
        corners[k] = middle + per_column * far * (np.arctan2(t, deep) if curved else t / deep)
    for a, b in ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2)):  # a sorting network
        if corners[a] > corners[b]:
            corners[a], corners[b] = corners[b], corners[a]
    t, deep = l * c + p * s, radius - l * s + p * c
    distance = np.hypot(t, deep)
    # The longest way through the pixel along the ray of its centre, (t, deep) in the turned frame.
    down = abs((place[2] * c + place[3] * s) * deep - (place[3] * c - place[2] * s) * t)
    side = abs((place[4] * c + place[5] * s) * deep - (place[5] * c - place[4] * s) * t)
    area = abs(place[2] * place[5] - place[3] * place[4])
    length = area * distance / max(down, side)
    first = max(int(np.floor(corners[0] + 0.5)), 0)
    last = min(int(np.floor(corners[3] + 0.5)), columns - 1)
    before = _below(first - 0.5, corners)
    for k in range(first, last + 1):
        after = _below(k + 0.5, corners)
        share[k - first] = length * (after - before)
        before = after
    return first, last, far / (distance if curved else deep)


@numba.njit(cache=True, error_model="numpy")
def _reach(r: int, view: Float, lift: Float, detector: Float, scale: float) -> tuple[float, float]:
    """Where row ``r`` begins and ends in the pillar, in slices from the lower face of slice 0."""
    level, per_row = detector[4], detector[5]
    per_slice = scale * per_row * lift[1]
    start = level + (lift[0] - view[2]) * scale * per_row - 0.5 * per_slice
    a, b = (r - 0.5 - start) / per_slice, (r + 0.5 - start) / per_slice
    return min(a, b), max(a, b)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _forward(
    begin: int,
    end: int,
    pillars: Array,
    table: Float,
    place: Float,
    lift: Float,
    detector: Float,
    curved: bool,  # noqa: FBT001
    stacked: bool,  # noqa: FBT001
    out: Array,
) -> None:
    """Views ``begin`` to ``end`` of ``out`` (views, columns, rows)."""
    ny, nx, nz = pillars.shape
    columns, rows = out.shape[1:]
    for v in range(begin, end):
        corners, share, line = np.empty(4), np.empty(columns), np.empty(rows, out.dtype)
        for y in range(ny):
            for x in range(nx):
                first, last, scale = _shadow(
                    y, x, table[v], place, detector, curved, columns, corners, share
                )
                if first > last:
                    continue
                pillar = pillars[y, x]
                if stacked:
                    line[:] = pillar
                else:
                    for r in range(rows):
                        low, high = _reach(r, table[v], lift, detector, scale)
                        total, z = 0.0, max(int(np.floor(low)), 0)
                        while z < nz and z < high:
                            total += pillar[z] * max(min(high, z + 1) - max(low, z), 0.0)
                            z += 1
                        line[r] = total / (high - low)
                for k in range(first, last + 1):
                    weight = out.dtype.type(share[k - first])
                    for r in range(rows):
                        out[v, k, r] += weight * line[r]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _adjoint(
    begin: int,
    end: int,
    data: Array,
    table: Float,
    place: Float,
    lift: Float,
    detector: Float,
    curved: bool,  # noqa: FBT001
    stacked: bool,  # noqa: FBT001
    out: Array,
) -> None:
    """Lines ``begin`` to ``end`` of ``out`` (ny, nx, nz)."""
    nx, nz = out.shape[1:]
    views, columns, rows = data.shape
    for y in range(begin, end):
        corners, share, line = np.empty(4), np.empty(columns), np.empty(rows, data.dtype)
        for x in range(nx):
            pillar = out[y, x]
            for v in range(views):
                first, last, scale = _shadow(
                    y, x, table[v], place, detector, curved, columns, corners, share
                )
                if first > last:
                    continue
                line[:] = 0
                for k in range(first, last + 1):
                    weight = data.dtype.type(share[k - first])
                    for r in range(rows):
                        line[r] += weight * data[v, k, r]
                if stacked:
                    for z in range(nz):
                        pillar[z] += line[z]
                    continue
                for r in range(rows):
                    low, high = _reach(r, table[v], lift, detector, scale)
                    z = max(int(np.floor(low)), 0)
                    while z < nz and z < high:
                        part = max(min(high, z + 1) - max(low, z), 0.0) / (high - low)
                        pillar[z] += out.dtype.type(part) * line[r]
                        z += 1
