"""Shape of a region in three dimensions, and of one that lies in a single slice."""

from __future__ import annotations

import math

import numba
import numpy as np

from somascope.analyze.measure.outline import hull, planar_diameter
from somascope.analyze.measure.surface import mesh
from somascope.core.grid import Array, Float, Grid


@numba.njit(cache=True)
def _moments(weights: Array, inside: Array) -> tuple[float, Array, Array]:
    """Sum of the weights, mean index ``(z, y, x)`` and second central moments ``(3, 3)``.

    A sum of zero has no mean.
    """
    nz, ny, nx = inside.shape
    total = 0.0
    first, second = np.zeros(3), np.zeros((3, 3))
    at = np.empty(3)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not inside[z, y, x]:
                    continue
                # About the middle of the box, so that little is lost in the difference below.
                w = np.float64(weights[z, y, x])
                at[0], at[1], at[2] = z - 0.5 * nz, y - 0.5 * ny, x - 0.5 * nx
                total += w
                for i in range(3):
                    first[i] += w * at[i]
                    for j in range(i + 1):
                        second[i, j] += w * at[i] * at[j]
    if total == 0:
        return total, first, second
    mean = first / total
    for i in range(3):
        for j in range(i + 1):
            second[i, j] = second[i, j] / total - mean[i] * mean[j]
            second[j, i] = second[i, j]
    return total, mean + 0.5 * np.array([nz, ny, nx], np.float64), second


def _axes(inside: Array, grid: Grid) -> tuple[Float, Float]:
    """Lengths in mm, longest first, of the ellipsoid's axes that has the voxels' covariance.

    With n - 1 in its denominator, as IBSI's reference values are made. And the middle, an index.
    """
    n, middle, spread = _moments(inside, inside)
    matrix = grid.affine[:3, :3]
    values = np.linalg.eigvalsh(matrix @ spread @ matrix.T)[::-1] * n / max(n - 1, 1)
    return 4 * np.sqrt(np.maximum(values, 0)), middle


def ellipsoid_area(a: float, b: float, c: float) -> float:
    """IBSI's approximate surface of an ellipsoid with half axes ``a >= b >= c``.

    The manual's series of 21 Legendre polynomials, which its reference values are made with: some
    per cent below the true surface of a long ellipsoid.
    """
    square = (1 - (b / a) ** 2) * (1 - (c / a) ** 2)
    half = 1 - ((b / a) ** 2 + (c / a) ** 2) / 2
    before, now, total = 0.0, 1.0, 0.0
    for n in range(21):
        total += now / (1 - 4 * n * n)
        # (xy)^n P_n((x^2 + y^2) / 2xy) by the recurrence of P_n, which divides by no zero.
        before, now = now, ((2 * n + 1) * half * now - n * square * before) / (n + 1)
    return 4 * math.pi * a * b * total


def solid(inside: Array, grid: Grid, values: Array, used: Array) -> dict[str, float]:
    """Features of the voxels of ``inside`` (bool, cropped); those ``used`` have ``values``.

    Volume and surface are those of the marching-cubes mesh at one half, diameters those of its
    vertices, axes those of the voxels' centres. Densities compare the mesh with its upright box,
    with the ellipsoid of its axes (AEE) and with its convex hull.
    """
    volume, area = mesh(inside, grid)
    around = hull(inside, grid)
    lengths, middle = _axes(inside, grid)
    major, minor, least = (float(v) for v in lengths)
    ratio = (36 * math.pi * volume**2) ** (1 / 3) / area
    dz, dy, dx = (n * s for n, s in zip(inside.shape, grid.spacing, strict=True))
    box_area = 2 * (dz * dy + dz * dx + dy * dx)
    found = {
        "MeshVolume": volume,
        "VoxelVolume": np.count_nonzero(inside) * grid.voxel_volume,
        "SurfaceArea": area,
        "SurfaceVolumeRatio": area / volume,
        "Compactness1": volume / (math.sqrt(math.pi) * area**1.5),
        "Compactness2": ratio**3,
        "SphericalDisproportion": 1 / ratio,
        "Sphericity": ratio,
        "Asphericity": 1 / ratio - 1,
        "Maximum3DDiameter": around.diameter,
        "Maximum2DDiameterSlice": planar_diameter(inside, grid, axis=0),
        "Maximum2DDiameterColumn": planar_diameter(inside, grid, axis=1),
        "Maximum2DDiameterRow": planar_diameter(inside, grid, axis=2),
        "MajorAxisLength": major,
        "MinorAxisLength": minor,
        "LeastAxisLength": least,
        "Elongation": minor / major if major else math.nan,
        "Flatness": least / major if major else math.nan,
        "VolumeDensityAABB": volume / (dz * dy * dx),
        "AreaDensityAABB": area / box_area,
        "VolumeDensityConvexHull": volume / around.volume,
        "AreaDensityConvexHull": area / around.area,
        "IntegratedIntensity": float(values[used].mean()) * volume,
    }
    if least > 0:
        found["VolumeDensityAEE"] = volume / (math.pi / 6 * major * minor * least)
        found["AreaDensityAEE"] = area / ellipsoid_area(major / 2, minor / 2, least / 2)
    total, heavy, _ = _moments(values, used)
    if total:
        shift = grid.affine[:3, :3] @ (middle - heavy)
        found["CentreOfMassShift"] = float(np.linalg.norm(shift))
    return found


_SQUARES = (
    (), ((0, 1),), ((1, 2),), ((0, 2),), ((3, 2),), ((0, 1), (3, 2)), ((1, 3),), ((3, 0),),
)  # fmt: skip
"""Line pieces of a neighbourhood of 2 x 2 pixels, between the middles of its sides.

Bits: 1 for (0, 0), 2 for (0, 1), 4 for (1, 1), 8 for (1, 0). Sides: 0 left, 1 top, 2 right,
3 bottom. What has bit 8 is that of its complement.
"""
_SIDES = np.array([(0.5, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 0.5)])


def flat(inside: Array, grid: Grid) -> dict[str, float]:
    """Features of a region of one slice ``(1, ny, nx)``: area and outline by marching squares."""
    plane = np.pad(inside[0], 1)
    code = (
        plane[:-1, :-1] * 1 + plane[:-1, 1:] * 2 + plane[1:, 1:] * 4 + plane[1:, :-1] * 8
    )  # fmt: skip
    counts = np.bincount(code.reshape(-1), minlength=16)
    columns = grid.affine[:3, 1:3]
    pixel = float(np.linalg.norm(np.cross(columns[:, 0], columns[:, 1])))
    perimeter, surface = 0.0, 0.0
    for number in range(1, 15):
        pieces = _SQUARES[number if number < 8 else 15 - number]
        length = sum(float(np.linalg.norm(columns @ (_SIDES[b] - _SIDES[a]))) for a, b in pieces)
        perimeter += counts[number] * length
        # Two corners that face each other are two bodies.
        share = 1 / 4 if number in (5, 10) else (1 / 8, 1 / 2, 7 / 8)[number.bit_count() - 1]
        surface += counts[number] * share * pixel
    surface += counts[15] * pixel
    lengths, _ = _axes(inside, grid)
    major, minor = float(lengths[0]), float(lengths[1])
    return {
        "MeshSurface": surface,
        "PixelSurface": np.count_nonzero(inside) * pixel,
        "Perimeter": perimeter,
        "PerimeterSurfaceRatio": perimeter / surface,
        "Sphericity": 2 * math.sqrt(math.pi * surface) / perimeter,
        "MaximumDiameter": planar_diameter(inside, grid, axis=0),
        "MajorAxisLength": major,
        "MinorAxisLength": minor,
        "Elongation": minor / major if major else math.nan,
    }
