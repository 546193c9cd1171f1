"""GRAPPA: skipped phase encodings from their neighbours in all coils, and its noise map."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.mri import grappa_kernel
from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.fourier import cropped, to_image, to_kspace
from somascope.acquire.mri.results import image_of
from somascope.acquire.mri.samples import cartesian, line_mask
from somascope.acquire.mri.walsh import walsh
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Blocks = Annotated[int, Param("Measured lines in the kernel", minimum=2, maximum=8)]
Columns = Annotated[int, Param("Readout samples in the kernel, odd", minimum=1, maximum=15)]
Damping = Annotated[
    float,
    Param("Tikhonov damping of the fit", minimum=0.0, maximum=1.0, advanced=True),
]


def pattern(lines: Array, name: str) -> tuple[int, int]:
    """Acceleration and first line of a regularly skipped pattern with a full centre.

    Raises
    ------
    ParameterError
        Nothing is skipped, or not in equal steps.
    """
    measured = np.flatnonzero(lines)
    missing = np.flatnonzero(~lines[measured[0] : measured[-1] + 1]) + measured[0]
    if not len(missing):
        raise ParameterError(
            f"{name}: no phase encodings are skipped; reconstruct them as they are"
        )
    steps = np.diff(measured)
    acceleration = int(steps.max())
    for start in range(acceleration):
        lattice = np.arange(start, len(lines), acceleration)
        inside = lattice[(lattice >= measured[0]) & (lattice <= measured[-1])]
        if lines[inside].all() and not np.isin(missing, lattice).any():
            return acceleration, start
    raise ParameterError(
        f"{name}: the skipped phase encodings are not regular (steps {np.unique(steps).tolist()}); "
        "use acquire.mri.sense or a compressed-sensing reconstruction"
    )


def calibration_lines(acquisition: Acquisition, scan: CartesianScan, samples: Array) -> Array:
    """Fully sampled lines ``(coils, kz, lines, kx)``: separate ones, or the centre of the scan.

    Raises
    ------
    ParameterError
        There are none.
    """
    if "reference" in acquisition.calibration:
        reference = acquisition.calibration["reference"]
        there = np.abs(reference).max(axis=(0, 1, 3)) > 0
        rows = _longest(there)
        return np.asarray(reference[:, :, rows], np.complex64)
    rows = _longest(line_mask(scan, "acquire.mri.grappa"))
    if len(rows) < 2:
        raise ParameterError(
            "acquire.mri.grappa needs calibration lines: the scan has no fully sampled centre and "
            "no calibration 'reference'; measure some, or give coil maps to acquire.mri.sense"
        )
    flat = samples.reshape(-1, *samples.shape[-4:])
    return flat[0][:, :, rows]


def _longest(flags: Array) -> Array:
    """Indices of the longest run of true values."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return np.empty(0, int)
    best = int(np.argmax(ends - starts))
    return np.arange(starts[best], ends[best])


def _planes(samples: Array, scan: CartesianScan) -> Array:
    """k-space whose z is not encoded (any more): planes that are independent."""
    return to_image(samples, axes=(-3,)) if scan.dimensions == 3 else samples


@operation("acquire.mri.grappa")
def grappa(
    acquisition: Acquisition,
    *,
    blocks: Blocks = 4,
    columns: Columns = 5,
    regularisation: Damping = 1e-3,
    progress: Progress = QUIET,
) -> Acquisition:
    """Fill regularly skipped phase encodings from their neighbours in all coils.

    Weights are fitted per plane to the fully sampled centre or to ``calibration["reference"]``.
    Measured lines are kept; combine the coils afterwards (`rss`, `adaptive`).
    """
    name = "acquire.mri.grappa"
    samples, scan = cartesian(acquisition, name)
    columns += 1 - columns % 2
    lines = line_mask(scan, name)
    acceleration, start = pattern(lines, name)
    reference = _planes(calibration_lines(acquisition, scan, samples), scan)
    planes = _planes(samples, scan)
    flat = planes.reshape(-1, *planes.shape[-4:])
    filled = np.empty_like(flat)
    for z in range(flat.shape[2]):
        progress(z / flat.shape[2], f"plane {z + 1}")
        filled[:, :, z] = grappa_kernel.fill(
            flat[:, :, z],
            reference[:, z],
            acceleration,
            start,
            blocks=blocks,
            columns=columns,
            regularisation=regularisation,
        )
    filled = filled.reshape(planes.shape)
    if scan.dimensions == 3:
        filled = to_kspace(filled, axes=(-3,))
    measured = np.flatnonzero(lines)
    # A partial Fourier scan stays one: what lies beyond the last measured line is not GRAPPA's.
    reach = np.zeros(len(lines), bool)
    first = max(measured[0] - acceleration + 1, 0) if measured[0] < acceleration else measured[0]
    last = measured[-1] + acceleration
    last = len(lines) if last >= len(lines) else int(measured[-1]) + 1
    reach[first:last] = True
    filled = np.where(lines[:, None], samples, filled)
    complete = CartesianScan(**{**scan.describe(), "mask": None if reach.all() else reach[:, None]})
    return replace(
        acquisition, samples=complete.sampled(filled).astype(np.complex64), operator=complete
    )


@operation("acquire.mri.gfactor")
def gfactor(
    acquisition: Acquisition,
    *,
    blocks: Blocks = 4,
    columns: Columns = 5,
    regularisation: Damping = 1e-3,
    progress: Progress = QUIET,
) -> Image:
    """Noise amplification of GRAPPA by the coils' geometry, pixel by pixel, 1 where there is none.

    ``SNR(accelerated) = SNR(full) / (g sqrt(R))`` (Breuer et al. 2009), for coils combined with
    maps from the calibration lines (or ``calibration["sensitivities"]``). Without a noise scan the
    coils' noise is taken as white. Calibration lines in the scan lower the noise a little more.
    """
    name = "acquire.mri.gfactor"
    samples, scan = cartesian(acquisition, name)
    columns += 1 - columns % 2
    acceleration, _ = pattern(line_mask(scan, name), name)
    reference = _planes(calibration_lines(acquisition, scan, samples), scan)
    covariance = _covariance(acquisition, scan.coils)
    maps = acquisition.calibration.get("sensitivities", scan.sensitivities)
    nz, ny, nx = scan.matrix
    found = np.empty((nz, *scan.grid.shape[1:]), np.float32)
    for z in range(nz):
        progress(z / nz, f"plane {z + 1}")
        lines = grappa_kernel.demand_lines(reference[:, z], acceleration, blocks, columns)
        known = grappa_kernel.equations(reference[:, z], acceleration, lines, columns)
        kernel = known.solve(known.offsets, regularisation)
        weights = cropped(grappa_kernel.image_weights(kernel, (ny, nx)), scan.grid.shape[1:])
        combine = _weights(reference[:, z], maps, z, scan)
        through = np.einsum("tyx,tsyx->syx", combine, weights, optimize=True)
        found[z] = np.sqrt(_power(through, covariance) / _power(combine, covariance)) / acceleration
    if nz != scan.grid.shape[0]:
        found = cropped(found, scan.grid.shape)
    data = np.nan_to_num(found, nan=0.0, posinf=0.0)
    return image_of(acquisition, data, axes=())


def _covariance(acquisition: Acquisition, coils: int) -> Array:
    from somascope.acquire.mri.noise import covariance

    if "noise" not in acquisition.calibration:
        return np.eye(coils)
    return covariance(acquisition.calibration["noise"])


def _weights(reference: Array, maps: Array | None, z: int, scan: CartesianScan) -> Array:
    """Combination weights ``(coils, ny, nx)``: conjugate maps."""
    if maps is not None and maps.shape[1] == scan.matrix[0]:
        return np.asarray(maps[:, z]).conj()
    coils, count, nx = reference.shape
    full = np.zeros((coils, 1, scan.matrix[1], nx), np.complex64)
    middle = scan.matrix[1] // 2 - count // 2
    full[:, 0, middle : middle + count] = reference * np.hanning(count + 2)[1:-1, None]
    low = cropped(to_image(full, axes=(-2, -1)), scan.grid.shape[1:])
    return walsh(low)[:, 0].conj()


def _power(weights: Array, covariance: Array) -> Array:
    """``w C w^H`` per pixel for weights ``(coils, ny, nx)``, float64."""
    mixed = np.einsum("syx,st->tyx", weights, covariance)
    return np.real((mixed * weights.conj()).sum(axis=0))
