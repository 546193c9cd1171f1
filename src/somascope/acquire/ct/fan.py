"""`ct.fan`: rays of a view meet in a point source, slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct import geometry
from somascope.acquire.ct.footprint import Footprint
from somascope.acquire.ct.fourier import FourierSlice, for_grid
from somascope.acquire.ct.projectors import PlaneRays
from somascope.acquire.ct.rebin import Fan, Target, target
from somascope.acquire.ct.scan import (
    Model,
    Point,
    SliceScan,
    checked_model,
)
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Grid


class FanScan(SliceScan):
    """Line integrals of a fan turning about the isocentre, flat or curved detector.

    ``domain`` is ``grid.shape``; ``range`` is ``(views, bins)`` for one slice and
    ``(views, nz, bins)`` for a stack of slices that are scanned one by one.

    Parameters
    ----------
    grid
        Slices perpendicular to S.
    angles
        Of the source in radians, ``(views,)``; see `geometry`.
    bins, spacing
        Detector columns; their distance in mm at the detector (along the arc where curved).
    source, detector
        Source to isocentre and source to detector in mm.
    offset
        mm at the detector by which its centre lies off the central ray (half-fan).
    curved
        Columns at equal angles about the source.
    isocentre
        LPS mm.
    projector
        ``joseph``: rays to the middle of each column. ``footprint``: shadows of pixels, averaged
        over the column: slower, better where pixels are coarse.
    """

    kind = "ct.fan"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        bins: int,
        spacing: float,
        source: float,
        detector: float,
        offset: float = 0.0,
        curved: bool = False,
        isocentre: Point = (0.0, 0.0, 0.0),
        projector: Model = "joseph",
    ) -> None:
        self.projector = checked_model(projector)
        super().__init__(grid, angles=angles, bins=bins, spacing=spacing, isocentre=isocentre)
        self.source, self.detector = float(source), float(detector)
        self.offset, self.curved = float(offset), bool(curved)
        if geometry.reach(grid, isocentre) >= source:
            raise GeometryError(
                f"the grid reaches {geometry.reach(grid, isocentre):.0f} mm from the axis, beyond "
                f"the source at {source:.0f} mm; take a smaller grid or a larger distance"
            )
        self._view_vectors = self.views()  # checks the distances
        self._joseph: PlaneRays | None = None
        self._engine: tuple[Grid, Target, FourierSlice] | None = None

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        return {
            "grid": self._grid, "angles": self.angles, "bins": self.bins, "spacing": self.spacing,
            "source": self.source, "detector": self.detector, "offset": self.offset,
            "curved": self.curved, "isocentre": self.isocentre, "projector": self.projector,
        }  # fmt: skip

    def views(self) -> geometry.Views:
        """Source, detector and axes of every view, in the plane of the first slice."""
        return geometry.circular(
            self.angles, rows=1, columns=self.bins, spacing=(1.0, self.spacing),
            source=self.source, detector=self.detector, curved=self.curved,
            shift=self.offset / self.spacing, isocentre=self.isocentre,
        )  # fmt: skip

    def fan(self) -> Fan:
        """What rebinning needs."""
        return Fan(
            self.angles, self.bins, self.spacing, self.offset / self.spacing, self.source,
            self.detector, self.curved,
        )  # fmt: skip

    def _along(self, x: Array) -> Array:
        rays = self._rays()
        return self._as_range([rays.forward(a) for a in x])

    def _back(self, y: Array) -> Array:
        rays = self._rays()
        return np.stack([rays.adjoint(one, self._grid.shape[1:]) for one in self.slices(y)])

    def _shadows(self) -> Footprint:
        return Footprint(
            self._grid, angles=self.angles, heights=np.zeros(len(self.angles)), rows=0,
            columns=self.bins, spacing=(1.0, self.spacing), offset=self.offset, source=self.source,
            detector=self.detector, curved=self.curved, isocentre=self.isocentre, kind=self.kind,
        )  # fmt: skip

    def engine(self, grid: Grid) -> tuple[Target, FourierSlice]:
        """The parallel scan that this one is rebinned to, and its Fourier engine on ``grid``."""
        if self._engine is None or self._engine[0] != grid:
            to = target(self.fan())
            made = for_grid(
                grid, self.isocentre, angles=to.angles, bins=to.bins, spacing=to.spacing, offset=0.0
            )
            self._engine = (grid, to, made)
        return self._engine[1:]

    def _rays(self) -> PlaneRays:
        if self._joseph is None:
            first, down, across = self._plane
            inverse = np.linalg.inv(np.stack([down, across], axis=1))
            ends = [
                (e[:, 0, :, :2] - self.isocentre[:2] - first) @ inverse.T
                for e in self._view_vectors.rays()
            ]
            self._joseph = PlaneRays(ends[0], ends[1], down, across)
        return self._joseph
