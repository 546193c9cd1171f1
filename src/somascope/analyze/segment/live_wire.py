"""Live wire: a contour that clings to edges between the points that are set.

Costs per mm are low on edges; the way of least cost between two points follows them (Mortensen and
Barrett, Graphical Models and Image Processing 60 (1998) 349-384). All ways from a seed are found
at once, so that the wire to wherever the pointer is needs no search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import finding
from somascope.analyze.segment.choices import Edge, Name, Points
from somascope.analyze.segment.cut import neighbours
from somascope.analyze.segment.flood_kernels import cheapest
from somascope.analyze.segment.seeds import places, region, volume_of
from somascope.core import QUIET, Code, Grid, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.edges import gradient_size

_NAME = "segment.live_wire"

PERIMETER = Code("131191004", "SCT", "Perimeter")
AREA = Code("42798000", "SCT", "Area")

FLOOR = 0.02
"""Cost per mm on the steepest edge, of that where there is none."""


def edge_cost(values: Array, spacing: tuple[float, float, float], sigma: float) -> Array:
    """Cost per mm ``(ny, nx)`` float32 of one slice: 1 where it is even, `FLOOR` at its steepest.

    ``values`` ``(1, ny, nx)`` float32, ``sigma`` in mm. The steepest is the 99.5th percentile of
    the slopes, so that one bright spot does not make all edges faint.
    """
    width = (0.0, sigma / spacing[1], sigma / spacing[2])
    slope = gradient_size(values, spacing, width, flat=True)[0]
    known = np.isfinite(slope)
    top = float(np.quantile(slope[known], 0.995)) if known.any() else 0.0
    steep = np.clip(slope / max(top, 1e-30), 0, 1)
    cost = FLOOR + (1 - FLOOR) * (1 - steep) ** 2
    return np.where(known, cost, np.inf).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Ways:
    """All cheapest ways from one pixel of a slice; `to` any other."""

    seed: tuple[int, int]
    cost: Array
    came: Array

    def to(self, pixel: tuple[int, int]) -> Array:
        """Pixels ``(n, 2)`` (y, x) from the seed to ``pixel``, both included.

        Raises `ParameterError` where no way leads there.
        """
        wide = self.cost.shape[1]
        v = (pixel[0] + 1) * wide + pixel[1] + 1
        if not np.isfinite(self.cost.reshape(-1)[v]):
            raise ParameterError(f"no way leads from {self.seed} to {pixel}: values are missing")
        chain = [v]
        while self.came[v] >= 0:
            v = int(self.came[v])
            chain.append(v)
        found = np.array(chain[::-1])
        return np.stack([found // wide - 1, found % wide - 1], axis=1)


class LiveWire:
    """One slice made ready: ``wire.ways(seed)`` per point that is set, ``ways.to(pointer)`` per
    move of the pointer.

    Parameters
    ----------
    cost
        `edge_cost`.
    spacing
        Edges ``(dy, dx)`` of a pixel in mm.
    """

    def __init__(self, cost: Array, spacing: tuple[float, float]) -> None:
        self._cost = np.pad(cost, 1, constant_values=np.inf)
        steps, near = neighbours((1, *cost.shape), (1.0, *spacing), 26)
        within = np.abs(steps) <= self._cost.shape[1] + 1
        self._steps, self._lengths = steps[within], min(spacing) / near[within]

    def ways(self, seed: tuple[int, int]) -> Ways:
        """From the pixel ``seed`` (y, x); 8 neighbours, lengths in mm."""
        total = np.full(self._cost.size, np.inf)
        came = np.full(self._cost.size, -1, np.int32)
        start = (seed[0] + 1) * self._cost.shape[1] + seed[1] + 1
        cheapest(self._cost.reshape(-1), self._steps, self._lengths, start, total, came)
        return Ways(seed, total.reshape(self._cost.shape), came)

    def contour(
        self, seeds: Sequence[tuple[int, int]], *, closed: bool, progress: Progress = QUIET
    ) -> Array:
        """Pixels ``(n, 2)`` through all seeds in order, each corner once."""
        ends = [*seeds[1:], seeds[0]] if closed else list(seeds[1:])
        pieces: list[Array] = []
        for k, end in enumerate(ends):
            progress(k / len(ends), f"wire {k + 1}")
            pieces.append(self.ways(seeds[k]).to(end)[:-1])
        return np.concatenate(pieces if closed else [*pieces, np.array([ends[-1]])])


def length(points: Float, *, closed: bool) -> float:
    """Of a way through points ``(n, 3)`` in mm, smoothed over its three next points.

    A staircase of pixels is up to 8 % longer than what it stands for.
    """
    n = len(points)
    if closed:
        around = sum(np.roll(points, k, axis=0) for k in range(-2, 3)) / 5
        return float(np.linalg.norm(around - np.roll(around, 1, axis=0), axis=1).sum())
    if n < 3:
        return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    padded = np.concatenate([2 * points[:1] - points[2:0:-1], points,
                             2 * points[-1:] - points[-2:-4:-1]])  # fmt: skip
    around = np.stack([np.convolve(c, np.full(5, 0.2), "valid") for c in padded.T], axis=1)
    return float(np.linalg.norm(np.diff(around, axis=0), axis=1).sum())


@operation(_NAME)
def live_wire(
    image: Image,
    *,
    points: Points,
    closed: Annotated[
        bool, Param("Back to the first point, and fill what is within")
    ] = True,
    sigma: Edge = 1.0,
    label: Name = "Contour",
    progress: Progress = QUIET,
) -> list[Mask | Measurement]:  # fmt: skip
    """Draw a contour that follows edges between points of one slice (intelligent scissors).

    The points (two at least, in order) lie in one slice of the image. A closed contour is filled:
    its mask includes the contour's own pixels. The mask is followed by the contour's length and,
    where closed, the area within, in mm.

    Raises
    ------
    ParameterError
        Fewer than two points, points in several slices or outside of the image, or a constant
        slice.
    """
    index = places(image, points, name="points", operation=_NAME)
    if len(index) < 2:
        raise ParameterError(f"{_NAME}: {len(index)} points are given; a wire needs two or more")
    rows = np.clip(np.rint(index).astype(int), 0, np.array(image.grid.shape) - 1)
    slices = np.unique(rows[:, 0])
    if slices.size > 1:
        raise ParameterError(
            f"{_NAME}: the points lie in the slices {', '.join(map(str, slices))}; set all in one"
        )
    z = int(slices[0])
    values, known = volume_of(image, _NAME)
    plane = np.where(known[z], values[z], np.float32(np.nan))[None]
    some = plane[np.isfinite(plane)]
    if some.size == 0 or some.min() == some.max():
        raise ParameterError(f"{_NAME}: slice {z} is constant or empty; there is no edge to follow")
    cost = edge_cost(plane, image.grid.spacing, sigma)
    wire = LiveWire(cost, image.grid.spacing[1:])
    seeds = [(int(y), int(x)) for _, y, x in rows]
    seeds = [s for k, s in enumerate(seeds) if k == 0 or s != seeds[k - 1]]
    if len(seeds) < 2:
        raise ParameterError(f"{_NAME}: all points lie in one pixel; set them apart")
    progress(0.1, "edges")
    way = wire.contour(
        seeds, closed=closed, progress=Progress(lambda f, m: progress(0.1 + 0.8 * f, m))
    )
    inside = np.zeros(image.grid.shape, bool)
    inside[z, way[:, 0], way[:, 1]] = True
    if closed:
        from somascope.process.components import fill_holes

        inside[z] = fill_holes(inside[z : z + 1])[0]
    grid = image.grid
    world = grid.to_world(np.column_stack([np.full(len(way), z), way]))
    mask = region(image, inside, label, f"{_NAME} sigma {sigma:g} mm")
    made: list[Mask | Measurement] = [mask]
    edge = max(grid.spacing[1:])
    (segment,) = mask.segments
    code = PERIMETER if closed else codes.PATH_LENGTH
    made.append(
        finding(mask, segment, code.meaning, length(world, closed=closed), "mm", code=code,
                uncertainty=edge)
    )  # fmt: skip
    if closed:
        made.append(
            finding(mask, segment, AREA.meaning, area(world, grid), "mm2", code=AREA,
                    uncertainty=edge * length(world, closed=True) / np.sqrt(12))
        )  # fmt: skip
    progress(1.0, "wired")
    return made


def area(points: Float, grid: Grid) -> float:
    """mm2 within a closed contour ``(n, 3)`` LPS mm of one slice: between its pixels' centres."""
    along, across = grid.affine[:3, 2], grid.affine[:3, 1]
    index = grid.to_index(points)[:, 1:]
    y, x = index.T
    cells = 0.5 * abs(float(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1))))
    return cells * float(np.linalg.norm(np.cross(along, across)))
