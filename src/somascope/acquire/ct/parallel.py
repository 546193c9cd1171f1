"""`ct.parallel`: all rays of a view have one direction (synchrotrons, rebinned fans)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct import geometry
from somascope.acquire.ct.filters import rfft
from somascope.acquire.ct.fourier import FourierSlice, for_grid
from somascope.acquire.ct.projectors import PlaneRays
from somascope.acquire.ct.scan import Point, SliceScan
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid


class ParallelScan(SliceScan):
    """Line integrals along parallel rays, slice by slice.

    ``domain`` is ``grid.shape``; ``range`` is ``(views, bins)`` for one slice and
    ``(views, nz, bins)`` for a stack, where detector row k sees slice k. Values are attenuation in
    1/mm and line integrals without unit.

    Parameters
    ----------
    grid
        Slices perpendicular to S.
    angles
        Radians, ``(views,)``; see `geometry` for where 0 is.
    bins, spacing
        Of the detector; ``spacing`` in mm.
    offset
        mm by which the detector's centre lies off the axis of rotation: bin ``j`` sees
        ``s = (j - (bins - 1) / 2) spacing + offset``.
    isocentre
        The axis of rotation, LPS mm.
    projector
        ``fourier``: band-limited image, averaged over the bin, through the non-uniform FFT; fast.
        ``joseph``: rays through bin centres with linear interpolation.
    """

    kind = "ct.parallel"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        bins: int,
        spacing: float,
        offset: float = 0.0,
        isocentre: Point = (0.0, 0.0, 0.0),
        projector: Literal["fourier", "joseph"] = "fourier",
    ) -> None:
        if projector not in ("fourier", "joseph"):
            raise ParameterError(f"no projector {projector!r}; choose fourier or joseph")
        super().__init__(grid, angles=angles, bins=bins, spacing=spacing, isocentre=isocentre)
        self.offset = float(offset)
        self.projector = projector
        self._fourier: FourierSlice | None = None
        self._joseph: PlaneRays | None = None

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        return {
            "grid": self._grid, "angles": self.angles, "bins": self.bins, "spacing": self.spacing,
            "offset": self.offset, "isocentre": self.isocentre, "projector": self.projector,
        }  # fmt: skip

    def with_changes(
        self,
        *,
        grid: Grid | None = None,
        angles: ArrayLike | None = None,
        bins: int | None = None,
        offset: float | None = None,
        projector: Literal["fourier", "joseph"] | None = None,
    ) -> ParallelScan:
        """The same scan on another grid, with other angles, cut detector, or other projector."""
        new = {"grid": grid, "angles": angles, "bins": bins, "offset": offset,
               "projector": projector}  # fmt: skip
        return ParallelScan(
            **{**self.describe(), **{k: v for k, v in new.items() if v is not None}}
        )

    def views(self) -> geometry.Views:
        """Source, detector and axes of every view; the rows are the slices."""
        dz = self._grid.spacing[0]
        middle = self._grid.to_world([(self._grid.shape[0] - 1) / 2, 0, 0])[2]
        return geometry.circular(
            self.angles, rows=self._grid.shape[0], columns=self.bins, spacing=(dz, self.spacing),
            shift=self.offset / self.spacing,
            isocentre=(self.isocentre[0], self.isocentre[1], middle),
        )  # fmt: skip

    def _along(self, x: Array) -> Array:
        if self.projector == "joseph":
            rays = self._rays()
            return self._as_range([rays.forward(one) for one in x])
        engine, factor = self.engine(), self._factor()
        return self._as_range([engine.sample(one, factor) for one in x])

    def _back(self, y: Array) -> Array:
        y = self.slices(y)
        if self.projector == "joseph":
            rays = self._rays()
            return np.stack([rays.adjoint(one, self._grid.shape[1:]) for one in y])
        engine, factor = self.engine(), self._factor()
        return np.stack(
            [engine.spread(rfft(one, engine.length), factor, limited=True) for one in y]
        )

    def engine(self) -> FourierSlice:
        """The Fourier engine of this scan, its plans kept."""
        if self._fourier is None:
            self._fourier = for_grid(
                self._grid, self.isocentre, angles=self.angles, bins=self.bins,
                spacing=self.spacing, offset=self.offset,
            )  # fmt: skip
        return self._fourier

    def _factor(self) -> Float:
        """What each frequency of a projection is multiplied with."""
        engine = self.engine()
        return engine.aperture * (engine.pixel / (engine.length * engine.spacing))

    def _on(self, device: Any) -> Any:
        if self.projector == "joseph":
            return super()._on(device)
        from somascope.acquire.ct.slices.gpu import Slices

        return Slices(
            self.engine(), self._factor(), shape=self.domain, samples=self.range, device=device
        )

    def _rays(self) -> PlaneRays:
        if self._joseph is None:
            across, ray = geometry.frame(self.angles)
            s = (np.arange(self.bins) - (self.bins - 1) / 2) * self.spacing + self.offset
            middle = across[:, None, :2] * s[:, None]
            half = geometry.reach(self._grid, self.isocentre) * ray[:, None, :2]
            first, down, across = self._plane
            inverse = np.linalg.inv(np.stack([down, across], axis=1))
            ends = [(middle + side * half - first) @ inverse.T for side in (-1, 1)]
            self._joseph = PlaneRays(ends[0], ends[1], down, across)
        return self._joseph
