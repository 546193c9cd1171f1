"""`acquire.spect.calibrate`: how many counts a second a megabecquerel gives in this camera."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire import likelihood
from somascope.acquire.spect.system import SENSITIVITY, System, prepare, scan_of
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError


def in_air(system: System, activity: float) -> float:
    """cps/MBq of ``activity`` MBq that the camera sees whole and nothing attenuates."""
    counts = float(system.counts.sum(dtype=np.float64))
    if system.background is not None:
        counts -= float(system.background.sum(dtype=np.float64))
    return counts / float(system.scan.seconds.sum()) / activity


def in_image(system: System, activity: float, *, progress: Progress) -> float:
    """cps/MBq that makes the whole reconstructed activity ``activity`` MBq."""
    operators, counts, added = system.subsets(min(8, len(system.counts)))
    found = likelihood.osem(operators, counts, iterations=6, background=added, progress=progress)
    volume = system.scan.grid.voxel_volume / 1000
    total = float(found.x.sum(dtype=np.float64)) * volume * 1e-6
    return system.scan.camera.cps_per_mbq * total / activity


@operation("acquire.spect.calibrate")
def calibrate(
    acquisition: Acquisition,
    source: Acquisition,
    *,
    activity: Annotated[
        float, Param("Of the source at the start of its scan", unit="MBq", minimum=1e-6,
                     maximum=1e6)
    ],
    method: Annotated[
        Literal["air", "image"],
        Param("From all counts of a source in air, or from the reconstructed image of a phantom, "
              "corrected for attenuation and scatter"),
    ] = "air",
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Calibrate a SPECT scan in Bq/ml with the scan of a source whose activity is known.

    Both must be made with the same collimator. The sensitivity in cps/MBq goes into the scan's
    camera; its reconstructions are in Bq/ml from then on.
    """
    name = "acquire.spect.calibrate"
    scan, other = scan_of(acquisition, name), scan_of(source, name)
    ours, theirs = scan.camera.collimator, other.camera.collimator
    if ours != theirs:
        raise GeometryError(
            f"{name}: the scan was made with {ours.name}, the source with {theirs.name}; calibrate "
            "with the same collimator"
        )
    if method == "air" and other.mu is not None:
        raise ParameterError(
            f"{name}: the source's scan has an attenuation map, so it was not in air; choose image"
        )
    progress(0.05, "calibrating")
    system = prepare(source, name=name)
    if method == "air":
        found = in_air(system, activity)
    else:
        found = in_image(system, activity, progress=progress)
    if not (np.isfinite(found) and found > 0):
        raise ParameterError(
            f"{name}: the source gives {found:g} cps/MBq; is the activity {activity:g} MBq, and "
            "are its counts more than the scatter?"
        )
    progress(1.0, "calibrated")
    camera = scan.camera.with_changes(sensitivity=found)
    return replace(
        acquisition,
        operator=scan.with_changes(camera=camera),
        calibration={**acquisition.calibration, SENSITIVITY: np.array(found)},
    )
