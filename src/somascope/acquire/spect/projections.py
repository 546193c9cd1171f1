"""`acquire.spect.projections`: what the camera saw, as pictures that any DICOM viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.spect.facts import camera_facts, examination, rotation
from somascope.acquire.spect.orbit import toward
from somascope.acquire.spect.system import checked_counts, scan_of
from somascope.core import QUIET, Acquisition, Axis, Grid, Image, Progress, operation
from somascope.core.grid import Float


def first_frame(scan: Any) -> Float:
    """4x4: the detector of view 0 in the patient, frames seen from the camera, head up."""
    dz, _, h = scan.grid.spacing
    away = toward(scan.angles)[0]
    across = np.array([-away[1], away[0], 0.0])
    middle = scan.grid.to_world([(n - 1) / 2 for n in scan.grid.shape])
    affine = np.eye(4)
    affine[:3, 0] = -np.array([away[0], away[1], 0.0]) * h
    affine[:3, 1] = (0.0, 0.0, -dz)
    affine[:3, 2] = across * h
    origin = np.array([scan.isocentre[0], scan.isocentre[1], middle[2]])
    origin[:2] += away * scan.radius[0]
    origin += across * (scan.offset[0] - (scan.columns - 1) / 2 * h)
    origin[2] += (scan.grid.shape[0] - 1) / 2 * dz
    affine[:3, 3] = origin
    return affine


@operation("acquire.spect.projections")
def projections(acquisition: Acquisition, *, progress: Progress = QUIET) -> Image:
    """The projections of a SPECT scan as an image: frames by view (and energy window).

    Stored, it is a DICOM NM TOMO instance with its rotation, radii and windows, from which the scan
    can be read again; the attenuation map is not part of it.
    """
    name = "acquire.spect.projections"
    scan = scan_of(acquisition, name)
    counts = checked_counts(acquisition, name)
    progress(0.5, "projections")
    data = counts[:, :, None] if len(counts) > 1 else counts[0][:, None]
    whole = np.rint(data)
    if np.array_equal(whole, data) and float(data.max()) < 2**16:
        data = whole.astype(np.uint16)
    axes = (Axis("view", tuple(range(1, len(scan.angles) + 1))),)
    if len(counts) > 1:
        axes = (Axis("energy", tuple(range(1, len(counts) + 1))), *axes)
    grid = Grid((1, counts.shape[2], counts.shape[3]), first_frame(scan),
                scan.grid.frame_of_reference)  # fmt: skip
    facts = {
        **examination(acquisition.attributes), **camera_facts(scan.camera),
        "RotationInformationSequence": [rotation(scan.angles, scan.radius, scan.duration)],
        "CountsAccumulated": round(float(counts.sum(dtype=np.float64))),
    }  # fmt: skip
    progress(1.0, "projections")
    return Image(
        data=np.ascontiguousarray(data),
        grid=grid,
        modality="NM",
        unit="{counts}",
        axes=axes,
        provenance=acquisition.provenance,
        attributes=facts,
    )
