"""`CartesianScan`: k-space on a lattice, with coils and a sampling mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.mri import coils as coil
from somascope.acquire.mri import fourier
from somascope.acquire.tensors import is_tensor
from somascope.core import Axis
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid


class CartesianScan:
    """``y = M F P S x``: sensitivities, zero padding, unitary Fourier transform, sampling mask.

    Parameters
    ----------
    grid
        Image space.
    coils
        Number of receive coils; taken from ``sensitivities`` where they are given.
    sensitivities
        Complex ``(coils, nz, ny, nx)`` on the grid. Without them every coil sees the image alike.
    mask
        Sampled positions, bool ``(kz, ky, kx)`` of the matrix (or broadcasting to it, such as
        ``(ky, 1)`` for skipped phase encodings; or with the leading axes in front); default all.
    matrix
        Size of the encoded matrix ``(kz, ky, kx)`` where the encoded field is larger than the
        image (readout oversampling), voxel size the same; default the grid's shape.
    dimensions
        3 where z is phase encoded too, 2 where slices are excited one by one. Default 2 for
        ``nz = 1``, else 3.
    leading
        Axes in front that repeat the scan, by name with their coordinates: ``{"echo": [5, 10]}``
        (ms), ``t`` (s), ``b`` (s/mm2), or counts.

    Notes
    -----
    ``domain`` is ``(*leading, nz, ny, nx)``, ``range`` is ``(*leading, coils, kz, ky, kx)``, both
    complex. DC is at index ``n // 2`` of every encoded axis, and so is the centre of the image.
    Positions outside the mask are zero in ``forward`` and ignored in ``adjoint``.

    Source: Pruessmann et al. 1999 (SENSE), Magn Reson Med 42:952.
    """

    kind = "mri.cartesian"

    def __init__(
        self,
        grid: Grid,
        *,
        coils: int | None = None,
        sensitivities: Array | None = None,
        mask: Array | None = None,
        matrix: tuple[int, int, int] | None = None,
        dimensions: int | None = None,
        leading: coil.Leading | None = None,
    ) -> None:
        self.grid = grid
        self.sensitivities = coil.check_sensitivities(sensitivities, grid, coils)
        self.coils = coil.count_coils(coils, self.sensitivities)
        self.axes: tuple[Axis, ...] = coil.leading_axes(leading)
        self.dimensions = (2 if grid.shape[0] == 1 else 3) if dimensions is None else dimensions
        if self.dimensions not in (2, 3):
            raise ParameterError(f"dimensions is {dimensions}; give 2 or 3 encoded axes")
        self.matrix: tuple[int, ...] = (
            grid.shape if matrix is None else tuple(int(n) for n in matrix)
        )
        if len(self.matrix) != 3 or any(
            m < n for m, n in zip(self.matrix, grid.shape, strict=True)
        ):
            raise GeometryError(
                f"the encoded matrix {self.matrix} does not hold the image {grid.shape}; give "
                "(kz, ky, kx), at least the grid's size (a smaller k-space is one with a mask)"
            )
        if self.dimensions == 2 and self.matrix[0] != grid.shape[0]:
            raise GeometryError(
                f"{self.matrix[0]} encoded planes for {grid.shape[0]} slices, and z is not encoded"
            )
        self.mask = self._checked(mask)
        self._devices: dict[str, Any] = {}

    def _checked(self, mask: Array | None) -> Array | None:
        if mask is None:
            return None
        mask = np.asarray(mask)
        if mask.dtype.kind not in "bui" or not np.isin(mask, (0, 1)).all():
            raise GeometryError("the sampling mask holds other values than 0 and 1; give booleans")
        leading = tuple(len(a.values) for a in self.axes)
        goal = self.matrix if mask.ndim <= 3 else (*leading, *self.matrix)
        try:
            full = np.broadcast_to(mask, goal)
        except ValueError as error:
            raise GeometryError(
                f"the sampling mask has shape {mask.shape} for a k-space of {goal}; give one "
                "entry per position, or 1 where an axis is sampled alike"
            ) from error
        if not full.any():
            raise GeometryError("the sampling mask is empty; mark at least one sampled position")
        kept = np.array(full, bool)
        kept.setflags(write=False)
        return kept

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image, ``(*leading, nz, ny, nx)``."""
        return (*(len(a.values) for a in self.axes), *self.grid.shape)

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the k-space, ``(*leading, coils, kz, ky, kx)``."""
        return (*(len(a.values) for a in self.axes), self.coils, *self.matrix)

    @property
    def encoded(self) -> tuple[int, ...]:
        """The axes that are Fourier transformed, counted from the end."""
        return (-2, -1) if self.dimensions == 2 else (-3, -2, -1)

    def forward(self, x: Array) -> Array:
        """k-space of an image; a torch tensor gives one (`mri.gpu`)."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        parts = coil.spread(x, self.sensitivities, self.coils)
        return self.sampled(
            fourier.to_kspace(fourier.padded(parts, self.matrix), axes=self.encoded)
        )

    def adjoint(self, y: Array) -> Array:
        """Coil-combined image of a k-space, zeros where nothing was sampled."""
        if is_tensor(y):
            return self._tensor(y).adjoint(y)
        return coil.combine(self.coil_images(y), self.sensitivities)

    def _tensor(self, x: Any) -> Any:
        """The scan where a tensor lies; its tables are made once per device."""
        from somascope.acquire import gpu
        from somascope.acquire.mri.gpu import Cartesian

        if not gpu.on_device(x):
            return gpu.ThroughNumPy(self)
        key = str(x.device)
        if key not in self._devices:
            self._devices[key] = Cartesian(self, x.device)
        return self._devices[key]

    def coil_images(self, y: Array) -> Array:
        """Image of each coil ``(*leading, coils, nz, ny, nx)`` from zero-filled k-space."""
        y = np.asarray(y)
        y = self.sampled(y.astype(np.result_type(y.dtype, np.complex64), copy=False))
        return fourier.cropped(fourier.to_image(y, axes=self.encoded), self.grid.shape)

    def sampled(self, y: Array) -> Array:
        """``y`` with zeros where the mask is not set."""
        return y if self.mask is None else y * self.mask[..., None, :, :, :]

    def describe(self) -> dict[str, Any]:
        """Keyword arguments that make it again."""
        return {
            "grid": self.grid,
            "coils": self.coils,
            "sensitivities": self.sensitivities,
            "mask": self.mask,
            "matrix": tuple(self.matrix),
            "dimensions": self.dimensions,
            "leading": coil.described(self.axes),
        }

    def with_sensitivities(self, sensitivities: Array | None) -> CartesianScan:
        """The same scan with other coil maps ``(coils, nz, ny, nx)``."""
        return CartesianScan(**{**self.describe(), "sensitivities": sensitivities})
