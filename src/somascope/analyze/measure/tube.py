"""The centreline of a tube and its cross sections.

The way of least cost through the middle (cost: the inverse square of the distance to the wall)
between the two ends leads through voxels; it is smoothed, moved to the centroids of cross sections
at right angles to it, and followed by even steps. A cross section is told by rays in its plane to
where the mask, interpolated linearly, falls below one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid
from somascope.process.curved import centreline as even_curve
from somascope.process.curved import frames
from somascope.process.distance import distance

RAYS = 72
"""Of a cross section."""

_ROUNDS = 3
"""Of moving to the centroids."""


@dataclass(frozen=True, eq=False)
class Tube:
    """A centreline ``points`` ``(n, 3)`` LPS mm at even steps, and what it passes through.

    Within half a diameter of the ends there is no cross section at right angles; use `inner`.

    ``position`` ``(n,)`` is the length from its start in mm; ``area`` ``(n,)`` mm2; ``narrowest``
    and ``widest`` ``(n,)`` mm the extremes over directions of the width through the centroid.
    """

    points: Float
    position: Float
    area: Float
    narrowest: Float
    widest: Float

    @property
    def length(self) -> float:
        """In mm."""
        return float(self.position[-1])

    @property
    def diameter(self) -> Float:
        """Of the circle of the same area, ``(n,)`` mm."""
        return 2 * np.sqrt(self.area / np.pi)

    @property
    def inner(self) -> Array:
        """Which cross sections lie at least half a diameter from both ends, ``(n,)`` bool."""
        away = np.minimum(self.position, self.length - self.position)
        kept = away >= 0.5 * np.median(self.diameter)
        return kept if kept.any() else np.ones(kept.shape, bool)


@dataclass(frozen=True)
class Narrowing:
    """Where a tube is narrowest beside what it would be: place and diameters in mm.

    ``reference`` is the robust straight line through the diameters, at that place.
    """

    position: float
    diameter: float
    reference: float

    @property
    def by_diameter(self) -> float:
        """Stenosis in per cent of the diameter."""
        return 100 * (1 - self.diameter / self.reference)

    @property
    def by_area(self) -> float:
        """Stenosis in per cent of the area."""
        return 100 * (1 - (self.diameter / self.reference) ** 2)


def follow(
    inside: Array, grid: Grid, *, ends: Float | None = None, step: float | None = None
) -> Tube:
    """The tube that is the bool volume ``inside`` ``(nz, ny, nx)``.

    Parameters
    ----------
    ends
        ``(2, 3)`` LPS mm, in or beside the tube; by default its two voxels farthest apart along
        it. The tube is followed to where it leaves the mask.
    step
        Of the points, mm; half the shortest edge of a voxel by default.

    Raises
    ------
    ParameterError
        The two ends are not connected, or the tube is no longer than it is wide.
    """
    padded = np.pad(inside, 1)
    around = grid.moved(start=(-1, -1, -1), shape=padded.shape, step=(1, 1, 1))
    spacing = grid.spacing
    depth = np.asarray(distance(padded, spacing), np.float64)
    step = 0.5 * min(spacing) if step is None else step
    way = _way(padded, around, depth, ends)
    rough = _trimmed(way, depth) if len(way) > 2 else way
    if len(rough) < 3:
        raise ParameterError("the tube is no longer than it is wide; a centreline needs a length")
    radius = float(np.median(depth[tuple(way.T)]))
    soft = padded.astype(np.float32)
    reach = 2.5 * float(depth.max()) + 2 * max(spacing)
    curve = even_curve(_smoothed(around.to_world(rough), radius), step)
    for _ in range(_ROUNDS):
        centre, _ = _sections(soft, around, curve, reach)
        curve = even_curve(_smoothed(centre, radius / 2), step)
    curve = even_curve(_to_the_ends(curve, soft, around), step)
    _, rays = _sections(soft, around, curve, reach)
    turn = 2 * np.pi / RAYS
    area = 0.5 * np.sin(turn) * (rays * np.roll(rays, -1, axis=1)).sum(axis=1)
    width = rays[:, : RAYS // 2] + rays[:, RAYS // 2 :]
    position = step * np.arange(len(curve), dtype=np.float64)
    return Tube(curve, position, area, width.min(axis=1), width.max(axis=1))


def _way(padded: Array, grid: Grid, depth: Array, ends: Float | None) -> Array:
    """Voxels ``(n, 3)`` of the way of least cost from end to end."""
    from skimage.graph import MCP_Geometric

    spacing = grid.spacing
    cost = np.where(padded, (depth.max() / np.maximum(depth, 1e-6)) ** 2, np.inf)
    if ends is not None:
        inner = np.argwhere(padded)
        world = grid.to_world(inner)
        first, last = (inner[np.linalg.norm(world - e, axis=1).argmin()] for e in ends)
    else:
        plain = np.where(padded, 1.0, np.inf)
        last = np.array(np.unravel_index(int(depth.argmax()), depth.shape))
        first = last
        for _ in range(2):
            first = last
            costs, _ = MCP_Geometric(plain, sampling=spacing).find_costs([tuple(first)])
            far = np.where(np.isfinite(costs) & padded, costs, -1)
            last = np.array(np.unravel_index(int(far.argmax()), far.shape))
    search = MCP_Geometric(cost, sampling=spacing)
    costs, _ = search.find_costs([tuple(first)], [tuple(last)])
    if not np.isfinite(costs[tuple(last)]):
        raise ParameterError(
            "the two ends of the centreline lie in parts of the mask that do not touch; connect "
            "them or choose ends in one part"
        )
    return np.array(search.traceback(tuple(last)))


def _trimmed(way: Array, depth: Array) -> Array:
    """Without the bits at both ends that lead from a corner to the middle."""
    deep = depth[tuple(way.T)]
    middle = len(way) // 2
    near = 0.8 * np.minimum(np.median(deep[:middle]), np.median(deep[middle:]))
    good = np.flatnonzero(deep >= near)
    return way[good[0] : good[-1] + 1] if good.size else way


def _smoothed(points: Float, width: float) -> Float:
    """Moved by a Gaussian over the length of the curve; the ends stay on their tangents."""
    from scipy.ndimage import gaussian_filter1d

    step = float(np.mean(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    sigma = max(width / max(step, 1e-9), 0.5)
    n = min(int(4 * sigma) + 1, len(points) - 1)
    # Reflected through each end: a straight line stays as it is, ends included.
    before = 2 * points[0] - points[n:0:-1]
    after = 2 * points[-1] - points[-2 : -n - 2 : -1]
    longer = np.concatenate([before, points, after])
    return gaussian_filter1d(longer, sigma, axis=0)[n : n + len(points)]


def _sections(soft: Array, grid: Grid, curve: Float, reach: float) -> tuple[Float, Float]:
    """Centroids ``(n, 3)`` of the cross sections, and the lengths ``(n, RAYS)`` of their rays."""
    from scipy.ndimage import map_coordinates

    _, normal, binormal = frames(curve)
    angles = np.arange(RAYS) * 2 * np.pi / RAYS
    directions = (
        np.cos(angles)[:, None] * normal[:, None] + np.sin(angles)[:, None] * binormal[:, None]
    )
    step = 0.25 * min(grid.spacing)
    along = np.arange(int(reach / step) + 2) * step
    turned = np.linalg.inv(grid.affine[:3, :3])
    start, slope = grid.to_index(curve), directions @ turned.T
    rays = np.empty((len(curve), RAYS))
    for k in range(len(curve)):
        at = start[k] + along[:, None, None] * slope[k]
        values = map_coordinates(soft, at.reshape(-1, 3).T, order=1, mode="constant")
        values = values.reshape(along.size, RAYS)
        out = values < 0.5
        first = np.where(out.any(axis=0), out.argmax(axis=0), along.size - 1)
        ray = np.arange(RAYS)
        here, before = values[first, ray], values[np.maximum(first - 1, 0), ray]
        drop = np.where(before > here, before - here, 1.0)
        rays[k] = np.where(first > 0, (first - 1 + (before - 0.5) / drop) * step, 0.0)
    # Centroid of the sectors: two thirds of the way out, weighted by their areas.
    weight = rays**3
    moved = (weight[:, :, None] * directions).sum(axis=1)
    total = (rays**2).sum(axis=1)[:, None]
    return curve + 2 / 3 * moved / np.maximum(total, 1e-9), rays


def _to_the_ends(curve: Float, soft: Array, grid: Grid) -> Float:
    """Longer at both ends by straight lines to where they leave the mask."""
    from scipy.ndimage import map_coordinates

    pieces = [curve]
    step = 0.25 * min(grid.spacing)
    span = min(len(curve) - 1, 8)
    for side, (end, inner) in enumerate(((curve[0], curve[span]), (curve[-1], curve[-1 - span]))):
        direction = (end - inner) / np.linalg.norm(end - inner)
        far = end + np.arange(1, 4 * max(soft.shape))[:, None] * step * direction
        inside = map_coordinates(soft, grid.to_index(far).T, order=1, mode="constant") >= 0.5
        n = int(inside.argmin()) if not inside.all() else len(far)
        if n:
            added = far[n - 1 : n]
            pieces = [added, *pieces] if side == 0 else [*pieces, added]
    return np.concatenate(pieces)


def narrowing(tube: Tube) -> Narrowing:
    """The place where the diameter is least beside the straight line of its healthy course.

    The line is fitted to the cross sections away from the ends that lie within a twentieth of
    their upper quartile line (`_upper_line`): a stenosis of up to three quarters of the length does
    not bend it, nor does a bulge of up to a quarter.
    """
    s, d = tube.position[tube.inner], tube.diameter[tube.inner]
    start, slope = _upper_line(s, d)
    for _ in range(5):
        line = start + slope * s
        near = np.abs(d - line) <= 0.05 * line
        if np.count_nonzero(near) < 3:
            break
        slope, start = np.polyfit(s[near], d[near], 1)
    line = start + slope * s
    k = int(np.argmin(d / line))
    return Narrowing(float(s[k]), float(d[k]), float(line[k]))


def _upper_line(x: Float, y: Float, *, most: int = 60) -> tuple[float, float]:
    """Start and slope of the line that a quarter of the points lie above (quantile regression).

    The best such line passes through two of the points (Koenker and Bassett, Econometrica 46
    (1978) 33-50), so all pairs of up to ``most`` of them are tried.
    """
    if len(x) < 3:
        return float(np.mean(y)), 0.0
    chosen = np.linspace(0, len(x) - 1, min(len(x), most)).astype(int)
    x, y = x[chosen], y[chosen]
    i, j = np.triu_indices(len(x), k=1)
    slopes = (y[j] - y[i]) / (x[j] - x[i])
    starts = y[i] - slopes * x[i]
    above = y - (starts[:, None] + slopes[:, None] * x)
    loss = np.where(above > 0, 0.75 * above, -0.25 * above).sum(axis=1)
    best = int(loss.argmin())
    return float(starts[best]), float(slopes[best])
