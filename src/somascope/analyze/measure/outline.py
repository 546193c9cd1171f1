"""Longest diameters of voxel bodies, exact, by the hulls of their outlines.

The outline passes through the middles between voxels inside and voxels outside: those are the
vertices of a marching-cubes mesh at one half. Of a line of voxels only the two ends can be corners
of the convex hull, and only corners of the hull can be farthest from one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.core.grid import Array, Float, Grid

_NONE = np.int64(1 << 40)


@numba.njit(cache=True)
def _turn(ay: int, ax: int, by: int, bx: int, cy: int, cx: int) -> int:
    return (by - ay) * (cx - ax) - (bx - ax) * (cy - ay)


@numba.njit(cache=True)
def _hull(low: Array, high: Array, first: int, ys: Array, xs: Array) -> int:
    """Corners of the hull of rows ``low[r]..high[r]`` at heights ``first + r``, in order."""
    n = 0
    for r in range(low.size):
        if low[r] == _NONE:
            continue
        y, x = first + r, low[r]
        while n >= 2 and _turn(ys[n - 2], xs[n - 2], ys[n - 1], xs[n - 1], y, x) <= 0:
            n -= 1
        ys[n], xs[n] = y, x
        n += 1
    left = n
    for back in range(low.size):
        r = low.size - 1 - back
        if low[r] == _NONE:
            continue
        y, x = first + r, high[r]
        if y == ys[n - 1] and x == xs[n - 1]:
            continue
        while n > left and _turn(ys[n - 2], xs[n - 2], ys[n - 1], xs[n - 1], y, x) <= 0:
            n -= 1
        ys[n], xs[n] = y, x
        n += 1
    return n


@numba.njit(cache=True)
def _farthest(ys: Array, xs: Array, n: int, metric: Array) -> tuple[float, int, int]:
    best, a, b = -1.0, 0, 0
    for i in range(n):
        for j in range(i):
            y, x = 0.5 * (ys[i] - ys[j]), 0.5 * (xs[i] - xs[j])
            d = metric[0, 0] * y * y + 2 * metric[0, 1] * y * x + metric[1, 1] * x * x
            if d > best:
                best, a, b = d, i, j
    return best, a, b


@numba.njit(cache=True)
def _rows(plane: Array, grow: int, low: Array, high: Array) -> bool:
    """Ends of the outline, in half voxels, per half row from -1 on; False for an empty plane.

    ``grow`` 1: the outline runs between the voxels; 0: the voxels themselves are its points.
    """
    ny, nx = plane.shape
    low[:] = _NONE
    high[:] = -_NONE
    any_ = False
    for y in range(ny):
        a, b = -1, -1
        for x in range(nx):
            if plane[y, x]:
                if a < 0:
                    a = x
                b = x
        if a >= 0:
            any_ = True
            low[2 * y + 1] = min(low[2 * y + 1], 2 * a - grow)
            high[2 * y + 1] = max(high[2 * y + 1], 2 * b + grow)
    if not grow or not any_:
        return any_
    for x in range(nx):
        a, b = -1, -1
        for y in range(ny):
            if plane[y, x]:
                if a < 0:
                    a = y
                b = y
        if a >= 0:
            low[2 * a] = min(low[2 * a], 2 * x)
            high[2 * a] = max(high[2 * a], 2 * x)
            low[2 * b + 2] = min(low[2 * b + 2], 2 * x)
            high[2 * b + 2] = max(high[2 * b + 2], 2 * x)
    return True


@numba.njit(cache=True)
def _changes(inside: Array, z: int, step: Array) -> None:
    """Where one of the layers ``z - 1`` and ``z`` is inside and the other is not."""
    nz, ny, nx = inside.shape
    for y in range(ny):
        for x in range(nx):
            above = inside[z, y, x] if z < nz else False
            under = inside[z - 1, y, x] if z > 0 else False
            step[y, x] = above != under


@numba.njit(cache=True)
def _planes(inside: Array, metric: Array, between: int) -> tuple[float, int, Array]:
    """Longest squared diameter within a plane of axis 0, that plane, and its two ends (4,).

    ``between`` 1: also within the planes between two layers of voxels, for the length alone.
    """
    nz, ny, nx = inside.shape
    low, high = np.empty(2 * ny + 1, np.int64), np.empty(2 * ny + 1, np.int64)
    ys, xs = np.empty(4 * ny + 4, np.int64), np.empty(4 * ny + 4, np.int64)
    ends = np.zeros(4)
    longest, where = -1.0, -1
    for z in range(nz):
        if not _rows(inside[z], 1, low, high):
            continue
        n = _hull(low, high, -1, ys, xs)
        d, a, b = _farthest(ys, xs, n, metric)
        if d > longest:
            longest, where = d, z
            ends[0], ends[1], ends[2], ends[3] = ys[a], xs[a], ys[b], xs[b]
    if between:
        step = np.empty((ny, nx), np.bool_)
        for z in range(nz + 1):
            _changes(inside, z, step)
            if not _rows(step, 0, low, high):
                continue
            n = _hull(low, high, -1, ys, xs)
            d, _, _ = _farthest(ys, xs, n, metric)
            longest = max(longest, d)
    return longest, where, 0.5 * ends


@numba.njit(cache=True)
def _corners(plane: Array) -> tuple[Array, Array]:
    ny = plane.shape[0]
    low, high = np.empty(2 * ny + 1, np.int64), np.empty(2 * ny + 1, np.int64)
    ys, xs = np.empty(4 * ny + 4, np.int64), np.empty(4 * ny + 4, np.int64)
    _rows(plane, 1, low, high)
    n = _hull(low, high, -1, ys, xs)
    return 0.5 * ys[:n], 0.5 * xs[:n]


def _metric(grid: Grid, axis: int) -> Float:
    """Gram matrix of the two other axes: squared lengths in mm2 of index differences."""
    columns = np.delete(grid.affine[:3, :3], axis, axis=1)
    return np.ascontiguousarray(columns.T @ columns)


def planar_diameter(inside: Array, grid: Grid, *, axis: int = 0) -> float:
    """The longest distance in mm of two mesh vertices in one plane across ``axis``.

    Planes through the voxels and planes between them, as IBSI meshes have vertices in both.
    """
    turned = np.ascontiguousarray(np.moveaxis(inside, axis, 0))
    longest, _, _ = _planes(turned, _metric(grid, axis), 1)
    return float(np.sqrt(longest))


@numba.njit(cache=True)
def vertices(inside: Array) -> Array:
    """Candidates ``(n, 3)`` for corners of the mesh's convex hull, in ``(z, y, x)`` indices.

    The corners of the hull of every plane through voxels, and of every plane between two layers.
    """
    nz, ny, nx = inside.shape
    low, high = np.empty(2 * ny + 1, np.int64), np.empty(2 * ny + 1, np.int64)
    ys, xs = np.empty(4 * ny + 4, np.int64), np.empty(4 * ny + 4, np.int64)
    found = np.empty((2 * nz + 1) * (4 * ny + 4) * 3)
    step = np.empty((ny, nx), np.bool_)
    n = 0
    for half in range(2 * nz + 1):
        z = half // 2
        if half % 2:
            some = _rows(inside[z], 1, low, high)
        else:
            _changes(inside, z, step)
            some = _rows(step, 0, low, high)
        if not some:
            continue
        for k in range(_hull(low, high, -1, ys, xs)):
            found[n], found[n + 1], found[n + 2] = 0.5 * half - 0.5, 0.5 * ys[k], 0.5 * xs[k]
            n += 3
    return found[:n].copy().reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Hull:
    """The convex hull of a mesh: corners ``(n, 3)`` LPS mm, volume mm3, area mm2."""

    corners: Float
    volume: float
    area: float

    @property
    def diameter(self) -> float:
        """The longest distance of two corners in mm: that of the mesh too."""
        a, b = self.ends
        return float(np.linalg.norm(a - b))

    @property
    def ends(self) -> tuple[Float, Float]:
        """The two corners farthest from one another, LPS mm."""
        from scipy.spatial.distance import cdist

        far = cdist(self.corners, self.corners)
        i, j = np.unravel_index(int(far.argmax()), far.shape)
        return self.corners[i], self.corners[j]


def hull(inside: Array, grid: Grid) -> Hull:
    """The convex hull of the mesh about the voxels of ``inside`` (bool, at least one)."""
    from scipy.spatial import ConvexHull

    made = ConvexHull(grid.to_world(vertices(np.ascontiguousarray(inside))))
    return Hull(made.points[made.vertices], float(made.volume), float(made.area))


@dataclass(frozen=True, eq=False)
class Axes:
    """Long and short axis in one slice: lengths in mm, ends ``(2, 3)`` LPS mm, slice in the box."""

    long: float
    short: float
    long_ends: Float
    short_ends: Float
    slice: int


def in_plane_axes(inside: Array, grid: Grid) -> Axes:
    """The longest in-plane diameter, and the longest one at right angles to it in that slice.

    As RECIST 1.1 measures a lesion (Eisenhauer et al., Eur J Cancer 45 (2009) 228-247). Both are
    those of the hull of the outline: a notch does not shorten them.
    """
    metric = _metric(grid, 0)
    squared, z, ends = _planes(np.ascontiguousarray(inside), metric, 0)
    ys, xs = _corners(np.ascontiguousarray(inside[z]))
    corners = grid.to_world(np.stack([np.full(ys.size, float(z)), ys, xs], axis=1))
    a, b = grid.to_world([(z, ends[0], ends[1]), (z, ends[2], ends[3])])
    along = (b - a) / np.linalg.norm(b - a)
    normal = np.cross(grid.affine[:3, 1], grid.affine[:3, 2])
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    flat = np.stack([(corners - a) @ along, (corners - a) @ across], axis=1)
    low, high, at = _longest_chord(flat)
    short = a + np.outer([at, at], along) + np.outer([low, high], across)
    return Axes(
        float(np.sqrt(squared)), float(high - low), np.stack([a, b]), np.asarray(short), int(z)
    )


def _longest_chord(polygon: Float) -> tuple[float, float, float]:
    """Lower and upper end and place of the longest chord along axis 1 of a convex polygon.

    The length of a chord is concave along axis 0 and linear between corners, so its largest is at
    a corner.
    """
    u, v = polygon.T
    best = (0.0, 0.0, float(u[0]))
    after_u, after_v = np.roll(u, -1), np.roll(v, -1)
    for at in u:
        between = (np.minimum(u, after_u) <= at) & (at <= np.maximum(u, after_u))
        run = after_u - u
        level = np.abs(run) < 1e-9
        share = np.where(level, 0.0, (at - u) / np.where(level, 1.0, run))
        met = v + share * (after_v - v)
        heights = np.concatenate([met[between], after_v[between & level]])
        low, high = float(heights.min()), float(heights.max())
        if high - low > best[1] - best[0]:
            best = (low, high, float(at))
    return best
