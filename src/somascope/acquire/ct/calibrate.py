"""`acquire.ct.calibrate`: the geometry of a cone-beam scanner from a phantom with beads.

Each bead draws a curve over the views; the distances, the detector's offset and the axis of
rotation are those that put the curves where they were seen (Cho et al., Med. Phys. 32, 2005).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.geometry import Views
from somascope.acquire.ct.system import rebuilt, scan_of
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float


def shadows(views: Views, points: Float) -> Float:
    """Where points ``(n, 3)`` in mm fall on a flat detector: ``(views, n, 2)`` row and column."""
    normal = np.cross(views.u, views.v)
    towards = points[None] - views.source[:, None]
    depth = np.einsum("vk,vk->v", normal, views.centre - views.source)
    hit = towards * (depth[:, None] / np.einsum("vk,vnk->vn", normal, towards))[..., None]
    offset = hit + (views.source - views.centre)[:, None]
    row = np.einsum("vnk,vk->vn", offset, views.v) / np.sum(views.v**2, axis=1)[:, None]
    column = np.einsum("vnk,vk->vn", offset, views.u) / np.sum(views.u**2, axis=1)[:, None]
    return np.stack(
        [row + (views.rows - 1) / 2, column + (views.columns - 1) / 2 - views.shift], axis=-1
    )


def seen(samples: Array, expected: Float, *, window: int) -> Float:
    """Centroids of what is bright within ``window`` elements of ``expected``; NaN where nothing is.

    ``samples`` is ``(views, rows, columns)``, ``expected`` and the result ``(views, n, 2)``.
    """
    found = np.full(expected.shape, np.nan)
    views, rows, columns = samples.shape
    for v in range(views):
        for n, (row, column) in enumerate(expected[v]):
            if not (np.isfinite(row) and np.isfinite(column)):
                continue
            y, x = round(row), round(column)
            top, left = max(y - window, 0), max(x - window, 0)
            part = samples[v, top : min(y + window + 1, rows), left : min(x + window + 1, columns)]
            if min(part.shape) < 3:
                continue
            value = np.maximum(part - 0.5 * float(part.max()), 0)
            # Cut by the border, it would be drawn towards the middle.
            edge = value[0].any() or value[-1].any() or value[:, 0].any() or value[:, -1].any()
            if edge or not value.any():
                continue
            total = value.sum()
            found[v, n] = (
                top + float(value.sum(axis=1) @ np.arange(part.shape[0]) / total),
                left + float(value.sum(axis=0) @ np.arange(part.shape[1]) / total),
            )
    return found


def moved(scan: Any, p: Float) -> Any:
    """The scan with source and detector distance, offset, axis (L, P, S), and start angle."""
    isocentre = (float(p[3]), float(p[4]), float(p[5]))
    return rebuilt(
        scan,
        {
            "source": float(p[0]), "detector": float(p[1]), "offset": float(p[2]),
            "isocentre": isocentre, "angles": np.asarray(scan.angles) + float(p[6]),
        },
    )  # fmt: skip


@operation("acquire.ct.calibrate")
def calibrate(
    acquisition: Acquisition,
    *,
    beads: Annotated[
        tuple[float, ...],
        Param("Centres of the beads, L P S after one another, at least four", unit="mm"),
    ],
    window: Annotated[
        int, Param("Detector elements by which a bead may be off at first", minimum=2, maximum=200)
    ] = 12,
    tolerance: Annotated[
        float, Param("Refuse a fit that leaves more than this, in detector elements", minimum=0.01,
                     maximum=20.0, advanced=True)
    ] = 1.0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Find a cone-beam scanner's geometry from a scan of beads whose places are known.

    Fits the distances of source and detector, the detector's offset, the axis of rotation and the
    start angle of a flat-panel ``ct.cone`` scan. The samples stay; take the geometry of the result
    for scans of the same machine.
    """
    scan: Any = scan_of(acquisition, operation_name="acquire.ct.calibrate")
    if scan.kind != "ct.cone" or scan.curved:
        raise GeometryError(
            f"acquire.ct.calibrate takes ct.cone scans with a flat detector; this is {scan.kind}"
        )
    points = np.asarray(beads, np.float64)
    if points.size < 12 or points.size % 3:
        raise ParameterError(
            f"beads holds {points.size} numbers; give L, P and S of at least four beads"
        )
    points = points.reshape(-1, 3)
    samples = line_integrals(acquisition, operation_name="acquire.ct.calibrate")
    from scipy.optimize import least_squares

    p = np.array([scan.source, scan.detector, scan.offset, *scan.isocentre, 0.0])
    size = np.array([100.0, 100.0, 1.0, 1.0, 1.0, 1.0, 0.01])
    left = np.inf
    for k, reach in enumerate((window, max(4, window // 2), max(3, window // 3))):
        progress(k / 3, "fitting")
        tracks = seen(samples, shadows(moved(scan, p).views(), points), window=reach)
        good = np.isfinite(tracks[..., 0])
        if good.sum() < 4 * len(size):
            raise ParameterError(
                f"beads were found {int(good.sum())} times only, within {reach} elements of where "
                "they should be; check their places, or give a larger window"
            )

        def misfit(q: Float, good: Array = good, tracks: Float = tracks) -> Float:
            gap = shadows(moved(scan, q * size).views(), points)[good] - tracks[good]
            return gap.ravel()

        fit: Any = least_squares(misfit, p / size, loss="soft_l1")
        p = fit.x * size
        left = float(np.median(np.abs(misfit(fit.x))))
    if left > tolerance:
        raise ParameterError(
            f"after the fit the beads are still {left:.2f} elements off; are these their places?"
        )
    return acquisition.with_samples(acquisition.samples, operator=moved(scan, p))
