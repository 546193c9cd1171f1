"""Filtered back projection: line integrals to an image in Hounsfield units."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ct import geometry
from somascope.acquire.ct.choices import Cutoff, FieldOfView, Kernel, MuWater, Size, Unit
from somascope.acquire.ct.cone import HelicalScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.filters import filtered, rfft
from somascope.acquire.ct.fourier import FourierSlice
from somascope.acquire.ct.helical import Helix
from somascope.acquire.ct.hounsfield import calibrated, chosen_mu_water
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.rebin import rebin
from somascope.core import QUIET, Acquisition, Grid, Image, Progress, operation
from somascope.core.errors import GeometryError, UnitError
from somascope.core.grid import Array, Float


def parallel_fbp(
    sinogram: Array,
    engine: FourierSlice,
    angles: Float,
    *,
    kernel: Kernel = "ram-lak",
    cutoff: float = 1.0,
) -> Array:
    """Invert the Radon transform: ``(slices, views, bins)`` line integrals to mu in 1/mm.

    The filtered spectra are summed at the pixels by one non-uniform FFT per slice: projections are
    interpolated by their own trigonometric series, exact to the tolerance, where linear
    interpolation would blur (Natterer 2001, 5.1).

    Returns
    -------
    array
        ``(slices, ny, nx)``, the precision of ``sinogram``.
    """
    spare = engine.length - engine.bins
    share = geometry.angular_weights(angles).astype(sinogram.dtype)[:, None]
    out = np.empty((len(sinogram), *engine.shape), sinogram.dtype)
    every = np.full(engine.frequency.shape, 1 / engine.length)
    for k, views in enumerate(sinogram):
        # The filter's tails beyond the detector are kept: nothing ends abruptly.
        rows = filtered(
            views * share, engine.spacing, kernel=kernel, cutoff=cutoff, first=-(spare // 2),
            count=engine.length,
        )  # fmt: skip
        out[k] = engine.spread(rfft(rows, engine.length), every, first=-(spare // 2))
    return out


def line_integrals(acquisition: Acquisition, *, operation_name: str) -> Array:
    """The samples as floating line integrals; refuses counts and values that are not finite."""
    if acquisition.unit != "1":
        raise UnitError(
            f"{operation_name} needs line integrals (unit 1) but the samples are in "
            f"{acquisition.unit!r}; acquire.ct.normalise corrects counts with the flat field and "
            "takes the logarithm"
        )
    samples = np.asarray(acquisition.samples)
    if samples.dtype.kind not in "fiu":
        raise UnitError(f"{operation_name}: line integrals are real; these are {samples.dtype}")
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise UnitError(
            f"{operation_name}: {bad} samples are not finite (dead pixels, or the logarithm of "
            "nothing); correct defective pixels first"
        )
    return samples.astype(np.float32, copy=False)


def target_grid(grid: Grid, *, size: int | None, field_of_view: float | None) -> Grid:
    """The scan's grid, or ``size`` square pixels over ``field_of_view`` mm about its centre."""
    if size is None and field_of_view is None:
        return grid
    nz, ny, nx = grid.shape
    _, dy, dx = grid.spacing
    n = max(ny, nx) if size is None else size
    side = max(ny * dy, nx * dx) if field_of_view is None else field_of_view
    affine = grid.affine.copy()
    affine[:3, 1] *= side / n / dy
    affine[:3, 2] *= side / n / dx
    middle = grid.to_world([0, (ny - 1) / 2, (nx - 1) / 2])
    affine[:3, 3] = middle - (affine[:3, 1] + affine[:3, 2]) * (n - 1) / 2
    return Grid((nz, n, n), affine, grid.frame_of_reference)


def outside(grid: Grid, isocentre: tuple[float, float, float], radius: float) -> Array:
    """Pixels ``(ny, nx)`` farther than ``radius`` mm from the axis: no view saw all of them."""
    first, down, across = geometry.plane(grid, isocentre, kind="the scan")
    y, x = np.ogrid[: grid.shape[1], : grid.shape[2]]
    l, p = (first[i] + y * down[i] + x * across[i] for i in (0, 1))
    return l * l + p * p > radius * radius


def as_image(
    acquisition: Acquisition,
    mu: Array,
    grid: Grid,
    *,
    kernel: str,
    water: float,
    unit: str,
) -> Image:
    """The calibrated image of an acquisition, with its patient, study and history."""
    data, code, facts = calibrated(mu, water, unit=unit)
    return Image(
        data=np.ascontiguousarray(data, np.float32),
        grid=grid,
        modality=acquisition.modality,
        unit=code,
        provenance=acquisition.provenance,
        attributes={**acquisition.attributes, **facts, "ConvolutionKernel": kernel.upper()},
    )


def _parallel(
    acquisition: Acquisition, scan: ParallelScan, grid: Grid, *, kernel: Kernel, cutoff: float,
    progress: Progress,
) -> Array:  # fmt: skip
    sinogram = scan.slices(line_integrals(acquisition, operation_name="acquire.ct.fbp"))
    engine = (scan if grid == scan.grid else scan.with_changes(grid=grid)).engine()
    mu = np.empty(grid.shape, np.float32)
    for k in progress.over(range(grid.shape[0]), "back projecting"):
        one = sinogram[k : k + 1]
        mu[k] = parallel_fbp(one, engine, scan.angles, kernel=kernel, cutoff=cutoff)[0]
    radius = (scan.bins - 1) / 2 * scan.spacing - abs(scan.offset)
    mu[:, outside(grid, scan.isocentre, radius)] = 0
    return mu


def fan_fbp(
    sinogram: Array, scan: FanScan, grid: Grid, *, kernel: Kernel = "ram-lak", cutoff: float = 1.0
) -> Array:
    """Rebin a fan to parallel rays and invert: ``(slices, views, bins)`` to mu in 1/mm.

    Full, short and half-fan scans, flat or curved detectors; see `rebin`.
    """
    to, engine = scan.engine(grid)
    lines = rebin(sinogram, scan.fan(), to)
    return parallel_fbp(lines, engine, to.angles, kernel=kernel, cutoff=cutoff)


def _fan(
    acquisition: Acquisition, scan: FanScan, grid: Grid, *, kernel: Kernel, cutoff: float,
    progress: Progress,
) -> Array:  # fmt: skip
    sinogram = scan.slices(line_integrals(acquisition, operation_name="acquire.ct.fbp"))
    mu = np.empty(grid.shape, np.float32)
    for k in progress.over(range(grid.shape[0]), "rebinning and back projecting"):
        mu[k] = fan_fbp(sinogram[k : k + 1], scan, grid, kernel=kernel, cutoff=cutoff)[0]
    to = scan.engine(grid)[0]
    mu[:, outside(grid, scan.isocentre, (to.bins - 1) / 2 * to.spacing)] = 0
    return mu


def _helical(
    acquisition: Acquisition, scan: HelicalScan, grid: Grid, *, kernel: Kernel, cutoff: float,
    progress: Progress,
) -> Array:  # fmt: skip
    data = line_integrals(acquisition, operation_name="acquire.ct.fbp")
    engine = Helix(scan, kernel=kernel, cutoff=cutoff)
    mu = engine.volume(data, grid, progress=progress)
    mu[:, outside(grid, scan.isocentre, engine.radius)] = 0
    return mu


@operation("acquire.ct.fbp")
def fbp(
    acquisition: Acquisition,
    *,
    kernel: Kernel = "ram-lak",
    cutoff: Cutoff = 1.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a parallel, fan or helical CT scan by filtered back projection.

    Line integrals in, an image in Hounsfield units out, on the scan's grid (LPS mm) or on ``size``
    pixels over ``field_of_view`` about its centre. Pixels that not every view saw become air.
    """
    scan: Any = acquisition.operator
    water = chosen_mu_water(mu_water, acquisition.calibration)
    kind = getattr(scan, "kind", type(scan).__name__)
    how = {ParallelScan: _parallel, FanScan: _fan, HelicalScan: _helical}.get(type(scan))
    if how is None:
        raise GeometryError(
            f"acquire.ct.fbp reconstructs ct.parallel, ct.fan and ct.helical; this is a {kind} "
            "scan (cone beams: acquire.ct.fdk)"
        )
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    mu = how(acquisition, scan, grid, kernel=kernel, cutoff=cutoff, progress=progress)
    return as_image(acquisition, mu, grid, kernel=kernel, water=water, unit=unit)
