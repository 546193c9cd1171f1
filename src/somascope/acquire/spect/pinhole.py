"""`spect.pinhole`: a camera that looks through one small hole, magnified and upside down.

Rays run from every detector pixel through points of the aperture into the body; the image is
sampled along them by trilinear interpolation. The aperture's points make the blur that grows with
distance. A ray weighs ``d^2 p^2 cos^4 / (16 f^2)`` for an aperture of diameter d, pixels p and
focal length f, by which a point's sensitivity falls with the square of its distance and the cube of
the cosine (Anger 1967). The transpose puts back with the same weights, so it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.imagespace import OnGrid
from somascope.acquire.spect.camera import FWHM, Camera, Pinhole, camera_of
from somascope.acquire.spect.orbit import effective_seconds, per_view, toward
from somascope.acquire.spect.parallel import attenuation_on, floating
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

Point = tuple[float, float, float]
_CHUNKS = 8


class PinholeScan(OnGrid):
    """Expected counts of a camera with one pinhole that turns about the S axis.

    ``domain`` is ``grid.shape``, Bq/ml; ``range`` ``(views, rows, columns)``. Row 0 is towards the
    head and column 0 to the left of who looks from the camera, *after* turning the inverted picture
    upright: frames look as those of parallel holes.

    Parameters
    ----------
    grid
        Any grid.
    angles
        Radians, as for `parallel.ParallelScan`.
    radius
        From the axis of rotation to the aperture in mm, one or one per view.
    rows, columns, pixel
        Of the detector; ``pixel`` in mm.
    camera
        Its collimator is a `Pinhole`. Geometry says which share of all photons passes; the
        camera's sensitivity, if given, is that for a source counted from all sides.
    points
        Rays through the aperture: 1 (no blur by it), 7 or 19.
    step
        Along the rays, mm; half the smallest voxel if not given.
    seconds, half_life, begins, mu, isocentre
        As for `parallel.ParallelScan`.
    """

    kind = "spect.pinhole"

    def __init__(
        self,
        *,
        grid: Grid,
        angles: ArrayLike,
        radius: ArrayLike,
        rows: int,
        columns: int,
        pixel: float,
        camera: Camera | Mapping[str, Any],
        points: int = 7,
        step: float | None = None,
        seconds: ArrayLike = 1.0,
        half_life: float | None = None,
        begins: ArrayLike | None = None,
        mu: Array | None = None,
        isocentre: Point = (0.0, 0.0, 0.0),
        resolution: bool = True,
    ) -> None:
        self._grid = grid
        self.angles = per_view(angles, None, "angles")
        views = len(self.angles)
        self.radius = per_view(radius, views, "radius of rotation", positive=True)
        self.rows, self.columns, self.pixel = int(rows), int(columns), float(pixel)
        if min(self.rows, self.columns) < 1 or not self.pixel > 0:
            raise GeometryError(f"the detector has {rows} x {columns} pixels of {pixel} mm")
        self.camera = camera_of(camera)
        if not isinstance(self.camera.collimator, Pinhole):
            raise GeometryError(
                f"{self.kind} looks through a pinhole; {self.camera.collimator.name!r} has "
                "parallel holes: use spect.parallel"
            )
        if len(self.camera.windows) != 1:
            raise GeometryError(f"{self.kind} has one energy window; give the photopeak alone")
        if points not in (1, 7, 19):
            raise ParameterError(f"{points} points of the aperture; choose 1, 7 or 19")
        self.points = points
        self.step = 0.5 * min(grid.spacing) if step is None else float(step)
        if not self.step > 0:
            raise ParameterError(f"the step along the rays is {step} mm; give a positive number")
        self.duration = per_view(seconds, views, "seconds per view", positive=True)
        self.half_life = None if half_life is None else float(half_life)
        if begins is None:
            begins = np.cumsum(self.duration) - self.duration
        self.begins = per_view(begins, views, "begin of views")
        self.seconds = effective_seconds(self.duration, self.half_life, begins=self.begins)
        self.mu = attenuation_on(grid, mu)
        self.isocentre = (float(isocentre[0]), float(isocentre[1]), float(isocentre[2]))
        self.resolution = bool(resolution)

    @property
    def range(self) -> tuple[int, ...]:
        """``(views, rows, columns)``."""
        return (len(self.angles), self.rows, self.columns)

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again."""
        described: dict[str, Any] = {
            "grid": self._grid, "angles": self.angles, "radius": self.radius, "rows": self.rows,
            "columns": self.columns, "pixel": self.pixel, "camera": self.camera.to_json(),
            "points": self.points, "step": self.step, "seconds": self.duration,
            "half_life": self.half_life, "begins": self.begins, "isocentre": self.isocentre,
            "resolution": self.resolution,
        }  # fmt: skip
        return described if self.mu is None else {**described, "mu": self.mu}

    def with_changes(
        self,
        *,
        views: Array | None = None,
        camera: Camera | None = None,
        resolution: bool | None = None,
    ) -> PinholeScan:
        """The same scan with some of its views, another camera, aperture modelled or not."""
        new = self.describe()
        if views is not None:
            for name in ("angles", "radius", "seconds", "begins"):
                new[name] = np.asarray(new[name])[views]
        if camera is not None:
            new["camera"] = camera
        if resolution is not None:
            new["resolution"] = resolution
        return PinholeScan(**new)

    def with_attenuation(self, mu: Array | None) -> PinholeScan:
        """The same scan through a body of attenuation ``mu`` in 1/mm, or without any."""
        return PinholeScan(**{**self.describe(), "mu": mu})

    def forward(self, x: Array) -> Array:
        """Expected counts of ``x`` in Bq/ml."""
        from somascope.acquire.spect.pinhole_kernels import gather

        x = floating(x, self.domain, what="the image")
        out = np.zeros(self.range, x.dtype)
        in_chunks(gather, out.shape[0], np.pad(x, 1), *self._arguments(x.dtype), out)
        return self._crystal(out)

    def adjoint(self, y: Array) -> Array:
        """The transpose of `forward`."""
        from somascope.acquire.spect.pinhole_kernels import scatter

        y = floating(y, self.range, what="the projections")
        views = len(self.angles)
        chunks = max(1, min(views, _CHUNKS))
        shares = np.linspace(0, views, chunks + 1).astype(np.int64)
        out = np.zeros((chunks, *(n + 2 for n in self.domain)), y.dtype)
        in_chunks(scatter, chunks, self._crystal(y), *self._arguments(y.dtype), shares, out)
        return np.ascontiguousarray(out.sum(axis=0)[1:-1, 1:-1, 1:-1])

    def _crystal(self, rows: Array) -> Array:
        """Frames blurred by the crystal; its own transpose."""
        if not self.resolution or self.camera.intrinsic == 0:
            return rows
        from scipy.ndimage import gaussian_filter

        sigma = self.camera.intrinsic / FWHM / self.pixel
        return gaussian_filter(rows, (0, sigma, sigma), mode="constant", truncate=4.0)

    def aperture(self) -> Float:
        """Points ``(n, 2)`` in the aperture's plane, mm: rings of equal area per point."""
        hole = self.camera.collimator
        assert isinstance(hole, Pinhole)
        if self.points == 1 or not self.resolution:
            return np.zeros((1, 2))
        radius, found = hole.effective_aperture / 2, [np.zeros((1, 2))]
        rings = (6,) if self.points == 7 else (6, 12)
        for ring, count in enumerate(rings):
            inner = np.sqrt((1 + 6 * ring * (ring + 1) // 2) / self.points)
            outer = np.sqrt((1 + 6 * (ring + 1) * (ring + 2) // 2) / self.points)
            turn = 2 * np.pi * (np.arange(count) + 0.5 * ring) / count
            middle = radius * np.sqrt((inner**2 + outer**2) / 2)
            found.append(middle * np.stack([np.cos(turn), np.sin(turn)], axis=1))
        return np.concatenate(found)

    def _arguments(self, dtype: Any) -> tuple[Any, ...]:
        hole = self.camera.collimator
        assert isinstance(hole, Pinhole)
        inverse = np.linalg.inv(self._grid.affine)
        away = np.concatenate([toward(self.angles), np.zeros((len(self.angles), 1))], axis=1)
        across = np.stack([-away[:, 1], away[:, 0], np.zeros(len(away))], axis=1)
        centre = np.asarray(self.isocentre) + away * self.radius[:, None]
        gain = self.camera.cps_per_mbq * 1e-6 * hole.effective_aperture**2 / 16 / 1000
        gain *= self.step * self.pixel**2 / hole.focal**2
        passed = np.zeros((0, 0, 0), dtype)
        if self.mu is not None:
            passed = np.pad(self.mu, 1).astype(dtype)
        frames = np.concatenate([centre, away, across], axis=1)
        return (
            passed, frames, inverse, self.aperture(), hole.focal, self.pixel,
            np.cos(np.deg2rad(hole.opening / 2)), self.step,
            (gain * self.seconds).astype(dtype),
        )  # fmt: skip
