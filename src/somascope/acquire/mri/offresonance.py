"""Off-resonance: long readouts along trajectories, with the field map in the model.

Where the field is off by ``f`` (Hz), the signal turns by ``exp(2 pi i f t)`` during the readout and
a spiral blurs. The turning is split into a few segments of time, ``exp(2 pi i f t) = sum_l b_l(t)
exp(2 pi i f t_l)``, so that each is one ordinary transform (Noll et al. 1991); the interpolators
``b_l`` are the least-squares ones over the histogram of ``f`` (Sutton, Noll, Fessler 2003).
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import numpy as np

from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.results import Part, image_of
from somascope.acquire.mri.sense import Maps, with_maps
from somascope.acquire.solvers import cgls
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Grid


class OffResonanceScan:
    """`NonCartesianScan` whose signal also turns with the local field.

    Parameters
    ----------
    field
        Off-resonance in Hz on the grid, ``(nz, ny, nx)``; positive turns the phase forwards, as
        `acquire.mri.b0` gives it.
    times
        Seconds after excitation of each sample, shape ``trajectory.shape[:-1]`` or broadcasting
        to it.
    segments
        Number of time segments; default as many as the product of field range and duration needs.
    grid, trajectory, coils, sensitivities, density, tolerance
        As for `NonCartesianScan`.
    """

    kind = "mri.offresonance"

    def __init__(
        self,
        grid: Grid,
        *,
        trajectory: Array,
        field: Array,
        times: Array,
        segments: int | None = None,
        coils: int | None = None,
        sensitivities: Array | None = None,
        density: Array | None = None,
        tolerance: float = 1e-4,
    ) -> None:
        self.scan = NonCartesianScan(
            grid, trajectory=trajectory, coils=coils, sensitivities=sensitivities,
            density=density, tolerance=tolerance,
        )  # fmt: skip
        self.grid = grid
        if self.scan.slices:
            raise GeometryError("off-resonance of slices excited one by one: take each by itself")
        self.field = np.asarray(field, np.float64)
        if self.field.shape != grid.shape or not np.isfinite(self.field).all():
            raise GeometryError(
                f"the field map has shape {self.field.shape} (or values that are not finite) for "
                f"an image of {grid.shape}; resample it to the image's grid"
            )
        try:
            self.times = np.broadcast_to(np.asarray(times, np.float64), trajectory.shape[:-1])
        except ValueError as error:
            raise GeometryError(
                f"times have shape {np.shape(times)} for samples {trajectory.shape[:-1]}; give one "
                "per sample, or per readout position"
            ) from error
        first, last = float(self.times.min()), float(self.times.max())
        turns = float(np.ptp(self.field)) * (last - first)
        self.segments = max(3, 2 + int(np.ceil(2.5 * turns))) if segments is None else int(segments)
        if self.segments < 2:
            raise ParameterError(f"segments is {segments}; give at least 2")
        self.at = np.linspace(first, last, self.segments)

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.scan.domain

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the samples."""
        return self.scan.range

    @cached_property
    def weights(self) -> Array:
        """Interpolators ``(segments, *samples)``, complex64."""
        counts, edges = np.histogram(self.field, bins=200)
        f = (edges[:-1] + edges[1:]) / 2
        share = counts / counts.sum()
        basis = np.exp(2j * np.pi * np.outer(f, self.at))
        gram = basis.conj().T @ (share[:, None] * basis) + 1e-9 * np.eye(self.segments)
        moments, where = np.unique(self.times, return_inverse=True)
        wanted = np.exp(2j * np.pi * np.outer(f, moments))
        b = np.linalg.solve(gram, basis.conj().T @ (share[:, None] * wanted))
        return b[:, where.ravel()].reshape(self.segments, *self.times.shape).astype(np.complex64)

    def _turn(self, l: int, dtype: Any) -> Array:
        return np.exp(2j * np.pi * self.field * self.at[l]).astype(dtype)

    def forward(self, x: Array) -> Array:
        """Samples of an image."""
        x = np.asarray(x)
        x = x.astype(np.result_type(x.dtype, np.complex64), copy=False)
        y = np.zeros(self.range, x.dtype)
        for l, b in enumerate(self.weights):
            y += b.astype(x.dtype) * self.scan.forward(x * self._turn(l, x.dtype))
        return y

    def adjoint(self, y: Array) -> Array:
        """Adjoint of `forward`."""
        y = np.asarray(y)
        y = y.astype(np.result_type(y.dtype, np.complex64), copy=False)
        x = np.zeros(self.domain, y.dtype)
        for l, b in enumerate(self.weights):
            part = self.scan.adjoint(b.conj().astype(y.dtype) * y)
            x += self._turn(l, y.dtype).conj() * part
        return x

    def describe(self) -> dict[str, Any]:
        """Keyword arguments that make it again."""
        described = self.scan.describe()
        del described["leading"]
        return {**described, "field": self.field, "times": self.times, "segments": self.segments}


@operation("acquire.mri.offresonance")
def offresonance(
    acquisition: Acquisition,
    field: Image,
    *,
    duration: Annotated[
        float | None,
        Param("Readout duration; none: sample times of the raw data", unit="ms", minimum=0.0),
    ] = None,
    delay: Annotated[
        float, Param("Time from excitation to the first sample", unit="ms", minimum=0.0)
    ] = 0.0,
    iterations: Annotated[int, Param("Conjugate gradient steps", minimum=1, maximum=200)] = 20,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a scan along a trajectory with its field map, which removes the blurring.

    Raises
    ------
    UnitError
        The field map is not in Hz.
    GeometryError
        It lies on another grid than the scan.
    """
    scan = with_maps(acquisition, "acquire.mri.offresonance", maps=maps)
    if not isinstance(scan, NonCartesianScan) or scan.axes or scan.slices:
        raise ParameterError("acquire.mri.offresonance takes one image measured along a trajectory")
    if field.unit != "Hz":
        raise UnitError(f"the field map is in {field.unit!r}; give it in Hz (acquire.mri.b0)")
    if not field.grid.allclose(scan.grid, tolerance_mm=0.1):
        raise GeometryError(
            f"the field map lies on {field.grid}, the scan on {scan.grid}; resample it first"
        )
    if duration is not None:
        times = delay / 1000 + np.linspace(0, duration / 1000, scan.trajectory.shape[-2])
    elif "times" in acquisition.calibration:
        times = acquisition.calibration["times"]
    else:
        raise ParameterError(
            "acquire.mri.offresonance needs the sample times: give duration, or raw data with times"
        )
    model = OffResonanceScan(
        scan.grid, trajectory=scan.trajectory, field=field.data, times=times,
        sensitivities=scan.sensitivities, density=scan.density, tolerance=scan.tolerance,
    )  # fmt: skip
    # The density as a weight on both sides makes few steps enough.
    weight = _root(scan)
    found = cgls(
        _Weighted(model, weight), acquisition.samples.astype(np.complex64) * weight,
        iterations=iterations, progress=progress,
    )  # fmt: skip
    return image_of(acquisition, found.x, part=part)


def _root(scan: NonCartesianScan) -> Array:
    from somascope.acquire.mri.gridding import density

    weights = density(scan) if scan.density is None else scan.density
    return np.sqrt(weights / weights.max()).astype(np.float32)


class _Weighted:
    """``W A`` with a weight per sample."""

    def __init__(self, scan: OffResonanceScan, weight: Array) -> None:
        self.scan, self.weight = scan, weight
        self.domain, self.range = scan.domain, scan.range

    def forward(self, x: Array) -> Array:
        return self.weight * self.scan.forward(x)

    def adjoint(self, y: Array) -> Array:
        return self.scan.adjoint(self.weight * y)
