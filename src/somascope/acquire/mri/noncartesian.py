"""`NonCartesianScan`: k-space along any trajectory (radial, spiral, ...), with coils."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from somascope.acquire.mri import coils as coil
from somascope.acquire.mri.lane_nufft import LaneNUFFT
from somascope.acquire.nufft import NUFFT, Toeplitz, check_points
from somascope.acquire.tensors import is_tensor
from somascope.core import Axis
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Grid


class NonCartesianScan:
    """``y = F S x`` with a non-uniform Fourier transform.

    Parameters
    ----------
    grid
        Image space.
    trajectory
        Where the samples lie, in **cycles per field of view** along the grid's own axes, array
        order: ``(..., 2)`` holds ``(ky, kx)``, ``(..., 3)`` holds ``(kz, ky, kx)``. The field of
        view is voxels times spacing, so Nyquist is ``n / 2``; from 1/m multiply by the field in
        m, from rad/m by that over 2 pi. Usual shape: ``(shots, readout, d)``.
    coils, sensitivities, leading
        As for `CartesianScan`.
    density
        Density compensation, one weight per sample, shape ``trajectory.shape[:-1]``. It is no part
        of ``forward`` and ``adjoint``; gridding and preconditioned reconstructions use it.
    tolerance
        Relative accuracy of the transform.

    Notes
    -----
    ``domain`` is ``(*leading, nz, ny, nx)``; ``range`` is ``(*leading, coils, *samples)`` where
    ``samples = trajectory.shape[:-1]``, and for a two-dimensional trajectory on a grid with
    ``nz > 1`` (slices excited one by one) ``(*leading, coils, nz, *samples)``. The transform is
    scaled by ``1 / sqrt(voxels)``, so that on lattice points it agrees with `CartesianScan`.
    """

    kind = "mri.noncartesian"

    def __init__(
        self,
        grid: Grid,
        *,
        trajectory: Array,
        coils: int | None = None,
        sensitivities: Array | None = None,
        density: Array | None = None,
        tolerance: float = 1e-4,
        leading: coil.Leading | None = None,
    ) -> None:
        self.grid = grid
        trajectory = np.asarray(trajectory)
        if trajectory.ndim < 2 or trajectory.shape[-1] not in (2, 3):
            raise GeometryError(
                f"trajectory has shape {trajectory.shape}; give (..., 2) for ky, kx or (..., 3) "
                "for kz, ky, kx, in cycles per field of view"
            )
        self.dimensions = int(trajectory.shape[-1])
        self.plane = grid.shape[-self.dimensions :]
        self.trajectory = check_points(trajectory, self.plane)
        self.trajectory.setflags(write=False)
        self.sensitivities = coil.check_sensitivities(sensitivities, grid, coils)
        self.coils = coil.count_coils(coils, self.sensitivities)
        self.axes: tuple[Axis, ...] = coil.leading_axes(leading)
        self.tolerance = float(tolerance)
        self.density = self._checked(density)
        self._transform: NUFFT | None = None
        self._lanes: LaneNUFFT | None = None
        self._devices: dict[str, Any] = {}

    def _checked(self, density: Array | None) -> Array | None:
        if density is None:
            return None
        density = np.array(density, np.float64)
        if density.shape != self.trajectory.shape[:-1]:
            raise GeometryError(
                f"density has shape {density.shape} for a trajectory of "
                f"{self.trajectory.shape[:-1]} samples; give one weight per sample"
            )
        if not np.isfinite(density).all() or density.min() < 0 or density.max() == 0:
            raise GeometryError("density has negative, infinite or only zero weights")
        density.setflags(write=False)
        return density

    @property
    def slices(self) -> bool:
        """Whether slices were excited one by one."""
        return self.dimensions == 2 and self.grid.shape[0] > 1

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image, ``(*leading, nz, ny, nx)``."""
        return (*(len(a.values) for a in self.axes), *self.grid.shape)

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the samples, ``(*leading, coils, [nz,] *samples)``."""
        planes = self.grid.shape[:1] if self.slices else ()
        leading = (len(a.values) for a in self.axes)
        return (*leading, self.coils, *planes, *self.trajectory.shape[:-1])

    @property
    def transform(self) -> NUFFT:
        """The transform of one plane or volume; its plans are made with the first use."""
        if self._transform is None:
            self._transform = NUFFT(self.trajectory, self.plane, tolerance=self.tolerance)
        return self._transform

    @property
    def scale(self) -> float:
        """Factor that makes the transform unitary on lattice points."""
        return 1 / math.sqrt(math.prod(self.plane))

    @property
    def lanes(self) -> LaneNUFFT | None:
        """The transform of all coils at once, where there are several and the size suits it."""
        maps = self.sensitivities
        usable = not self.slices and LaneNUFFT.fits(self.plane, self.coils, self.tolerance)
        if self._lanes is None and maps is not None and usable:
            self._lanes = LaneNUFFT(
                self.trajectory, maps[:, 0], tolerance=self.tolerance, scale=self.scale
            )
        return self._lanes

    def forward(self, x: Array) -> Array:
        """Samples of an image; a torch tensor gives one (`mri.gpu`)."""
        if is_tensor(x):
            return self._tensor(x).forward(x)
        x = np.asarray(x)
        if x.dtype in (np.complex64, np.float32) and self.lanes is not None:
            planes = x.astype(np.complex64, copy=False).reshape(-1, *self.plane)
            return np.stack([self.lanes.forward(p) for p in planes]).reshape(self.range)
        parts = coil.spread(x, self.sensitivities, self.coils)
        if not self.slices and self.dimensions == 2:
            parts = parts[..., 0, :, :]
        y = self.transform.forward(parts)
        y *= self.scale
        return y

    def adjoint(self, y: Array) -> Array:
        """Coil-combined sum of the samples' waves (not density compensated)."""
        if is_tensor(y):
            return self._tensor(y).adjoint(y)
        y = np.asarray(y)
        if y.dtype in (np.complex64, np.float32) and self.lanes is not None:
            parts = y.reshape(-1, self.coils, *self.trajectory.shape[:-1])
            return np.stack([self.lanes.adjoint(p) for p in parts]).reshape(self.domain)
        return coil.combine(self.coil_images(y), self.sensitivities)

    def _tensor(self, x: Any) -> Any:
        """The scan where a tensor lies; its tables are made once per device."""
        from somascope.acquire import gpu
        from somascope.acquire.mri.gpu import NonCartesian

        if not gpu.on_device(x):
            return gpu.ThroughNumPy(self)
        key = str(x.device)
        if key not in self._devices:
            self._devices[key] = NonCartesian(self, x.device)
        return self._devices[key]

    def coil_images(self, y: Array) -> Array:
        """Adjoint transform of each coil, ``(*leading, coils, nz, ny, nx)``."""
        x = self.transform.adjoint(np.asarray(y))
        x *= self.scale
        return x.reshape((*x.shape[: -self.dimensions], *self.grid.shape[: 3 - self.dimensions],
                          *self.plane)) if not self.slices else x  # fmt: skip

    def gram(self, *, weights: Array | None = None, dtype: str = "complex64") -> Toeplitz:
        """``F^H W F`` of one coil as a convolution, for iterative reconstruction."""
        return Toeplitz(
            self.trajectory, self.plane, weights=weights, scale=self.scale**2, dtype=dtype
        )

    def describe(self) -> dict[str, Any]:
        """Keyword arguments that make it again."""
        return {
            "grid": self.grid,
            "trajectory": self.trajectory,
            "coils": self.coils,
            "sensitivities": self.sensitivities,
            "density": self.density,
            "tolerance": self.tolerance,
            "leading": coil.described(self.axes),
        }

    def with_sensitivities(self, sensitivities: Array | None) -> NonCartesianScan:
        """The same scan with other coil maps ``(coils, nz, ny, nx)``; the plans are kept."""
        made = NonCartesianScan(**{**self.describe(), "sensitivities": sensitivities})
        made._transform = self._transform
        return made
