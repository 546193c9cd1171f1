"""What scans of one volume share: the grid their image lies on."""

from __future__ import annotations

from somascope.core.grid import Grid


class OnGrid:
    """A scan whose ``domain`` is one volume on a grid."""

    _grid: Grid

    @property
    def grid(self) -> Grid:
        """Where the image is."""
        return self._grid

    @property
    def domain(self) -> tuple[int, ...]:
        """``(nz, ny, nx)``."""
        return self._grid.shape
