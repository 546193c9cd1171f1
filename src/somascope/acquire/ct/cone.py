"""`ct.cone` and `ct.helical`: a point source and a detector with rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct import geometry
from somascope.acquire.ct.footprint import Footprint
from somascope.acquire.ct.projectors_volume import project, unproject
from somascope.acquire.ct.rebin import Fan
from somascope.acquire.ct.scan import Model, Point, RayScan, checked_model
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid


class ConeScan(RayScan):
    """Line integrals of a cone turning about the axis through the isocentre along S.

    ``domain`` is ``grid.shape``, any grid; ``range`` is ``(views, rows, columns)``. Row 0 is the
    lowest in S.

    Parameters
    ----------
    grid
        The image space.
    angles
        Of the source in radians, ``(views,)``; see `geometry`.
    rows, columns
        Of the detector.
    spacing
        Distance of rows and of columns in mm at the detector (along the arc where curved).
    source, detector
        Source to isocentre and source to detector in mm.
    offset
        mm at the detector by which its centre lies off the central ray along the columns.
    curved
        A cylinder about the source instead of a flat panel.
    isocentre
        LPS mm.
    projector
        ``joseph``: rays to the middle of each element. ``footprint``: shadows of voxels, averaged
        over the element (axial grids only): slower, better where voxels are coarse.
    """

    kind = "ct.cone"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        rows: int,
        columns: int,
        spacing: tuple[float, float],
        source: float,
        detector: float,
        offset: float = 0.0,
        curved: bool = False,
        isocentre: Point = (0.0, 0.0, 0.0),
        projector: Model = "joseph",
    ) -> None:
        self.projector = checked_model(projector)
        super().__init__(grid)
        self.angles = geometry.checked_angles(angles)
        self.rows, self.columns = int(rows), int(columns)
        self.spacing = (float(spacing[0]), float(spacing[1]))
        if min(self.spacing) <= 0:
            raise GeometryError(f"the detector's spacing is {self.spacing} mm; give positive ones")
        self.source, self.detector = float(source), float(detector)
        self.offset, self.curved = float(offset), bool(curved)
        self.isocentre = (float(isocentre[0]), float(isocentre[1]), float(isocentre[2]))
        reach = geometry.reach(grid, self.isocentre)
        if reach >= self.source:
            raise GeometryError(
                f"the grid reaches {reach:.0f} mm from the axis, beyond the source at "
                f"{self.source:.0f} mm; take a smaller grid or a larger distance"
            )
        self._views = geometry.circular(
            self.angles, rows=self.rows, columns=self.columns, spacing=self.spacing,
            source=self.source, detector=self.detector, curved=self.curved,
            shift=self.offset / self.spacing[1], isocentre=self.isocentre, heights=self.heights(),
        )  # fmt: skip

    def heights(self) -> Float:
        """S of the source above the isocentre in mm, per view."""
        return np.zeros(len(self.angles))

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, rows, columns)``."""
        return len(self.angles), self.rows, self.columns

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        return {
            "grid": self._grid, "angles": self.angles, "rows": self.rows, "columns": self.columns,
            "spacing": self.spacing, "source": self.source, "detector": self.detector,
            "offset": self.offset, "curved": self.curved, "isocentre": self.isocentre,
            "projector": self.projector,
        }  # fmt: skip

    def views(self) -> geometry.Views:
        """Source, detector and axes of every view."""
        return self._views

    def fan(self) -> Fan:
        """The fan in the plane of the source."""
        return Fan(
            self.angles, self.columns, self.spacing[1], self.offset / self.spacing[1], self.source,
            self.detector, self.curved,
        )  # fmt: skip

    def _along(self, x: Array) -> Array:
        return project(x, self._grid, self._views)

    def _back(self, y: Array) -> Array:
        return unproject(y, self._grid, self._views)

    def _shadows(self) -> Footprint:
        return Footprint(
            self._grid, angles=self.angles, heights=self.heights(), rows=self.rows,
            columns=self.columns, spacing=self.spacing, offset=self.offset, source=self.source,
            detector=self.detector, curved=self.curved, isocentre=self.isocentre, kind=self.kind,
        )  # fmt: skip


class HelicalScan(ConeScan):
    """A cone on a helix: the table moves while the source turns.

    Parameters
    ----------
    pitch
        mm along S per turn of 2 pi; negative moves down.
    start
        S of the source over the isocentre in mm at angle 0.

    The others as in `ConeScan`.
    """

    kind = "ct.helical"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        rows: int,
        columns: int,
        spacing: tuple[float, float],
        source: float,
        detector: float,
        pitch: float,
        start: float = 0.0,
        offset: float = 0.0,
        curved: bool = True,
        isocentre: Point = (0.0, 0.0, 0.0),
        projector: Model = "joseph",
    ) -> None:
        if not np.isfinite(pitch) or pitch == 0:
            raise GeometryError(f"pitch is {pitch} mm per turn; without advance take ct.cone")
        self.pitch, self.start = float(pitch), float(start)
        super().__init__(
            grid=grid, angles=angles, rows=rows, columns=columns, spacing=spacing, source=source,
            detector=detector, offset=offset, curved=curved, isocentre=isocentre,
            projector=projector,
        )  # fmt: skip

    def heights(self) -> Float:
        """S of the source above the isocentre in mm, per view."""
        return self.start + self.pitch * self.angles / (2 * np.pi)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        return {**super().describe(), "pitch": self.pitch, "start": self.start}
