"""Sinograms with fewer planes: single-slice rebinning, and what correction makes of counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.pet.model import background, calibration, factors, sinogram_of
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def obliqueness(scan: SinogramScan) -> Array:
    """Length of each line over that of its transaxial projection, float32, range without TOF."""
    first, second = scan.transaxial()
    across = np.linalg.norm(second - first, axis=-1)
    rings = scan.ring_positions()
    along = (rings[:, 1] - rings[:, 0])[:, None, None]
    return np.hypot(1.0, along / across).astype(np.float32)


def line_integrals(acquisition: Acquisition, *, operation_name: str) -> tuple[SinogramScan, Array]:
    """Counts corrected to line integrals in Bq/ml mm (or counts mm), TOF bins joined.

    Prompts less background over factors, ``(plane, angle, radial)`` float32; 0 in bins that
    measure nothing. Returned with the scan without TOF.
    """
    scan = sinogram_of(acquisition, operation_name=operation_name)
    values = np.asarray(acquisition.samples, np.float32)
    added = background(acquisition)
    if added is not None:
        values = values - added
    weights = factors(acquisition)
    if scan.scanner.tof_bins > 1:
        values = values.sum(axis=0)
        if weights.ndim == 4:
            weights = weights.mean(axis=0) if len(weights) > 1 else weights[0]
        scan = scan.with_changes(scanner=scan.scanner.without_tof())
    weights = np.broadcast_to(weights, scan.range)
    limit = 1e-6 * float(weights.max())
    found = np.divide(values, weights, out=np.zeros(scan.range, np.float32), where=weights > limit)
    return scan, found


def plane_sums(values: Array, planes: Array, count: int) -> Array:
    """Planes added up by their number in the target; the plane is the third axis from the end."""
    out = np.zeros((*values.shape[:-3], count, *values.shape[-2:]), np.float32)
    for p, target in enumerate(planes):
        if target >= 0:
            out[..., target, :, :] += values[..., p, :, :]
    return out


def rebinned(acquisition: Acquisition, scan: SinogramScan, target: SinogramScan) -> Acquisition:
    """Planes joined by the mean position of their rings; the calibration follows.

    Counts and backgrounds add up, efficiency and survival are averaged with the weights that make
    the sum's expectation right for a source that does not vary along S within a plane.
    """
    table = target.michelogram.table
    planes = np.array([table[pairs[0]] for pairs in scan.michelogram.pairs])
    count = len(target.michelogram)
    flat = scan.range[-3:]

    def summed(values: Array) -> Array:
        return plane_sums(values, planes, count)

    def whole(array: Array) -> Array:
        lead = array.shape[:-3] if array.ndim > 3 else ()
        return np.broadcast_to(array, (*lead, *flat))

    weights = obliqueness(scan) * scan.multiplicity
    own = calibration(acquisition, "normalisation")
    efficient = whole(weights if own is None else weights * own)
    kept = dict(acquisition.calibration)
    total = summed(efficient)
    kept["normalisation"] = total / target.multiplicity
    survival = calibration(acquisition, "attenuation")
    if survival is not None:
        passed = summed(efficient * whole(survival))
        kept["attenuation"] = np.divide(passed, total, out=np.zeros_like(passed), where=total > 0)
    for name in ("randoms", "scatter"):
        array = calibration(acquisition, name)
        if array is not None:
            lead = array.shape[:-3] if array.ndim > 3 else ()
            kept[name] = summed(np.broadcast_to(array, (*lead, *flat)))
    samples = summed(np.asarray(acquisition.samples, np.float32))
    return replace(acquisition, samples=samples, operator=target, calibration=kept)


@operation("acquire.pet.ssrb")
def ssrb(
    acquisition: Acquisition,
    *,
    max_ring_difference: Annotated[
        int | None,
        Param("Of the ring pairs used; all if not given", minimum=0, maximum=1000),
    ] = None,
) -> Acquisition:
    """Sort oblique PET planes into direct ones by single-slice rebinning (SSRB).

    Every coincidence goes to the plane half way between its rings (Daube-Witherspoon and
    Muehllehner 1987): 2 rings - 1 planes, all counts kept; blurred along the axis far from the
    centre. Corrections are carried along.
    """
    scan = sinogram_of(acquisition, operation_name="acquire.pet.ssrb")
    most = scan.michelogram.max_ring_difference
    assert most is not None
    wanted = most if max_ring_difference is None else min(max_ring_difference, most)
    half = scan.michelogram.span // 2
    if wanted < most and (wanted - half) % scan.michelogram.span:
        raise ParameterError(
            f"a ring difference of {wanted} cuts a segment of span {scan.michelogram.span}; give "
            f"{half} plus a multiple of it"
        )
    target = scan.with_changes(span=2 * wanted + 1, max_ring_difference=wanted)
    if target.michelogram == scan.michelogram:
        return replace(acquisition)
    return rebinned(acquisition, scan, target)
