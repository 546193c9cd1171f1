"""`acquire.xray.tomosynthesis`: a sweep of exposures becomes slices parallel to the detector."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.xray.correct import RAW, corrected
from somascope.acquire.xray.facts import examination
from somascope.acquire.xray.projection import Projection
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid


@operation("acquire.xray.tomosynthesis")
def tomosynthesis(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["sart", "shift_and_add"], Param("Algebraic, or plain adding in focus")
    ] = "sart",
    iterations: Annotated[int, Param("Rounds over all exposures (SART)", minimum=1)] = 3,
    relaxation: Annotated[
        float, Param("Step of each correction (SART)", minimum=0.01, maximum=1.9, advanced=True)
    ] = 0.5,
    slice_distance: Annotated[
        float, Param("Distance of the slices", unit="mm", minimum=0.1, maximum=100.0)
    ] = 5.0,
    pixel: Annotated[
        float | None, Param("Pixel in the slices; none: the detector's, demagnified", unit="mm")
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct slices of attenuation from a tomosynthesis sweep.

    Slices are parallel to the detector and fill the volume that was scanned. *Shift and add*
    backprojects and divides by the length of the rays: every slice is sharp for what lies in it.
    *SART* (Andersen and Kak 1984) corrects exposure by exposure what the slices so far do not
    explain, negative values cut. Unit ``/mm``, float32, ``(slices, rows, columns)``.
    """
    projection = acquisition.operator
    if not isinstance(projection, Projection) or projection.range[0] < 2:
        raise ParameterError(
            "tomosynthesis needs an xray.projection of at least 2 exposures; this acquisition has "
            f"{acquisition.samples.shape[0]}"
        )
    raw = acquisition.unit == RAW
    lines = corrected(acquisition) if raw else np.asarray(acquisition.samples, np.float32)
    if not np.isfinite(lines).all():
        raise ParameterError("the line integrals hold NaN or infinite values; fill them first")
    grid = slices_of(projection, distance=slice_distance, pixel=pixel)
    scan = Projection(
        grid=grid, sources=projection.sources, origins=projection.origins, rows=projection.rows,
        columns=projection.columns, shape=projection.shape,
    )  # fmt: skip
    if method == "shift_and_add":
        volume = shift_and_add(scan, lines)
    else:
        volume = sart(scan, lines, iterations=iterations, relaxation=relaxation, progress=progress)
    progress(1.0, "reconstructed")
    return Image(
        data=volume,
        grid=grid,
        modality=acquisition.modality or "DX",
        unit="/mm",
        provenance=acquisition.provenance,
        attributes={
            **examination(acquisition.attributes),
            "KVP": acquisition.attributes.get("KVP"),
            "SliceThickness": slice_distance,
        },
    )


def slices_of(projection: Projection, *, distance: float, pixel: float | None = None) -> Grid:
    """Slices parallel to the detector through the scanned volume, pixels as the detector sees them.

    The first slice lies nearest to the detector. In the slice plane the field is the detector's,
    demagnified to the middle of the volume.
    """
    middle = projection.range[0] // 2
    far, near = projection.distances(middle)
    detector = projection.detector(middle)
    normal, down, right = detector.direction.T
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in projection.grid.shape]))
    depth = projection.grid.to_world(corners.reshape(3, -1).T) @ normal
    count = max(int(np.ceil((depth.max() - depth.min()) / distance)), 1)
    ny, nx = projection.shape
    scale = near / far
    dy, dx = (pixel or s * scale for s in detector.spacing[1:])
    rows = max(round(ny * detector.spacing[1] * scale / dy), 1)
    columns = max(round(nx * detector.spacing[2] * scale / dx), 1)
    centre = projection.grid.to_world((np.array(projection.grid.shape) - 1) / 2)
    first = depth.min() + (depth.max() - depth.min() - (count - 1) * distance) / 2
    origin = centre + (first - centre @ normal) * normal
    origin = origin - (rows - 1) / 2 * dy * down - (columns - 1) / 2 * dx * right
    return Grid.from_spacing(
        (count, rows, columns), (distance, dy, dx), origin=origin,
        direction=np.stack([normal, down, right], axis=1),
        frame_of_reference=projection.grid.frame_of_reference,
    )  # fmt: skip


def shift_and_add(scan: Projection, lines: Array) -> Array:
    """Each voxel the mean of its rays' line integrals per mm of their way through the slices."""
    length = np.maximum(scan.forward(np.ones(scan.domain, np.float32)), 1e-6)
    weight = scan.adjoint(np.ones(scan.range, np.float32))
    return scan.adjoint(lines / length) / np.maximum(weight, 1e-6)


def sart(
    scan: Projection,
    lines: Array,
    *,
    iterations: int = 3,
    relaxation: float = 0.5,
    progress: Progress = QUIET,
) -> Array:
    """``x <- max(x + r A_v^T ((y_v - A_v x) / A_v 1) / A_v^T 1, 0)``, exposures from the ends in.

    Starts from `shift_and_add`. Rays that miss the slices count nothing.
    """
    count = scan.range[0]
    views = [scan.view(v) for v in range(count)]
    ones = np.ones(scan.domain, np.float32)
    order = [v for pair in zip(range(count), range(count - 1, -1, -1), strict=True) for v in pair]
    order = list(dict.fromkeys(order))
    x = np.maximum(shift_and_add(scan, lines), 0.0)
    norms = []
    for view in views:
        length = view.forward(ones)
        weight = view.adjoint(np.ones(view.range, np.float32))
        norms.append((length, weight))
    for k in range(iterations):
        for n, v in enumerate(order):
            length, weight = norms[v]
            gap = np.where(length > 1e-3, lines[v] - views[v].forward(x), 0.0)
            step = views[v].adjoint(gap / np.maximum(length, 1e-3)) / np.maximum(weight, 1e-3)
            x = np.maximum(x + np.float32(relaxation) * step, 0.0)
            progress((k * count + n + 1) / (iterations * count), "SART")
    return x
