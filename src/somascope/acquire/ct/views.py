"""`ct.views`: any geometry, one source and one detector per view; the base of cone and helix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct.geometry import Views
from somascope.acquire.ct.projectors_volume import project, unproject
from somascope.acquire.ct.scan import RayScan
from somascope.core.grid import Array, Grid


class ViewsScan(RayScan):
    """Line integrals from per-view vectors: Joseph's projector in three dimensions.

    ``domain`` is ``grid.shape``; ``range`` is ``(views, rows, columns)``. The grid may lie in any
    direction. Parameters as in `geometry.Views`.
    """

    kind = "ct.views"

    def __init__(
        self,
        *,
        grid: Grid,
        source: ArrayLike,
        centre: ArrayLike,
        u: ArrayLike,
        v: ArrayLike,
        rows: int,
        columns: int,
        parallel: bool = False,
        curved: bool = False,
        shift: float = 0.0,
    ) -> None:
        super().__init__(grid)
        self._views = Views(
            source=np.asarray(source, np.float64), centre=np.asarray(centre, np.float64),
            u=np.asarray(u, np.float64), v=np.asarray(v, np.float64), rows=int(rows),
            columns=int(columns), parallel=parallel, curved=curved, shift=float(shift),
        )  # fmt: skip

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, rows, columns)``."""
        return len(self._views), self._views.rows, self._views.columns

    def views(self) -> Views:
        """Source, detector and axes of every view."""
        return self._views

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        w = self._views
        return {
            "grid": self._grid, "source": w.source, "centre": w.centre, "u": w.u, "v": w.v,
            "rows": w.rows, "columns": w.columns, "parallel": w.parallel, "curved": w.curved,
            "shift": w.shift,
        }  # fmt: skip

    def _along(self, x: Array) -> Array:
        return project(x, self._grid, self._views)

    def _back(self, y: Array) -> Array:
        return unproject(y, self._grid, self._views)
