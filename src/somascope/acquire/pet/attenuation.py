"""Attenuation of annihilation photons along the lines of a scan, from a CT or a mu-map."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.mumap import ANNIHILATION_KEV, mu_map, resample_to
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import PetScan, scan_of
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import QUIET, Acquisition, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array

_MOST_VOXELS = 200_000_000


def covering(grid: Grid, other: Grid) -> Grid:
    """``grid`` grown about its centre, voxel size kept, until it holds ``other``.

    What lies beyond the image still absorbs: a body wider than the reconstructed field.
    """
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in other.shape])).reshape(3, -1).T
    index = grid.to_index(other.to_world(corners))
    low = np.maximum(np.ceil(-0.5 - index.min(axis=0) - 1e-6), 0)
    high = np.maximum(np.ceil(index.max(axis=0) - (np.array(grid.shape) - 0.5) - 1e-6), 0)
    each = np.maximum(low, high).astype(int)
    each[1:] = each[1:].max()  # slices stay square where they were: the projector is faster
    shape = [n + 2 * int(m) for n, m in zip(grid.shape, each, strict=True)]
    if np.prod(shape, dtype=float) > _MOST_VOXELS:
        raise GeometryError(
            f"the attenuation image reaches so far beyond the scan's grid {grid!r} that "
            f"{'x'.join(map(str, shape))} voxels were needed; crop it to the patient"
        )
    return grid.moved(start=[-int(m) for m in each], shape=shape, step=(1, 1, 1))


def mu_on(grid: Grid, image: Image, *, kvp: float | None = None) -> Image:
    """The mu-map at 511 keV (1/cm) of a CT or mu-map, on ``grid``.

    Raises
    ------
    UnitError, GeometryError
        As `mumap.mu_map` and `mumap.resample_to`; an image with leading axes.
    """
    if image.axes:
        raise GeometryError(
            f"the attenuation image has leading axes {image.axis_names[:-3]}; give one volume"
        )
    return resample_to(mu_map(image, energy_kev=ANNIHILATION_KEV, kvp=kvp), grid)


def survival(scan: PetScan, mu: Image, *, kvp: float | None = None) -> Array:
    """``exp(-int mu)`` of every line or event, float32; TOF bins share it, the PSF does not matter.

    ``mu`` is a CT in HU or a mu-map, on any grid. It is sampled on the scan's grid, grown to hold
    all of it. ``(plane, angle, radial)``, or ``(events,)``.
    """
    grid = covering(scan.grid, mu.grid)
    per_mm = mu_on(grid, mu, kvp=kvp).data * np.float32(0.1)
    if isinstance(scan, SinogramScan):
        plain: PetScan = scan.with_changes(grid=grid, scanner=scan.scanner.without_tof(), psf=0.0)
    else:
        plain = ListModeScan(
            **{
                **scan.describe(),
                "grid": grid,
                "scanner": scan.scanner.without_tof(),
                "psf": 0.0,
                "tof": None,
            }
        )
    return np.exp(-plain.forward(np.asarray(per_mm, np.float32)))


@operation("acquire.pet.attenuation")
def attenuation(
    acquisition: Acquisition,
    ct: Image,
    *,
    kvp: Annotated[
        float | None, Param("Tube voltage of the CT; the one it states, else 120, if not given",
                            unit="kV", minimum=80.0, maximum=140.0)
    ] = None,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Attenuation correction from a CT: survival of the photon pair along every line.

    Hounsfield units become attenuation at 511 keV by two lines that depend on the tube voltage
    (Carney et al., Med Phys 33:976, 2006), are averaged onto the scan's grid, and summed along the
    lines. A mu-map in 1/cm or 1/mm is taken as it is. The counts stay as measured; the result goes
    into the model, ``calibration["attenuation"]``, and replaces what was there.
    """
    scan = scan_of(acquisition, operation_name="acquire.pet.attenuation")
    progress(0.1, "projecting")
    found = survival(scan, ct, kvp=kvp)
    progress(1.0, "projected")
    stated = ct.attributes.get("KVP")
    voltage = kvp or (float(stated) if stated else 120.0)
    method = f"CT, bilinear, {voltage:g} kV" if ct.unit == "[hnsf'U]" else "mu-map"
    return replace(
        acquisition,
        calibration={**acquisition.calibration, "attenuation": found},
        attributes={**acquisition.attributes, "AttenuationCorrectionMethod": method},
    )
