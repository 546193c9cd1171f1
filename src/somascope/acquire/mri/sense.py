"""CG-SENSE: the least-squares image of all coils together (Pruessmann et al. 2001)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.descent import conjugate
from somascope.acquire.mri.espirit import sensitivities
from somascope.acquire.mri.normal import back_projected, normal_operators
from somascope.acquire.mri.results import MriScan, Part, image_of, scan_of
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array

Maps = Annotated[
    Literal["auto", "espirit"],
    Param("Coil sensitivities: auto takes those of the raw data, else ESPIRiT; espirit always"),
]


@operation("acquire.mri.sense")
def sense(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Conjugate gradient steps", minimum=1, maximum=500)] = 30,
    regularisation: Annotated[
        float, Param("Weight of |x|^2 relative to the data", minimum=0.0, maximum=10.0)
    ] = 0.0,
    tolerance: Annotated[
        float,
        Param("Relative residual at which it stops", minimum=0.0, maximum=0.1, advanced=True),
    ] = 1e-5,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct undersampled k-space of several coils by least squares (CG-SENSE).

    Minimises ``|A x - y|^2 + regularisation |x|^2``. Any sampling, Cartesian or not.
    """
    scan = with_maps(acquisition, "acquire.mri.sense", maps=maps)
    data = solve(
        acquisition.samples, scan, iterations=iterations, regularisation=regularisation,
        tolerance=tolerance, progress=progress,
    )  # fmt: skip
    return image_of(acquisition, data, part=part)


def with_maps(acquisition: Acquisition, name: str, *, maps: str = "auto") -> MriScan:
    """The scan of an acquisition, with sensitivities: its own, calibrated ones, or ESPIRiT's.

    ``acquisition.calibration["sensitivities"]``, where there are any, come before an estimate.

    Raises
    ------
    GeometryError
        Maps of other coils than the samples'.
    """
    scan = scan_of(acquisition, name)
    if maps == "auto":
        if scan.sensitivities is not None:
            return scan
        if "sensitivities" in acquisition.calibration:
            given = acquisition.calibration["sensitivities"]
            if len(given) != scan.coils:
                raise GeometryError(
                    f"{name}: calibrated sensitivities are of {len(given)} coils, the samples of "
                    f"{scan.coils}; compress both alike"
                )
            return scan.with_sensitivities(given)
    if scan.coils == 1:
        return scan.with_sensitivities(np.ones((1, *scan.grid.shape), np.complex64))
    return scan.with_sensitivities(sensitivities(acquisition.samples, scan))


def solve(
    samples: Array,
    scan: MriScan,
    *,
    iterations: int = 30,
    regularisation: float = 0.0,
    tolerance: float = 0.0,
    progress: Progress = QUIET,
) -> Array:
    """Least-squares image ``(*leading, nz, ny, nx)``, complex64, of a scan with sensitivities."""
    grams = normal_operators(scan)
    back = back_projected(samples, scan, grams)
    flat = back.reshape(-1, *scan.grid.shape)
    out = np.zeros_like(flat)
    for i, (b, gram) in enumerate(zip(flat, grams, strict=True)):
        if not b.any():  # a repetition without samples
            continue
        out[i] = conjugate(
            gram, b, damping=regularisation, iterations=iterations, tolerance=tolerance,
            progress=share(progress, i, len(flat)),
        ).x  # fmt: skip
    progress(1.0, "reconstructed")
    return out.reshape(back.shape)


def share(progress: Progress, index: int, count: int) -> Progress:
    """The part of ``progress`` that one of ``count`` equal jobs reports to."""
    return Progress(lambda f, message: progress((index + f) / count, message))
