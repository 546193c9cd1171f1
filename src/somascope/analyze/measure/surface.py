"""Volume and surface of voxel bodies, by counting what every 2 x 2 x 2 neighbourhood looks like.

There are 256 neighbourhoods. Each has its triangles of marching cubes at one half (Lorensen and
Cline, SIGGRAPH 1987), so the counts give the mesh's area; by Gauss' theorem with the field of
places the counts and the sums of the places they occur at give its volume. No mesh is made.

A mesh of voxels overestimates a smooth surface by some 8 %, however small the voxels are.
`area` is without that: the mean over thirteen directions of how often lattice lines cross the
surface (Crofton; Ohser and Muecklich, Statistical Analysis of Microstructures, Wiley 2000).
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from somascope.core.grid import Array, Float, Grid

DIRECTIONS = np.array(
    [
        (z, y, x)
        for z in (0, 1)
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (z, y, x) > (0, 0, 0)
    ]
)  # fmt: skip
"""The thirteen that lead from a voxel to its 26 neighbours, each way once: ``(z, y, x)``."""


@numba.njit(cache=True)
def _configurations(inside: Array, counts: Array, places: Array) -> None:
    """How often each neighbourhood occurs in a padded volume ``(256,)``, and the sums of where.

    ``places`` is ``(3, 256)``, the sums of z, y and x of the neighbourhood's first voxel.

    Bit ``4 dz + 2 dy + dx`` is the voxel at ``(dz, dy, dx)`` from the neighbourhood's first.
    """
    nz, ny, nx = inside.shape
    for z in range(nz - 1):
        for y in range(ny - 1):
            a, b = inside[z, y], inside[z, y + 1]
            c, d = inside[z + 1, y], inside[z + 1, y + 1]
            code = 0
            for x in range(nx):
                code = ((code & 0xAA) >> 1) | (
                    (a[x] << 1) | (b[x] << 3) | (c[x] << 5) | (d[x] << 7)
                )
                if x and code:
                    counts[code] += 1
                    places[0, code] += z
                    places[1, code] += y
                    places[2, code] += x - 1


@lru_cache(maxsize=1)
def _triangles() -> tuple[Float, Array]:
    """All triangles ``(n, 3, 3)`` of all neighbourhoods in ``(z, y, x)``, and whose they are.

    A neighbourhood and its complement have the same ones, turned over, as Lorensen and Cline have
    them: those of the one without the voxel at (1, 1, 0), which is pyradiomics' choice too.
    """
    from skimage.measure import marching_cubes

    found: list[Array] = []
    owner: list[int] = []
    for code in (c for c in range(1, 255) if not c & 0x40):
        cube = np.array([code >> bit & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        points, faces, _, _ = marching_cubes(cube, 0.5, method="lorensen")
        found += [points[f] for f in faces] + [points[f[::-1]] for f in faces]
        owner += [code] * len(faces) + [255 - code] * len(faces)
    return np.array(found, np.float64), np.array(owner)


@lru_cache(maxsize=64)
def _shares_of(matrix: tuple[tuple[float, ...], ...]) -> tuple[Float, Float, Float]:
    """Of each neighbourhood: area in mm2; what it adds to three volumes per place, and by itself.

    ``(256,)``, ``(3, 256)``, ``(256,)``. The volumes are in voxels, as the determinant of the
    matrix is all that they differ by from those in mm3.
    """
    triangles, owner = _triangles()

    def normals(at: Float) -> Float:
        return np.asarray(0.5 * np.cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]), np.float64)

    def summed(weights: Float) -> Float:
        return np.asarray(np.bincount(owner, weights=weights, minlength=256), np.float64)

    flat = normals(triangles)
    own = (flat * triangles.mean(axis=1)).sum(axis=1)
    area = np.linalg.norm(normals(triangles @ np.array(matrix).T), axis=1)
    return summed(area), np.stack([summed(f) for f in flat.T]), summed(own)


def mesh(inside: Array, grid: Grid) -> tuple[float, float]:
    """Volume in mm3 and area in mm2 of the mesh about a bool volume ``(nz, ny, nx)``.

    Where voxels touch along an edge alone the mesh has an opening. Its volume then depends a little
    on the origin, which is one voxel before the box, as in pyradiomics.
    """
    counts, places = np.zeros(256, np.int64), np.zeros((3, 256), np.int64)
    _configurations(np.pad(inside, 1).view(np.uint8), counts, places)
    area, per_place, own = _shares_of(tuple(map(tuple, grid.affine[:3, :3].tolist())))
    volume = abs(float((per_place * places).sum() + own @ counts)) / 3
    return volume * grid.voxel_volume, float(area @ counts)


@lru_cache(maxsize=64)
def _shares(steps: tuple[tuple[float, ...], ...]) -> Float:
    """Share of the unit sphere that is nearest to each direction or its opposite."""
    from scipy.spatial import SphericalVoronoi

    both = np.concatenate([np.array(steps), -np.array(steps)])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    parts = SphericalVoronoi(both).calculate_areas() / (4 * np.pi)
    return np.asarray(parts[: len(steps)] + parts[len(steps) :])


def area(inside: Array, grid: Grid) -> float:
    """Surface in mm2 of the body whose voxels these are: Crofton's formula in 13 directions."""
    padded = np.pad(inside, 1)
    steps = DIRECTIONS @ grid.affine[:3, :3].T
    lengths = np.linalg.norm(steps, axis=1)
    share = _shares(tuple(tuple(float(v) for v in s) for s in steps))
    total = 0.0
    for direction, weight, length in zip(DIRECTIONS, share, lengths, strict=True):
        here = tuple(
            slice(max(-d, 0), n - max(d, 0)) for d, n in zip(direction, padded.shape, strict=True)
        )
        there = tuple(
            slice(max(d, 0), n - max(-d, 0)) for d, n in zip(direction, padded.shape, strict=True)
        )
        crossings = np.count_nonzero(padded[here] != padded[there])
        total += weight * crossings * grid.voxel_volume / length
    return 2.0 * float(total)


def volume_uncertainty(inside: Array, grid: Grid) -> float:
    """Standard uncertainty in mm3 of the volume by voxel counting, from the voxels' size alone.

    Of every voxel at the surface (inside or outside) the body covers a share that is unknown: even
    from 0 to 1, so its standard deviation is a voxel over the root of twelve, independent of the
    others. What a reader, a filter or a threshold adds is not in it.
    """
    padded = np.pad(inside, 1)
    border = np.zeros(padded.shape, bool)
    for axis in range(3):
        changed = np.diff(padded, axis=axis)
        low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        border[low] |= changed
        border[high] |= changed
    # Each surface voxel is counted with its outer neighbour: one of the two is cut.
    return float(np.sqrt(np.count_nonzero(border) / 2 / 12)) * grid.voxel_volume
