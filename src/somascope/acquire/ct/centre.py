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


def by_opposite_rays(
    sinogram: Array, angles: Float, *, spacing: float, detector: float, curved: bool
) -> float:
    """Offset in mm of a fan's detector at which opposite rays agree best.

    A ray at ``(beta, gamma)`` is measured again, the other way, at ``(beta + pi - 2 gamma,
    -gamma)``. ``sinogram`` is ``(views, bins)`` over a full turn in equal steps.
    """
    views, bins = sinogram.shape
    step = float(np.median(np.diff(angles)))
    if abs(abs(step) * views - 2 * np.pi) > 1.5 * abs(step):
        raise ParameterError(
            f"the views cover {np.rad2deg(abs(step) * views):.0f} degrees; opposite rays of a fan "
            "need one full turn in equal steps"
        )
    from scipy.ndimage import gaussian_filter1d, map_coordinates

    # A little smoothing along the detector makes the misfit smooth in the offset.
    smooth = gaussian_filter1d(sinogram.astype(np.float64), 1.0, axis=1)
    wrapped = np.concatenate([smooth, smooth[:1]], axis=0)
    middle = (bins - 1) / 2

    def misfit(offset: float) -> float:
        u = (np.arange(bins) - middle) * spacing + offset
        gamma = u / detector if curved else np.arctan(u / detector)
        there = (-u - offset) / spacing + middle
        inside = (there >= 0) & (there <= bins - 1)
        if inside.sum() < bins // 8:
            return np.inf
        beta = angles[:, None] + np.pi - 2 * gamma[inside]
        row = np.mod((beta - angles[0]) / step, views)
        column = np.broadcast_to(there[inside], row.shape)
        other = map_coordinates(wrapped, np.stack([row, column]), order=1)
        gap = smooth[:, inside] - other
        return float(np.mean(gap * gap))

    from scipy.optimize import minimize_scalar

    tried = np.arange(-(bins // 3), bins // 3 + 1) * spacing
    start = float(tried[int(np.argmin([misfit(float(o)) for o in tried]))])
    bounds = (start - spacing, start + spacing)
    fine: Any = minimize_scalar(misfit, bounds=bounds, method="bounded")
    return float(fine.x)


@operation("acquire.ct.centre")
def centre(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["moments", "opposite"],
        Param("From the centres of mass of all views, or from views (rays) half a turn apart"),
    ] = "moments",
    progress: Progress = QUIET,
) -> Acquisition:
    """Find where the axis of rotation falls on the detector and correct the geometry.

    The samples stay; the operator's ``offset`` is set so that the axis is where it was measured.
    Parallel beams: ``moments`` is exact where the whole object is seen, ``opposite`` works where it
    is not. Fans and cones of one full turn are always centred by their opposite rays (of a cone,
    in the plane of the source).
    """
    scan: Any = scan_of(acquisition, operation_name="acquire.ct.centre")
    samples = line_integrals(acquisition, operation_name="acquire.ct.centre")
    progress(0.2, "searching the axis")
    if isinstance(scan, ParallelScan):
        sinogram = scan.slices(samples).mean(axis=0)
        place: Float = (np.arange(scan.bins, dtype=np.float64) - (scan.bins - 1) / 2) * scan.spacing
        if method == "moments":
            axis = by_moments(sinogram, scan.angles, place)
        else:
            axis = by_opposite(sinogram, scan.angles, scan.spacing, 0.0)
        offset = -axis
    elif scan.kind in ("ct.fan", "ct.cone"):
        if samples.ndim == 3:
            rows = samples.shape[1]
            # The rows beside the plane of the source are fans of their own only in that plane.
            near = slice((rows - 1) // 2, rows // 2 + 1) if scan.kind == "ct.cone" else slice(None)
            samples = samples[:, near].mean(axis=1)
        offset = by_opposite_rays(
            samples, scan.angles, spacing=float(np.atleast_1d(scan.spacing)[-1]),
            detector=scan.detector, curved=scan.curved,
        )  # fmt: skip
    else:
        raise GeometryError(
            f"acquire.ct.centre takes ct.parallel, ct.fan and ct.cone scans; this is {scan.kind}"
        )
    changed: Any = rebuilt(scan, {"offset": offset})
    return acquisition.with_samples(acquisition.samples, operator=changed)
