"""`acquire.ct.extend`: a detector shorter than the body is lengthened by a plausible guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.hounsfield import chosen_mu_water
from somascope.acquire.ct.system import rebuilt, scan_of
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array


def cosine_tail(edge: Array, bins: int) -> Array:
    """From ``edge`` ``(views,)`` down to 0 in ``bins`` steps, as a quarter of a cosine."""
    place = (np.arange(bins) + 1) / (bins + 1)
    return edge[:, None] * np.cos(0.5 * np.pi * place) ** 2


def cylinder_tail(edge: Array, slope: Array, *, spacing: float, water: float, bins: int) -> Array:
    """The chord of a water cylinder with this value and slope at the edge (Hsieh et al. 2004).

    ``p(s) = 2 mu sqrt(R^2 - s^2)``: with value ``p`` and outward slope ``p'`` the edge lies at
    ``s = -p p' / (4 mu^2)`` and ``R^2 = s^2 + p^2 / (4 mu^2)``.
    """
    value = np.maximum(edge, 0)
    place = np.maximum(-value * slope / (4 * water**2), 0.0)
    square = place**2 + value**2 / (4 * water**2)
    s = place[:, None] + spacing * (np.arange(bins) + 1)
    return 2 * water * np.sqrt(np.maximum(square[:, None] - s**2, 0))


@operation("acquire.ct.extend")
def extend(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["cylinder", "cosine"],
        Param("Continue as a cylinder of water, or fall off as a cosine"),
    ] = "cylinder",
    margin: Annotated[
        float, Param("Share of the detector that is added on each side", minimum=0.01,
                     maximum=3.0)
    ] = 0.5,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Extend truncated projections, so that the edge of the detector leaves no bright rim.

    The operator gets as many more bins on both sides; inside the field that was seen the values
    become right, outside the image is a guess.
    """
    samples = line_integrals(acquisition, operation_name="acquire.ct.extend")
    scan: Any = scan_of(acquisition, operation_name="acquire.ct.extend")
    if "bins" not in scan.describe():
        raise GeometryError(
            f"acquire.ct.extend takes ct.parallel and ct.fan scans; this is {scan.kind}"
        )
    bins = samples.shape[-1]
    extra = max(1, round(margin * bins))
    water = chosen_mu_water(None, acquisition.calibration)
    rows = samples.reshape(-1, bins).astype(np.float64)
    # Detector spacing at the isocentre: a cylinder is as wide as its shadow is large.
    scale = getattr(scan, "source", 1.0) / getattr(scan, "detector", 1.0) or 1.0
    spacing = scan.spacing * scale
    near = max(3, bins // 50)
    weights = np.arange(near) - (near - 1) / 2
    weights /= float(weights @ weights)
    parts = []
    for side in (rows[:, :near][:, ::-1], rows[:, -near:]):
        edge = side.mean(axis=1)
        slope = side @ weights / spacing
        edge = edge + slope * (near - 1) / 2 * spacing
        if method == "cylinder":
            tail = cylinder_tail(edge, slope, spacing=spacing, water=water, bins=extra)
        else:
            tail = cosine_tail(np.maximum(edge, 0), extra)
        parts.append(tail)
    progress(0.8, "extending")
    whole = np.concatenate([parts[0][:, ::-1], rows, parts[1]], axis=1).astype(np.float32)
    longer = rebuilt(scan, {"bins": bins + 2 * extra})
    kept = {k: v for k, v in acquisition.calibration.items() if k == "mu_water"}
    return replace(
        acquisition.with_samples(
            whole.reshape(*samples.shape[:-1], bins + 2 * extra), operator=longer
        ),
        calibration=kept,
    )
