"""From reconstructed numbers to an `Image` that keeps its patient, study and place."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.coils import check_samples
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Acquisition, Axis, Image, Param
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

MriScan = CartesianScan | NonCartesianScan

Part = Annotated[
    Literal["magnitude", "complex", "phase"],
    Param("What of the complex image is kept; phase in radians"),
]


def scan_of(acquisition: Acquisition, name: str) -> MriScan:
    """The MRI scan of an acquisition whose samples are usable.

    Raises
    ------
    ParameterError
        Another kind of acquisition.
    GeometryError
        Samples that are real, not finite, or all zero.
    """
    scan = acquisition.operator
    if not isinstance(scan, (CartesianScan, NonCartesianScan)):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise ParameterError(
            f"{name} takes raw MRI data (mri.cartesian or mri.noncartesian), not {kind}"
        )
    if acquisition.samples.dtype.kind != "c":
        raise GeometryError(
            f"{name}: the samples are {acquisition.samples.dtype}; k-space is complex"
        )
    check_samples(acquisition.samples, name)
    return scan


def image_of(
    acquisition: Acquisition,
    data: Array,
    *,
    part: str = "magnitude",
    axes: tuple[Axis, ...] | None = None,
) -> Image:
    """Image of reconstructed ``data`` ``(*leading, nz, ny, nx)`` on the scan's grid.

    Modality MR; unit ``1`` (``rad`` for a phase); float32 or complex64; attributes and sources are
    the acquisition's.
    """
    scan = acquisition.operator
    assert isinstance(scan, (CartesianScan, NonCartesianScan))  # `scan_of` has seen it
    if part == "magnitude":
        data = np.abs(data).astype(np.float32)
    elif part == "phase":
        data = np.angle(data).astype(np.float32)
    else:
        data = np.asarray(data, np.complex64)
    return Image(
        data=data,
        grid=scan.grid,
        modality="MR",
        unit="rad" if part == "phase" else "1",
        axes=scan.axes if axes is None else axes,
        provenance=acquisition.provenance,
        attributes=acquisition.attributes,
    )
