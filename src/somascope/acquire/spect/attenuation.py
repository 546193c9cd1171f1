"""`acquire.spect.attenuation`: give a scan the attenuation of the body it looked into."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.mumap import mu_map, resample_to
from somascope.acquire.spect.nuclides import NUCLIDES, Nuclide
from somascope.acquire.spect.system import scan_of
from somascope.core import QUIET, Acquisition, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array

Energy = Annotated[
    float | None,
    Param("Of the gamma rays; that of the nuclide if not given", unit="keV", minimum=30.0,
          maximum=511.0),
]  # fmt: skip


def mu_on(body: Image, grid: Grid, *, kev: float) -> Array:
    """Attenuation in 1/mm at ``kev`` on ``grid``, of a CT in HU or of a mu-map; air around it."""
    if body.axes:
        raise GeometryError(
            f"the CT has leading axes {body.axis_names[:-3]}; give one volume, image.at(...)"
        )
    per_cm = resample_to(mu_map(body, energy_kev=kev), grid).data
    return np.maximum(per_cm, 0).astype(np.float32) * np.float32(0.1)


@operation("acquire.spect.attenuation")
def attenuation(
    acquisition: Acquisition,
    body: Image,
    *,
    nuclide: Annotated[Nuclide, Param("Whose photons are attenuated")] = "Tc-99m",
    energy: Energy = None,
    progress: Progress = QUIET,
) -> Acquisition:
    """Add the attenuation of a body to a SPECT scan: from its CT in HU, or from a mu-map.

    The CT must lie in the scan's frame of reference; it is turned into attenuation at the photons'
    energy and brought onto the scan's grid. All reconstructions then correct for it.
    """
    scan = scan_of(acquisition, "acquire.spect.attenuation")
    progress(0.1, "attenuation")
    kev = NUCLIDES[nuclide].kev if energy is None else energy
    mu = mu_on(body, scan.grid, kev=kev)
    if not mu.any():
        raise GeometryError(
            "the CT does not overlap the scan's image: there is no attenuation on its grid; check "
            "that both are in one frame of reference"
        )
    progress(1.0, "attenuation")
    return acquisition.with_samples(acquisition.samples, operator=scan.with_attenuation(mu))
