"""What MRI corrections and reconstructions need of an acquisition, and the image they give back."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.coils import check_samples
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Acquisition, Image
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
            "use a reconstruction for trajectories, such as acquire.mri.gridding"
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


def image_of(
    acquisition: Acquisition, data: Array, *, unit: str = "1", facts: dict[str, Any] | None = None
) -> Image:
    """An image of the acquisition's patient and place, ``(*leading, nz, ny, nx)``."""
    scan = acquisition.operator
    assert isinstance(scan, (CartesianScan, NonCartesianScan))
    return Image(
        data=data,
        grid=scan.grid,
        modality="MR",
        unit=unit,
        axes=scan.axes,
        provenance=acquisition.provenance,
        attributes={**acquisition.attributes, **(facts or {})},
    )
