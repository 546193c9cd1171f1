"""A grid as the planes of a DICOM series (PS3.3 C.7.6.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import WriteError
from somascope.core.grid import Float, Grid
from somascope.core.image import Image


@dataclass(frozen=True, eq=False)
class Planes:
    """Orientation, spacing and position of each slice of a grid, in LPS mm.

    ``orientation`` is Image Orientation (Patient): the unit vectors along a row (x rising) and
    along a column (y rising); ``spacing`` is Pixel Spacing (rows apart, columns apart);
    ``positions`` has shape ``(nz, 3)``; ``distance`` is the distance of neighbouring planes along
    their normal; ``right_handed`` says that slices follow the normal.
    """

    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    positions: Float
    distance: float
    right_handed: bool
    upright: bool
    """Whether slices lie exactly behind each other, without tilt."""


def planes(grid: Grid) -> Planes:
    """The planes of ``grid``, in the order of its z axis; nothing is flipped or straightened.

    Raises
    ------
    WriteError
        The rows and columns are not at right angles: no DICOM image can say so.
    """
    z, y, x = grid.affine[:3, :3].T
    _, dy, dx = grid.spacing
    row, column = x / dx, y / dy
    if abs(row @ column) > 1e-4:
        angle = np.degrees(np.arccos(np.clip(row @ column, -1, 1)))
        raise WriteError(
            f"the grid's rows and columns meet at {angle:.3f} degrees; DICOM needs 90; resample "
            "the image to an orthogonal grid first"
        )
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    step = float(z @ normal)
    positions = grid.to_world([(k, 0, 0) for k in range(grid.shape[0])])
    return Planes(
        orientation=tuple(_snap(v) for v in (*row, *column)),
        spacing=(dy, dx),
        positions=positions,
        distance=abs(step),
        right_handed=step > 0,
        upright=bool(np.linalg.norm(z - step * normal) < 1e-4 * abs(step)),
    )


def _snap(value: float) -> float:
    return 0.0 if abs(value) < 1e-13 else float(value)


def is_placed(grid: Grid) -> bool:
    """Whether the grid says more about a 2-D image than its pixel spacing."""
    default = np.diag(grid.spacing)[::-1]
    return (
        grid.shape[0] > 1
        or bool(np.abs(grid.affine[:3, 3]).max() > 1e-9)
        or bool(np.abs(grid.affine[:3, :3] - default).max() > 1e-9)
    )


def thickness(image: Image, place: Planes) -> float:
    """Slice thickness in mm: the scanner's while the slices lie where it put them, else theirs."""
    kept = image.attributes.get("SliceThickness")
    spacing = image.attributes.get("SpacingBetweenSlices")
    try:
        same = spacing is None and not image.provenance.steps
        if spacing is not None:
            same = abs(abs(float(spacing)) - place.distance) < 1e-3 * place.distance
        if kept is not None and same and float(kept) > 0:
            return float(kept)
    except (TypeError, ValueError):
        pass
    return place.distance
