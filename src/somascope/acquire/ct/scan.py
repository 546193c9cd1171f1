"""What all CT scans share: an image space, rays view by view, and tensors."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct import geometry
from somascope.acquire.ct.footprint import Footprint
from somascope.acquire.ct.geometry import Views
from somascope.acquire.imagespace import OnGrid
from somascope.acquire.tensors import is_tensor
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid

Point = tuple[float, float, float]


def floating(values: Array, shape: tuple[int, ...], *, what: str) -> Array:
    """``values`` as contiguous float32, or float64 where they are; of ``shape``, or an error."""
    values = np.asarray(values)
    if values.shape != tuple(shape):
        raise GeometryError(f"{what} has shape {values.shape}; this scan needs {tuple(shape)}")
    kind = np.float64 if values.dtype == np.float64 else np.float32
    return np.ascontiguousarray(values, kind)


Model: TypeAlias = Literal["joseph", "footprint"]
"""Sums along rays; or the shadows of voxels, averaged over detector elements (`footprint`)."""


def checked_model(projector: str) -> Model:
    """``projector``, or an error that names what there is."""
    if projector not in get_args(Model):
        raise ParameterError(f"no projector {projector!r}; choose joseph or footprint")
    return cast("Model", projector)


class RayScan(OnGrid):
    """A scan on a grid whose rays are sums through the image.

    A subclass has ``range``, ``views()``, the two sums along rays of checked arrays, ``_along`` and
    ``_back``, and ``_shadows`` where it offers footprints. `forward` and `adjoint` take arrays and
    torch tensors (float32): those on CUDA are projected there and stay there, and gradients flow
    through both.
    """

    stacked = False
    """Whether slices are scanned one by one: detector row k sees slice k alone."""

    projector: str = "joseph"

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._footprint: Footprint | None = None
        self._devices: dict[str, Any] = {}

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the samples, views first."""
        raise NotImplementedError

    def views(self) -> Views:
        """Source, detector and axes of every view."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        """Line integrals ``range`` of ``x`` (nz, ny, nx) in 1/mm."""
        return self._tensor(x).forward(x) if is_tensor(x) else self._project(x)

    def adjoint(self, y: Array) -> Array:
        """The transpose of `forward`."""
        return self._tensor(y).adjoint(y) if is_tensor(y) else self._unproject(y)

    def _project(self, x: Array) -> Array:
        x = floating(x, self.domain, what="the image")
        if self.projector == "footprint":
            return self._by_footprint().forward(x).reshape(self.range)
        return self._along(x)

    def _unproject(self, y: Array) -> Array:
        y = floating(y, self.range, what="the sinogram")
        if self.projector == "footprint":
            return self._by_footprint().adjoint(y.reshape(self.range[0], -1, self.range[-1]))
        return self._back(y)

    def _along(self, x: Array) -> Array:
        raise NotImplementedError

    def _back(self, y: Array) -> Array:
        raise NotImplementedError

    def _shadows(self) -> Footprint:
        raise NotImplementedError

    def _by_footprint(self) -> Footprint:
        if self._footprint is None:
            self._footprint = self._shadows()
        return self._footprint

    def _tensor(self, x: Any) -> Any:
        """The projector where a tensor lies; its tables are made once per device."""
        from somascope.acquire import gpu

        if not gpu.on_device(x):
            return gpu.ThroughNumPy(self)
        key = str(x.device)
        if key not in self._devices:
            self._devices[key] = self._on(x.device)
        return self._devices[key]

    def _on(self, device: Any) -> Any:
        """The projector on a GPU: sums along rays (Joseph)."""
        if self.projector == "footprint":
            raise ParameterError(
                "this scan projects by footprints, which have no GPU kernel; make it with "
                "projector='joseph', or give a NumPy array"
            )
        from somascope.acquire.ct.gpu import Rays

        return Rays(self._grid, self.views(), self.range, stacked=self.stacked, device=device)


class SliceScan(RayScan):
    """A scan of axial slices, one by one, with rays in their planes.

    ``domain`` is ``grid.shape``; ``range`` is ``(views, bins)`` for one slice and
    ``(views, nz, bins)`` for a stack.
    """

    kind = ""
    stacked = True

    def __init__(
        self, grid: Grid, *, angles: ArrayLike, bins: int, spacing: float, isocentre: Point
    ) -> None:
        if bins < 1 or not spacing > 0:
            raise GeometryError(
                f"the detector has {bins} bins of {spacing} mm; give positive numbers"
            )
        super().__init__(grid)
        self.angles = geometry.checked_angles(angles)
        self.bins, self.spacing = int(bins), float(spacing)
        self.isocentre = (float(isocentre[0]), float(isocentre[1]), float(isocentre[2]))
        self._plane = geometry.plane(grid, isocentre, kind=self.kind)

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, bins)``, or ``(views, nz, bins)`` for a stack."""
        nz = self._grid.shape[0]
        views = len(self.angles)
        return (views, self.bins) if nz == 1 else (views, nz, self.bins)

    def slices(self, y: Array) -> Array:
        """Samples as ``(nz, views, bins)``."""
        return y[None] if y.ndim == 2 else np.ascontiguousarray(y.swapaxes(0, 1))

    def _as_range(self, slices: list[Array]) -> Array:
        """Sinograms slice by slice, as the samples are laid out."""
        return slices[0] if len(slices) == 1 else np.stack(slices, axis=1)
