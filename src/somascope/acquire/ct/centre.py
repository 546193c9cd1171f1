"""`acquire.ct.centre`: find where the axis of rotation falls on the detector."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.system import rebuilt, scan_of
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float


def by_moments(sinogram: Array, angles: Float, place: Float) -> float:
    """The axis from the centres of mass: they follow ``a cos + b sin + c`` (Helgason, Ludwig).

    ``sinogram`` is ``(views, bins)``, ``place`` the position of the bins in mm. The whole object
    must be seen.
    """
    mass = sinogram.sum(axis=1, dtype=np.float64)
    if mass.min() <= 0.2 * float(np.median(mass)):
        raise ParameterError(
            "some views hold almost nothing; the centre cannot be found from centres of mass: "
            "take method='opposite'"
        )
    centres = (sinogram.astype(np.float64) @ place) / mass
    basis = np.stack([np.cos(angles), np.sin(angles), np.ones_like(angles)], axis=1)
    return float(np.linalg.lstsq(basis, centres, rcond=None)[0][2])


def opposite_views(angles: Float) -> tuple[Array, Array]:
    """Pairs of views half a turn apart (within half a step), as two arrays of indices."""
    turn = 2 * np.pi
    step = float(np.median(np.abs(np.diff(np.sort(np.mod(angles, turn)))))) or 1.0
    gap = np.mod(angles[None, :] - angles[:, None] - np.pi + np.pi, turn) - np.pi
    nearest = np.argmin(np.abs(gap), axis=1)
    distance = np.abs(gap[np.arange(len(angles)), nearest])
    # A half-turn scan lacks the view at 180 degrees itself by one step.
    good = np.flatnonzero(distance <= 1.01 * max(step, 1e-9))
    first = np.array([i for i in good if i < nearest[i] or nearest[nearest[i]] != i], np.intp)
    return first, nearest[first]


def by_opposite(sinogram: Array, angles: Float, spacing: float, middle: float) -> float:
    """The axis from pairs of mirrored views: the shift at which they agree best, to a tenth bin.

    Works where the object is wider than the detector. ``middle`` is the detector's centre in mm.
    """
    one, two = opposite_views(angles)
    if one.size == 0:
        raise ParameterError(
            "no two views are half a turn apart; the centre can be found by method='moments' only"
        )
    keep = slice(None, None, max(1, one.size // 32))
    a = sinogram[one[keep]].astype(np.float64)
    b = sinogram[two[keep]][:, ::-1].astype(np.float64)
    bins = a.shape[1]
    reach = bins // 3
    shifts = np.arange(-reach, reach + 1)

    def misfit(shift: float) -> float:
        whole = int(np.floor(shift))
        f = shift - whole
        moved = (1 - f) * np.roll(b, whole, axis=1) + f * np.roll(b, whole + 1, axis=1)
        inside = slice(max(whole + 1, 0), bins + min(whole, 0))
        gap = a[:, inside] - moved[:, inside]
        return float(np.mean(gap * gap))

    coarse = int(shifts[int(np.argmin([misfit(float(s)) for s in shifts]))])
    from scipy.optimize import minimize_scalar

    fine: Any = minimize_scalar(misfit, bounds=(coarse - 1, coarse + 1), method="bounded")
    # A structure at s on one view is at -s on the other: the shift is twice the axis' place.
    return middle + float(fine.x) / 2 * spacing


@operation("acquire.ct.centre")
def centre(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["moments", "opposite"],
        Param("From the centres of mass of all views, or from views half a turn apart"),
    ] = "moments",
    progress: Progress = QUIET,
) -> Acquisition:
    """Find the axis of rotation of a parallel-beam scan and correct its geometry.

    The samples stay; the operator's ``offset`` is set so that the axis is where it was measured.
    ``moments`` is exact where the whole object is seen, ``opposite`` works where it is not.
    """
    scan: Any = scan_of(acquisition, operation_name="acquire.ct.centre")
    if not isinstance(scan, ParallelScan):
        raise GeometryError(
            f"acquire.ct.centre takes ct.parallel scans; this is {scan.kind}: calibrate its "
            "geometry with acquire.ct.calibrate"
        )
    samples = line_integrals(acquisition, operation_name="acquire.ct.centre")
    sinogram = scan.slices(samples).mean(axis=0)
    place: Float = (np.arange(scan.bins, dtype=np.float64) - (scan.bins - 1) / 2) * scan.spacing
    progress(0.2, "searching the axis")
    if method == "moments":
        axis = by_moments(sinogram, scan.angles, place)
    else:
        axis = by_opposite(sinogram, scan.angles, scan.spacing, 0.0)
    changed: Any = rebuilt(scan, {"offset": -axis})
    return acquisition.with_samples(acquisition.samples, operator=changed)
