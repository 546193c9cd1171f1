"""A scan that fits an image: how many detector elements, and how far a helix must go."""

from __future__ import annotations

from typing import Literal

import numpy as np

from somascope.acquire.ct import geometry
from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core.errors import GeometryError
from somascope.core.grid import Grid

Layout = Literal["parallel", "fan", "cone", "helical"]


def arrange(
    grid: Grid,
    layout: Layout,
    *,
    views: int,
    arc: float | None = None,
    start: float = 0.0,
    bins: int | None = None,
    rows: int | None = None,
    spacing: float | None = None,
    offset: float = 0.0,
    curved: bool = True,
    source: float = 570.0,
    detector: float = 1040.0,
    pitch: float = 0.9,
    isocentre: tuple[float, float, float] | None = None,
) -> ParallelScan | FanScan | ConeScan | HelicalScan:
    """The scan of ``grid`` in one of four layouts; what is not given covers the image.

    Parameters
    ----------
    grid
        Of the image, axial.
    layout
        Of the rays.
    views, arc, start
        Number (per turn for a helix), their arc and the first angle in degrees.
    bins, rows
        Of the detector.
    spacing, offset
        Of columns (and rows), and of the detector's centre, in mm at the isocentre.
    curved, source, detector
        As in `FanScan`; mm.
    pitch
        Table feed per turn over the detector's height at the isocentre.
    isocentre
        LPS mm; the grid's centre if not given.
    """
    nz, ny, nx = grid.shape
    middle = grid.to_world([(nz - 1) / 2, (ny - 1) / 2, (nx - 1) / 2])
    l, p, s = middle if isocentre is None else isocentre
    centre = (float(l), float(p), float(s))
    step = min(grid.spacing[1:]) if spacing is None else spacing
    # Half-fan: the far side covers the image, so the near side may do without.
    radius = geometry.reach(grid, centre)
    turn = np.deg2rad((180.0 if layout == "parallel" else 360.0) if arc is None else arc)
    angles = np.deg2rad(start) + np.arange(views) * (turn / views)
    if layout == "parallel":
        count = 2 * int(np.ceil((radius + abs(offset)) / step)) + 2 if bins is None else bins
        return ParallelScan(
            grid=grid, angles=angles, bins=count, spacing=step, offset=offset, isocentre=centre
        )
    if radius >= 0.98 * source:
        raise GeometryError(
            f"the image reaches {radius:.0f} mm from the axis; a source at {source:.0f} mm does "
            "not go around it: give a larger source distance, or crop the image"
        )
    enlarge = detector / source
    gamma = np.arcsin(radius / source)
    half = detector * (gamma if curved else np.tan(gamma)) / enlarge
    count = 2 * int(np.ceil((half - abs(offset)) / step)) + 2 if bins is None else bins
    common = {
        "grid": grid, "source": source, "detector": detector, "offset": offset * enlarge,
        "curved": curved, "isocentre": centre,
    }  # fmt: skip
    if layout == "fan":
        return FanScan(angles=angles, bins=count, spacing=step * enlarge, **common)
    z = grid.to_world([[-0.5, 0, 0], [nz - 0.5, 0, 0]])[:, 2] - centre[2]
    tall = float(np.abs(z).max())
    element = (step * enlarge, step * enlarge)
    if layout == "cone":
        lines = 2 * int(np.ceil(tall * source / (source - radius) / step)) + 2
        return ConeScan(
            angles=angles, rows=lines if rows is None else rows, columns=count, spacing=element,
            **common,
        )  # fmt: skip
    lines = 64 if rows is None else rows
    feed = pitch * lines * step
    # Every slice is seen through half a turn and the fan, from both sides of its own height.
    spare = 0.5 * lines * step * (1 + radius / source) + 0.5 * feed
    first, last = (z.min() - spare) / feed, (z.max() + spare) / feed
    turns = np.arange(int(np.floor(first * views)), int(np.ceil(last * views)) + 1) / views
    return HelicalScan(
        angles=np.deg2rad(start) + 2 * np.pi * turns, rows=lines, columns=count, spacing=element,
        pitch=feed, start=-feed * start / 360.0, **common,
    )  # fmt: skip
