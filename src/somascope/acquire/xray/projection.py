"""`Projection`: cone beam views of a volume, the operator of every X-ray room measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from somascope.acquire.imagespace import OnGrid
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid


class Projection(OnGrid):
    """Line integrals from a focal spot to every pixel of a flat detector, one or several views.

    ``forward`` takes values per mm on ``grid`` and gives their integrals, ``(nv, ny, nx)``; the
    value is taken as linear between voxel centres (Joseph 1982) and as zero outside. Float32 and
    float64 are computed in their own precision.

    Parameters
    ----------
    grid
        The volume; oblique and anisotropic grids are fine.
    sources
        Focal spots ``(nv, 3)``, LPS mm.
    origins
        Centres of pixel (0, 0) ``(nv, 3)``, LPS mm.
    rows, columns
        Steps to the next row (down) and the next column (right) ``(nv, 3)``, mm.
    shape
        Detector pixels ``(ny, nx)``, the same for all views.

    Raises
    ------
    GeometryError
        Differing numbers of views, a detector without extent, a source in the detector plane.
    """

    kind = "xray.projection"

    def __init__(
        self,
        *,
        grid: Grid,
        sources: Float,
        origins: Float,
        rows: Float,
        columns: Float,
        shape: tuple[int, int],
    ) -> None:
        self._grid = grid
        ny, nx = (int(n) for n in shape)
        if min(ny, nx) < 1:
            raise GeometryError(f"the detector has {ny} x {nx} pixels; give at least one each way")
        named = {"sources": sources, "origins": origins, "rows": rows, "columns": columns}
        given = {k: np.array(v, np.float64, ndmin=2) for k, v in named.items()}
        count = len(given["sources"])
        for name, array in given.items():
            if array.shape != (count, 3) or not np.isfinite(array).all():
                raise GeometryError(
                    f"{name} has shape {array.shape} or values that are not finite; give "
                    f"({count}, 3) LPS mm, one row for each of the {count} views"
                )
        self.sources, self.origins = given["sources"], given["origins"]
        self.rows, self.columns = given["rows"], given["columns"]
        self.shape = (ny, nx)
        normals = np.cross(self.rows, self.columns)
        distance = np.einsum("vi,vi->v", normals, self.sources - self.origins)
        if (np.abs(distance) < 1e-9).any():
            view = int(np.argmin(np.abs(distance)))
            raise GeometryError(
                f"view {view}: the source lies in the plane of the detector, or its pixels have no "
                "extent; move the source away from the detector"
            )

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, rows, columns)``."""
        return (len(self.sources), *self.shape)

    def describe(self) -> dict[str, Any]:
        """What makes it again."""
        return {
            "grid": self._grid,
            "sources": self.sources,
            "origins": self.origins,
            "rows": self.rows,
            "columns": self.columns,
            "shape": list(self.shape),
        }

    def pixels(self, view: int) -> Float:
        """Centres of the pixels of one view, ``(ny, nx, 3)`` LPS mm."""
        ny, nx = self.shape
        y, x = np.arange(ny)[:, None, None], np.arange(nx)[None, :, None]
        return self.origins[view] + y * self.rows[view] + x * self.columns[view]

    def detector(self, view: int) -> Grid:
        """The detector of one view as a grid of one slice, its normal pointing to the source."""
        row, column = self.rows[view], self.columns[view]
        normal = np.cross(column, row)
        normal /= np.linalg.norm(normal)
        if normal @ (self.sources[view] - self.origins[view]) < 0:
            normal = -normal
        affine = np.eye(4)
        affine[:3] = np.stack([normal, row, column, self.origins[view]], axis=1)
        return Grid((1, *self.shape), affine, self._grid.frame_of_reference)

    def distances(self, view: int) -> tuple[float, float]:
        """Source to detector plane and source to the plane through the volume's centre, mm.

        Both are measured along the detector's normal.
        """
        normal = self.detector(view).direction[:, 0]
        centre = self._grid.to_world((np.array(self._grid.shape) - 1) / 2)
        source = self.sources[view]
        return (
            float(normal @ (source - self.origins[view])),
            float(normal @ (source - centre)),
        )

    def view(self, *views: int) -> Projection:
        """The same scan with some of its views alone."""
        keep = list(views)
        return Projection(
            grid=self._grid, sources=self.sources[keep], origins=self.origins[keep],
            rows=self.rows[keep], columns=self.columns[keep], shape=self.shape,
        )  # fmt: skip

    def forward(self, x: Array) -> Array:
        """Integrals along all rays, ``(nv, ny, nx)``, in value times mm."""
        from somascope.acquire.xray import kernels

        dtype = _working(x)
        if tuple(x.shape) != self.domain:
            raise GeometryError(f"the volume is {x.shape}, the scan's grid {self.domain}")
        volume = np.ascontiguousarray(x, dtype)
        box = kernels.occupied(volume)
        out = np.zeros(self.range, dtype)
        if (box[:, 1] < box[:, 0]).any():
            return out
        padded = np.empty(box[:, 1] - box[:, 0] + 3, dtype)
        kernels.framed(volume, box, padded)
        geometry = self._indexed(box[:, 0])
        kernels.forward(padded.reshape(-1), np.array(padded.shape), *geometry, out)
        return out

    def adjoint(self, y: Array) -> Array:
        """The transpose: every ray spread over the voxels it was made from, ``domain``."""
        import numba

        from somascope.acquire.xray import kernels

        dtype = _working(y)
        if tuple(y.shape) != self.range:
            raise GeometryError(f"the views are {y.shape}, the scan measures {self.range}")
        shape = tuple(n + 2 for n in self.domain)
        out = np.zeros(shape, dtype)
        rays = np.ascontiguousarray(y, dtype)
        slabs = 2 * numba.get_num_threads()
        geometry = self._indexed()
        kernels.adjoint(rays, np.array(shape), *geometry, out.reshape(-1), slabs)
        return np.ascontiguousarray(out[1:-1, 1:-1, 1:-1])

    def _indexed(
        self, first: Sequence[int] | Array = (0, 0, 0)
    ) -> tuple[Float, Float, Float, Float, Float]:
        """Gram matrix, and the geometry in indices of the padded box that begins at ``first``."""
        shift = 1.0 - np.asarray(first, np.float64)
        linear = self._grid.affine[:3, :3]
        inverse = np.linalg.inv(linear)
        return (
            linear.T @ linear,
            self._grid.to_index(self.sources) + shift,
            self._grid.to_index(self.origins) + shift,
            np.ascontiguousarray(self.rows @ inverse.T),
            np.ascontiguousarray(self.columns @ inverse.T),
        )


def _working(array: Array) -> type[np.floating]:
    return np.float64 if array.dtype == np.float64 else np.float32
