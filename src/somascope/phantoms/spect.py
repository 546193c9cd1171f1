"""What SPECT is tested and shown with: a chest with myocardium, and a cylinder of hot rods.

Left cannot be mistaken: the heart points left, with a cold defect, and the cylinder has a small
source at the patient's left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.patient import facts, source, uid

RODS = (6.4, 7.9, 9.5, 11.1, 12.7, 15.9)
"""Diameters in mm of the six sectors of rods, twice that apart."""
CYLINDER = (108.0, 93.0)
"""Radius and half height of the cylinder in mm."""


def spect_grid(
    shape: Sequence[int] = (48, 64, 64), spacing: Sequence[float] = (6.0, 6.0, 6.0), *,
    study: str = "spect",
) -> Grid:  # fmt: skip
    """An axial grid centred on the origin."""
    origin = [-(n - 1) / 2 * d for n, d in zip(shape[::-1], spacing[::-1], strict=True)]
    return Grid.from_spacing(shape, spacing, origin=origin, frame_of_reference=uid("frame", study))


def _attributes(study: str, patient: str, title: str, number: int) -> dict[str, object]:
    return {
        **facts(study, patient, title, number=number, time="090000"),
        "PatientPosition": "HFS",
        "PatientWeight": 75.0,
        "PatientSize": 1.75,
    }


def chest_shapes() -> tuple[list[Ellipsoid], list[Ellipsoid]]:
    """Tissue in HU and activity in Bq/ml, in painting order."""
    e = Ellipsoid
    tissue = [
        e(20, (0, 0, 0), (165, 112, 900)),
        e(-780, (-72, -6, 30), (58, 74, 110)),
        e(-780, (72, -6, 30), (56, 72, 105)),
        e(40, (38, -36, 0), (46, 42, 44)),
        e(700, (0, 78, 0), (20, 18, 900)),
        e(50, (-62, -6, -92), (86, 74, 62)),
    ]
    axis = (38.0, -36.0, 0.0)
    activity = [
        e(6e3, (0, 0, 0), (165, 112, 900)),
        e(2e3, (-72, -6, 30), (58, 74, 110)),
        e(2e3, (72, -6, 30), (56, 72, 105)),
        e(3e4, (-62, -6, -92), (86, 74, 62)),
        # The left ventricle points to the left, the front and the feet; its base is open.
        e(8e4, axis, (44, 33, 33), (-40, 0)),
        e(7e3, (axis[0] - 6, axis[1] + 5, axis[2]), (38, 22, 22), (-40, 0)),
        e(7e3, (axis[0] - 27, axis[1] + 23, axis[2]), (15, 36, 36), (-40, 0)),
        e(1.2e4, (axis[0] + 20, axis[1] - 4, axis[2] - 24), (15, 15, 12)),
    ]
    return tissue, activity


def _averaged(shapes: Sequence[Ellipsoid], grid: Grid, background: float) -> Array:
    """Drawn on voxels a third as wide, averaged."""
    n = 3
    nz, ny, nx = grid.shape
    affine = grid.affine.copy()
    affine[:3, :3] /= n
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, (n - 1) / 2)
    fine = Grid((nz * n, ny * n, nx * n), affine)
    drawn = draw(shapes, fine, background=background)
    return drawn.reshape(nz, n, ny, n, nx, n).mean(axis=(1, 3, 5))


def chest_spect(grid: Grid | None = None) -> Image:
    """Activity of a myocardial perfusion scan in Bq/ml: warm body, liver, left ventricle with a
    defect in its lower wall.
    """
    grid = spect_grid() if grid is None else grid
    return Image(
        data=_averaged(chest_shapes()[1], grid, 0.0),
        grid=grid,
        modality="NM",
        unit="Bq/ml",
        provenance=source("chest_spect"),
        attributes={
            **_attributes("spect", "Phantom^Heart", "Activity", 1),
            "BodyPartExamined": "CHEST",
        },
    )


def chest_spect_ct(grid: Grid | None = None) -> Image:
    """The CT of the same chest in Hounsfield units."""
    grid = spect_grid() if grid is None else grid
    values = _averaged(chest_shapes()[0], grid, -1000.0)
    return Image(
        data=np.rint(values).astype(np.int16),
        grid=grid,
        modality="CT",
        unit="[hnsf'U]",
        provenance=source("chest_spect_ct"),
        attributes={
            **_attributes("spect", "Phantom^Heart", "CT for attenuation", 2),
            "BodyPartExamined": "CHEST",
            "KVP": 120.0,
        },
    )


def rod_centres() -> list[tuple[float, Float]]:
    """Diameter and centres ``(n, 2)`` in (L, P) mm of the rods of each sector."""
    found = []
    for sector, diameter in enumerate(RODS):
        pitch, middle = 2 * diameter, np.deg2rad(30 + 60 * sector)
        points = []
        for row in range(12):
            for k in range(row + 1):
                depth = 12.0 + diameter + row * pitch * np.sqrt(3) / 2
                aside = (k - row / 2) * pitch
                p = np.array(
                    [
                        depth * np.cos(middle) - aside * np.sin(middle),
                        depth * np.sin(middle) + aside * np.cos(middle),
                    ]
                )
                if np.hypot(*p) < CYLINDER[0] - diameter:
                    points.append(p)
        found.append((diameter, np.array(points)))
    return found


def rods_spect(grid: Grid | None = None, *, activity: float = 2e5) -> Image:
    """Hot rods in cold water (after Jaszczak's resolution phantom), Bq/ml.

    Rods in the lower half of the cylinder, even activity of a fifth in the upper half; a small
    source at the cylinder's left side near its head end.
    """
    grid = spect_grid((36, 96, 96), (4.8, 3.0, 3.0), study="rods") if grid is None else grid
    r, h = CYLINDER
    fine = Grid.from_spacing(
        (1, 3 * grid.shape[1], 3 * grid.shape[2]),
        (1.0, grid.spacing[1] / 3, grid.spacing[2] / 3),
        origin=(grid.origin[0] - grid.spacing[2] / 3, grid.origin[1] - grid.spacing[1] / 3, 0.0),
    )
    rods = [
        Ellipsoid(activity, (float(l), float(p), 0.0), (d / 2, d / 2, 9e5))
        for d, centres in rod_centres()
        for l, p in centres
    ]
    even = [Ellipsoid(activity / 5, (0, 0, 0), (r, r, 9e5))]
    ny, nx = grid.shape[1:]

    def plane(shapes: Sequence[Ellipsoid]) -> Array:
        return draw(shapes, fine)[0].reshape(ny, 3, nx, 3).mean(axis=(1, 3))

    z = grid.to_world(np.stack([np.arange(grid.shape[0]), *np.zeros((2, grid.shape[0]))], -1))[:, 2]
    low, high = plane(rods), plane(even)
    data = np.zeros(grid.shape, np.float32)
    data[(z > -h) & (z <= 0)] = low
    data[(z > 0) & (z < h)] = high
    data += draw([Ellipsoid(4 * activity, (r - 12, 0, 0.75 * h), (5, 5, 5))], grid)
    return Image(
        data=data,
        grid=grid,
        modality="NM",
        unit="Bq/ml",
        provenance=source("rods_spect"),
        attributes=_attributes("rods", "Phantom^Rods", "Activity", 1),
    )


def rods_spect_ct(grid: Grid | None = None) -> Image:
    """The water of the cylinder, in Hounsfield units."""
    grid = spect_grid((36, 96, 96), (4.8, 3.0, 3.0), study="rods") if grid is None else grid
    r, h = CYLINDER
    disk = draw([Ellipsoid(1.0, (0, 0, 0), (r, r, 9e5))], grid) > 0
    z = grid.to_world(np.stack([np.arange(grid.shape[0]), *np.zeros((2, grid.shape[0]))], -1))[:, 2]
    inside = disk & (np.abs(z) < h)[:, None, None]
    return Image(
        data=np.where(inside, 0, -1000).astype(np.int16),
        grid=grid,
        modality="CT",
        unit="[hnsf'U]",
        provenance=source("rods_spect_ct"),
        attributes=_attributes("rods", "Phantom^Rods", "CT for attenuation", 2),
    )
