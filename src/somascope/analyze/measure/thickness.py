"""`analyze.thickness`: local thickness, the largest ball that fits and holds a point.

Hildebrand and Rueegsegger, "A new method for the model-independent assessment of thickness in
three-dimensional images" (J Microscopy 185 (1997) 67-75). Balls are centred on voxels and halfway
between them, so that a wall of an even number of voxels is not told too thin.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import Chosen, finding, regions
from somascope.core import QUIET, Grid, Image, Mask, Measurement, Progress, Provenance, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.distance import distance
from somascope.process.resample import resample_to, with_spacing

_NAME = "analyze.thickness"

MOST = 200_000_000
"""Points that balls may be centred on."""


@numba.njit(cache=True)
def _ridge(radius: Array, edge: float) -> Array:
    """Flat indices of balls that no neighbour's ball holds; ``edge`` of the lattice in mm."""
    nz, ny, nx = radius.shape
    found = np.empty(radius.size, np.int64)
    n = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                r = radius[z, y, x]
                if r <= 0:
                    continue
                inner = False
                for dz in range(-1, 2):
                    for dy in range(-1, 2):
                        for dx in range(-1, 2):
                            c, b, a = z + dz, y + dy, x + dx
                            if not (0 <= c < nz and 0 <= b < ny and 0 <= a < nx):
                                continue
                            away = edge * math.sqrt(dz * dz + dy * dy + dx * dx)
                            if away > 0 and radius[c, b, a] >= r + away * 0.999:
                                inner = True
                if not inner:
                    found[n] = (z * ny + y) * nx + x
                    n += 1
    return found[:n]


@numba.njit(cache=True)
def _paint(balls: Array, radius: Array, edge: float, inside: Array, out: Array) -> None:
    """The largest radius of the balls that hold each voxel; voxels are every second point."""
    nz, ny, nx = radius.shape
    for k in range(balls.size):
        at = balls[k]
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        r = radius[z, y, x]
        # A voxel belongs to a ball that reaches half across it.
        reach = (r + edge) / edge
        n = int(reach)
        for c in range(max(z - n + 1, 0) // 2 * 2, min(z + n + 1, nz), 2):
            for b in range(max(y - n + 1, 0) // 2 * 2, min(y + n + 1, ny), 2):
                for a in range(max(x - n + 1, 0) // 2 * 2, min(x + n + 1, nx), 2):
                    if not inside[c // 2, b // 2, a // 2]:
                        continue
                    away = (c - z) ** 2 + (b - y) ** 2 + (a - x) ** 2
                    if away <= reach * reach and out[c // 2, b // 2, a // 2] < r:
                        out[c // 2, b // 2, a // 2] = r


def local_thickness(inside: Array, edge: float) -> Array:
    """Thickness in mm, float32 ``(nz, ny, nx)``, of cubic voxels ``edge`` mm wide; 0 outside.

    The surface is taken to lie halfway between voxels inside and outside: right for walls at any
    angle to a tenth of a voxel, while a ball comes out a voxel's edge too thin, as the one voxel
    nearest to its middle stops it. A region of one slice is measured in its plane.
    """
    flat = inside.shape[0] == 1
    pad = ((0, 0) if flat else (1, 1), (1, 1), (1, 1))
    padded = np.pad(inside, pad)
    shape = tuple(2 * n - 1 for n in padded.shape)
    if math.prod(shape) > MOST:
        raise ParameterError(
            f"{_NAME}: a segment of {'x'.join(map(str, inside.shape))} voxels is too large; "
            "resample the mask to larger voxels"
        )
    # A point between voxels is outside where all that it lies between are.
    points = np.zeros(shape, bool)
    points[::2, ::2, ::2] = padded
    for axis in range(3):
        along = np.moveaxis(points, axis, 0)
        along[1::2] = along[:-1:2] | along[2::2]
    half = edge / 2
    radius = np.asarray(distance(points, (half, half, half)), np.float32) - np.float32(half)
    out = np.zeros(padded.shape, np.float32)
    _paint(_ridge(radius, half), radius, half, padded, out)
    return 2 * out[tuple(slice(a, n - b) for (a, b), n in zip(pad, padded.shape, strict=True))]


@operation(_NAME)
def thickness(
    mask: Mask, *, segment: Chosen = 0, progress: Progress = QUIET
) -> list[Image | Measurement]:
    """Measure how thick every segment is at each of its voxels.

    The thickness at a voxel is the diameter of the largest ball within the segment that holds it.
    The image, float32 in mm on the mask's grid, is followed by mean, standard deviation, fifth
    percentile and maximum of each segment. Voxels that are no cubes are resampled to their
    shortest edge first. The uncertainty is that of two surfaces, each anywhere within a voxel.
    """
    nearest = np.zeros(mask.grid.shape, np.float32)
    found: list[Measurement] = []
    for region in progress.over(regions(mask, segment=segment), "segments"):
        inside, grid = _cubic(region.inside, region.grid)
        edge = min(grid.spacing[1:])
        made = local_thickness(inside, edge)
        values = made[inside].astype(np.float64)
        if grid is not region.grid:
            made = resample_to(Image(made, grid), region.grid, order="nearest").data
        box = region.box(nearest)
        np.maximum(box, np.where(region.inside, made, 0), out=box)
        spread = edge * math.sqrt(2 / 12)
        rows = [
            ("Mean", values.mean(), spread), ("Standard deviation", values.std(), None),
            ("5th percentile", np.percentile(values, 5), spread),
            ("Maximum", values.max(), spread),
        ]  # fmt: skip
        found += [
            finding(
                mask, region.segment, name, float(value), "mm",
                code=codes.derived(codes.WALL_THICKNESS, name), uncertainty=u,
            )
            for name, value, u in rows
        ]  # fmt: skip
    image = Image(
        nearest, mask.grid, "OT", "mm",
        provenance=Provenance(mask.provenance.sources, mask.provenance.steps),
        attributes=dict(mask.attributes),
    )  # fmt: skip
    return [image, *found]


def _cubic(inside: Array, grid: Grid) -> tuple[Array, Grid]:
    """The region on cubic voxels; as it is where its voxels are cubes to one per cent."""
    dz, dy, dx = grid.spacing
    flat = inside.shape[0] == 1
    edges = (dy, dx) if flat else (dz, dy, dx)
    if max(edges) < 1.01 * min(edges):
        return inside, grid
    around = grid.moved(start=(-1, -1, -1), shape=[n + 2 for n in inside.shape], step=(1, 1, 1))
    edge = min(edges)
    fine = with_spacing(around, (dz if flat else edge, edge, edge))
    padded = Image(np.pad(inside, 1).astype(np.float32), around)
    if flat:
        padded = Image(padded.data[1:2], grid.moved(
            start=(0, -1, -1), shape=(1, *padded.shape[1:]), step=(1, 1, 1)
        ))  # fmt: skip
        fine = with_spacing(padded.grid, (dz, edge, edge))
    return resample_to(padded, fine, order="linear").data >= 0.5, fine
