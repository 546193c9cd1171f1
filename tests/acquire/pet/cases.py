"""A small body in a small scanner, in closed form and in voxels."""

from __future__ import annotations

import numpy as np

from somascope.acquire.pet.scanner import TINY
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Grid, Image
from somascope.phantoms import Ellipsoid, draw, line_integrals
from somascope.phantoms.patient import facts, source

FRAME = "1.2.826.0.1.3680043.8.498.7"
GRID = Grid.from_spacing(
    (9, 48, 48), (4.0, 4.0, 4.0), origin=(-94.0, -94.0, -16.0), frame_of_reference=FRAME
)
FLAT = TINY.without_tof()

BODY = Ellipsoid(5000.0, (0, 0, 0), (70, 60, 200))
HOT = Ellipsoid(20000.0, (32, 0, 0), (14, 14, 200))
COLD = Ellipsoid(0.0, (-32, 10, 0), (16, 16, 200))
ACTIVITY = [BODY, HOT, COLD]
WATER = [Ellipsoid(0.096, (0, 0, 0), (70, 60, 200)), Ellipsoid(0.026, (-32, 10, 0), (16, 16, 200))]


def image(shapes: list[Ellipsoid], unit: str, modality: str = "PT", grid: Grid = GRID) -> Image:
    return Image(
        draw(shapes, grid), grid, modality, unit, provenance=source("cylinder"),
        attributes={**facts("pet_line", "Phantom^Cylinder", "Activity"), "PatientWeight": 70.0},
    )  # fmt: skip


def activity(grid: Grid = GRID) -> Image:
    return image(ACTIVITY, "Bq/ml", grid=grid)


def mu(grid: Grid = GRID) -> Image:
    return image(WATER, "/cm", "CT", grid=grid)


def within(shape: Ellipsoid, margin: float, grid: Grid = GRID) -> np.ndarray:
    """Voxels inside a shape, ``margin`` mm from its edge, away from the ends of the scanner."""
    small = Ellipsoid(
        1.0, shape.centre, (shape.radii[0] - margin, shape.radii[1] - margin, shape.radii[2])
    )
    found = draw([small], grid) > 0
    found[:2] = found[-2:] = False
    return found


def quiet(grid: Grid = GRID) -> np.ndarray:
    """A large region of the body away from both inserts."""
    return within(Ellipsoid(1.0, (4, -32, 0), (36, 18, 200)), 0.0, grid)


def exact(scan: SinogramScan, shapes: list[Ellipsoid]) -> np.ndarray:
    """Closed-form line integrals, ``(plane, angle, radial)``."""
    first, second = scan.endpoints()
    return line_integrals(shapes, first, second)
