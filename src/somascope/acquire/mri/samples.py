"""What MRI corrections and reconstructions need of an acquisition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.coils import check_samples
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Acquisition
from somascope.core.errors import NotFound, ParameterError
from somascope.core.grid import Array


def cartesian(acquisition: Acquisition, name: str) -> tuple[Array, CartesianScan]:
    """Samples ``(*leading, coils, kz, ky, kx)`` as complex64, and their scan.

    Raises
    ------
    ParameterError
        It is no Cartesian MRI acquisition.
    GeometryError
        Samples that are not finite, or all zero.
    """
    scan = acquisition.operator
    if not isinstance(scan, CartesianScan):
        raise ParameterError(
            f"{name} works on a Cartesian k-space, and this acquisition is {kind(acquisition)}; "
            "use acquire.mri.rss or acquire.mri.sense, which take trajectories"
        )
    check_samples(acquisition.samples, name)
    return acquisition.samples.astype(np.complex64, copy=False), scan


def coil_images(acquisition: Acquisition, name: str) -> Array:
    """Zero-filled or gridded image of each coil, complex64 ``(*leading, coils, nz, ny, nx)``."""
    scan = acquisition.operator
    if isinstance(scan, NonCartesianScan):
        check_samples(acquisition.samples, name)
        if scan.density is None:
            raise ParameterError(
                f"{name}: the trajectory has no density compensation; give the scan a density"
            )
        weighted = acquisition.samples * scan.density.astype(np.float32)
        return scan.coil_images(weighted.astype(np.complex64))
    samples, scan = cartesian(acquisition, name)
    return scan.coil_images(samples)


def kind(acquisition: Acquisition) -> str:
    """Name of the acquisition's operator."""
    return str(getattr(acquisition.operator, "kind", type(acquisition.operator).__name__))


def calibration(acquisition: Acquisition, key: str, *, remedy: str) -> Array:
    """What was measured alongside under that name.

    Raises
    ------
    NotFound
        It was not; ``remedy`` says what to do.
    """
    if key not in acquisition.calibration:
        there = ", ".join(acquisition.calibration) or "nothing"
        raise NotFound(f"the acquisition has no {key!r} (it has {there}); {remedy}")
    return acquisition.calibration[key]


COIL_FIRST = ("navigator", "reference", "sensitivities")
"""Calibration whose coil axis is the fourth from the end."""


def mixed(acquisition: Acquisition, matrix: Array, name: str) -> Acquisition:
    """Virtual coils: ``matrix`` (virtual, coils) on samples, maps and all that is of the coils.

    Raises
    ------
    ParameterError
        The matrix is for another number of coils.
    """
    scan = acquisition.operator
    if not isinstance(scan, (CartesianScan, NonCartesianScan)):
        raise ParameterError(f"{name} takes raw MRI data, not {kind(acquisition)}")
    if matrix.shape[1] != scan.coils:
        raise ParameterError(
            f"{name}: a matrix for {matrix.shape[1]} coils and an acquisition of {scan.coils}; the "
            "noise scan must be of the same coils"
        )
    axis = len(scan.axes)
    kept = {
        key: _mix(matrix, value, value.ndim - 4 if key in COIL_FIRST else 0)
        if key in (*COIL_FIRST, "noise")
        else value
        for key, value in acquisition.calibration.items()
    }
    maps = None if scan.sensitivities is None else _mix(matrix, scan.sensitivities, 0)
    described = {**scan.describe(), "coils": len(matrix), "sensitivities": maps}
    return replace(
        acquisition,
        samples=_mix(matrix, acquisition.samples, axis),
        operator=type(scan)(**described),
        calibration=kept,
    )


def _mix(matrix: Array, values: Array, axis: int) -> Array:
    mixed_first = np.tensordot(matrix.astype(np.complex64), np.moveaxis(values, axis, 0), axes=1)
    return np.ascontiguousarray(np.moveaxis(mixed_first, 0, axis), np.complex64)


def line_mask(scan: CartesianScan, name: str) -> Array:
    """Which phase encodings (y) are measured, bool ``(ky,)``.

    Raises
    ------
    ParameterError
        They differ from plane to plane or along a leading axis.
    """
    if scan.mask is None:
        return np.ones(scan.matrix[1], bool)
    lines = scan.mask.any(axis=-1)
    flat = lines.reshape(-1, scan.matrix[1])
    if (flat != flat[0]).any():
        raise ParameterError(
            f"{name} takes the same phase encodings in every plane and repetition, and the mask of "
            "this scan differs between them"
        )
    return flat[0]
