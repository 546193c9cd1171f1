"""Curved reformation along a centreline: straightened, and stretched.

Kanitsar, Fleischmann, Wegenkittl, Felkel, Groeller, "CPR: curved planar reformation" (IEEE
Visualization 2002).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import is_colour, real_values


def centreline(points: Float, step: float) -> Float:
    """Points ``(n, 3)`` at even arc length on the smooth curve through ``points`` ``(m, 3)`` in mm.

    A cubic spline over the length of the chords (two points: a straight line); the last point is
    the last whole step.

    Raises `ParameterError` for fewer than two different points.
    """
    from scipy.interpolate import CubicSpline

    given = np.asarray(points, np.float64)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(given, axis=0), axis=1) > 1e-6])
    given = given[keep]
    if len(given) < 2 or not np.isfinite(given).all():
        raise ParameterError("a centreline needs at least two different points (L, P, S) in mm")
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(given, axis=0), axis=1))])
    fine = np.linspace(0, chord[-1], max(int(chord[-1] / step * 8), 64))
    if len(given) == 2:
        curve = given[0] + fine[:, None] / chord[-1] * (given[1] - given[0])
    else:
        curve = CubicSpline(chord, given)(fine)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.arange(int(length[-1] / step + 1e-6) + 1) * step
    return np.stack([np.interp(even, length, c) for c in curve.T], axis=1)


def frames(curve: Float) -> tuple[Float, Float, Float]:
    """Tangent and two normals ``(n, 3)`` that turn as little as they can along the curve.

    Double reflection (Wang, Juettler, Zheng, Liu, ACM TOG 27, 2008). The first normal starts
    towards the patient's left, or the front where the curve runs that way.
    """
    tangent = np.gradient(curve, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    start = np.array([1.0, 0.0, 0.0])
    if abs(tangent[0] @ start) > 0.9:
        start = np.array([0.0, -1.0, 0.0])
    normal = np.empty_like(curve)
    first = start - (start @ tangent[0]) * tangent[0]
    normal[0] = first / np.linalg.norm(first)
    for i in range(len(curve) - 1):
        v1 = curve[i + 1] - curve[i]
        c1 = v1 @ v1
        r = normal[i] - 2 / c1 * (v1 @ normal[i]) * v1
        t = tangent[i] - 2 / c1 * (v1 @ tangent[i]) * v1
        v2 = tangent[i + 1] - t
        c2 = v2 @ v2
        r = r if c2 < 1e-20 else r - 2 / c2 * (v2 @ r) * v2
        r -= (r @ tangent[i + 1]) * tangent[i + 1]
        normal[i + 1] = r / np.linalg.norm(r)
    return tangent, normal, np.asarray(np.cross(tangent, normal), np.float64)


@operation("process.curved_reslice")
def curved_reslice(
    image: Image,
    *,
    points: Annotated[
        tuple[float, ...], Param("Of the centreline: L, P, S of each, one after the other",
                                 unit="mm")
    ],
    mode: Annotated[
        Literal["straightened", "stretched"],
        Param("Cross-sections in a row along the curve, or the curved surface rolled out flat"),
    ] = "straightened",
    width: Annotated[
        float, Param("Across the curve", unit="mm", minimum=1.0, maximum=1000.0)
    ] = 40.0,
    spacing: Annotated[
        float | None,
        Param("Edge of a pixel; none: the image's smallest", unit="mm", minimum=0.01, maximum=100),
    ] = None,
    angle: Annotated[
        float, Param("Straightened: turned about the curve. Stretched: direction of the surface "
                     "about the body's axis, 0 to the left", unit="deg", minimum=-360.0,
                     maximum=360.0)
    ] = 0.0,
    output: Annotated[
        Literal["plane", "volume"],
        Param("Straightened: one cut along the curve, or all cross-sections"),
    ] = "plane",
    order: Annotated[Literal["nearest", "linear"], Param("Interpolation between voxels")] = (
        "linear"
    ),
    outside: Annotated[
        float | None, Param("Value outside the image; none: its smallest value")
    ] = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Lay a curved structure (vessel, colon, jaw) out straight along its centreline.

    ``straightened``: lengths along the curve and distances from it are true; rows (or, of a volume,
    slices) run along it. ``stretched``: the surface that the curve sweeps in one direction is
    rolled out; lengths in the surface are true and the curve keeps its bends. The result has no
    place of its own in the patient: its grid begins at the curve's first point. One volume;
    float32.
    """
    real_values(image, "process.curved_reslice")
    if is_colour(image) or any(n > 1 for n in image.data.shape[:-3]):
        raise GeometryError(
            f"process.curved_reslice takes one volume and was given {image.axis_names} "
            f"{image.shape}; choose one with image.at(...)"
        )
    if len(points) < 6 or len(points) % 3:
        raise ParameterError(
            f"process.curved_reslice: {len(points)} numbers; give three (L, P, S) for each of two "
            "or more points"
        )
    pixel = float(min(image.grid.spacing)) if spacing is None else spacing
    curve = centreline(np.asarray(points, np.float64).reshape(-1, 3), pixel)
    if len(curve) < 2:
        raise ParameterError("process.curved_reslice: the curve is shorter than a pixel")
    progress(0.2, "centreline")
    across = (np.arange(max(round(width / pixel), 1)) + 0.5) * pixel
    across -= across.mean()
    if mode == "stretched":
        places = _stretched(curve, across, pixel, np.deg2rad(angle))
    else:
        _, n, b = frames(curve)
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        u, v = c * n + s * b, -s * n + c * b
        places = curve[:, None] + across[None, :, None] * u[:, None]
        if output == "volume":
            places = places[:, None] + across[None, :, None, None] * v[:, None, None]
    if places.ndim == 3:
        places = places[None]
    data = _sampled(image, places, order, outside)
    progress(1.0, "sampled")
    grid = Grid.from_spacing(
        data.shape, (pixel, pixel, pixel), origin=curve[0],
        frame_of_reference=image.grid.frame_of_reference,
    )  # fmt: skip
    return replace(image, data=data, grid=grid, axes=())


def _stretched(curve: Float, across: Float, pixel: float, angle: float) -> Float:
    """World points ``(rows, columns, 3)`` of the swept surface, isometric to the plane."""
    d = np.array([np.cos(angle), -np.sin(angle), 0.0])
    step = np.diff(curve, axis=0)
    rest = step - (step @ d)[:, None] * d
    down = np.concatenate([[0.0], np.cumsum(np.linalg.norm(rest, axis=1))])
    if down[-1] < pixel:
        raise ParameterError(
            "process.curved_reslice: the curve runs along the direction of the surface; turn angle"
        )
    at = np.arange(int(down[-1] / pixel) + 1) * pixel
    # Where the curve runs along d the rows stand still: the last point of each row counts.
    rising = down + np.arange(len(down)) * 1e-9
    on = np.stack([np.interp(at, rising, c) for c in curve.T], axis=1)
    side = on @ d
    low, high = side.min() + across[0], side.max() + across[-1]
    columns = np.arange(low, high + 1e-6, pixel)
    return on[:, None] + (columns[None] - side[:, None])[..., None] * d


def _sampled(image: Image, places: Float, order: str, outside: float | None) -> Array:
    from scipy.ndimage import map_coordinates

    volume = image.data.reshape(image.grid.shape).astype(np.float32)
    if outside is None:
        finite = volume[np.isfinite(volume)]
        outside = float(finite.min()) if finite.size else 0.0
    index = np.moveaxis(image.grid.to_index(places), -1, 0)
    found = map_coordinates(volume, index, order=1 if order == "linear" else 0, mode="nearest")
    limits = np.asarray(image.grid.shape)[:, None, None, None]
    beyond = ((index < -0.5) | (index > limits - 0.5)).any(axis=0)
    return np.where(beyond, np.float32(outside), found).astype(np.float32)
