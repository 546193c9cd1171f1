"""Watershed from markers, and markers from peaks of a given height."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, Segment, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.choices import mask_of, one_volume
from somascope.process.components import Connectivity, label
from somascope.process.missing import filled

Neighbours: TypeAlias = Annotated[
    Literal[6, 18, 26], Param("Faces; and edges; and corners", advanced=True)
]

_RANK = {6: 1, 18: 2, 26: 3}
MOST = 65535
"""Segments that a labelmap holds."""


def _steps(shape: tuple[int, ...], connectivity: int) -> Array:
    """Offsets in a flat array of ``shape`` padded by one: those behind, then those ahead.

    Faces before edges before corners.
    """
    _, ny, nx = (n + 2 for n in shape)
    every = sorted(
        (abs(z) + abs(y) + abs(x), (z * ny + y) * nx + x)
        for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)
        if 0 < abs(z) + abs(y) + abs(x) <= _RANK[connectivity]
    )  # fmt: skip
    return np.array([s for _, s in every], np.int64)


def basins(
    volume: Array, markers: Array, *, inside: Array | None = None, connectivity: int = 6
) -> Array:
    """Watershed by flooding in order of value (Meyer, Signal Processing 38, 1994).

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``, real; a missing value is the last to be flooded.
    markers
        Whole numbers, 0 where there is none.
    inside
        bool: the flood stays there.

    Returns
    -------
    Array
        int32: the marker that reaches each voxel first; equal values in order of arrival. No line
        is left between basins.
    """
    from somascope.process.flooding import LEVELS, flooded

    data = np.ascontiguousarray(volume)
    exact = data.dtype.kind in "iub" and data.dtype.itemsize <= 2
    if not exact:
        data = np.where(np.isnan(data), np.inf, data).astype(np.float32)
    if exact:
        low = int(data.min(initial=0))
        level = (data.astype(np.int32) - low).astype(np.uint16)
        data = level
    else:
        finite = data[np.isfinite(data)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        share = (LEVELS - 2) / max(high - low, 1e-30)
        level = np.clip((data.astype(np.float64) - low) * share, 0, LEVELS - 1).astype(np.uint16)
    names = np.pad(markers.astype(np.int32), 1, constant_values=-1)
    if inside is not None:
        wall = ~np.pad(inside.astype(bool), 1)
        names[wall] = -1
    steps = _steps(data.shape, connectivity)
    wide = np.pad(data, 1).reshape(-1)
    flooded(wide, np.pad(level, 1).reshape(-1), steps, int(exact), names.reshape(-1))
    return np.maximum(names[1:-1, 1:-1, 1:-1], 0)


def reconstructed(seed: Array, volume: Array, *, connectivity: int = 26) -> Array:
    """The largest image under ``volume`` that its dilations of ``seed`` reach; ``seed <= volume``.

    Both ``(nz, ny, nx)``; of one dtype, float32 or float64.
    """
    from somascope.process.flooding import rebuilt

    if not bool((seed <= volume).all()):
        raise ParameterError("reconstruction: the seed is above the volume; clip it first")
    low = np.finfo(volume.dtype).min
    out = np.pad(seed, 1, constant_values=low)
    wide = np.pad(volume, 1, constant_values=low).reshape(-1)
    steps = np.sort(_steps(volume.shape, connectivity))
    rebuilt(out.reshape(-1), wide, steps)
    return out[1:-1, 1:-1, 1:-1]


def _domes(volume: Array, height: float, connectivity: int) -> tuple[Array, Array, Array]:
    v = np.ascontiguousarray(volume, np.float32)
    lowered = reconstructed(v - np.float32(height), v, connectivity=connectivity)
    # A top keeps all of the height; rounding of v - height is all that may be missing.
    slack = 4 * np.finfo(np.float32).eps * max(float(np.abs(v).max(initial=0.0)), height)
    return v, lowered, v - lowered >= np.float32(height - slack)


def peaks(volume: Array, height: float, *, connectivity: int = 26) -> Array:
    """Tops that rise at least ``height`` above the way to any higher one: bool (h-maxima).

    ``volume`` is float32 without missing values (Soille, Morphological Image
    Analysis, 2003, 6.3.4).
    """
    return _domes(volume, height, connectivity)[2]


def numbered_peaks(volume: Array, height: float, *, connectivity: Connectivity = 26) -> Array:
    """`peaks`, numbered: int32, the widest first. Tops of one height with no such valley between
    them have one number.
    """
    v, lowered, found = _domes(volume, height, connectivity)
    # What stands above its own lowered level is a dome; domes of different tops never touch.
    domes, _ = label(v > lowered, connectivity=connectivity)
    names = np.where(found, domes, 0)
    _, numbers = np.unique(names, return_inverse=True)
    numbers = numbers.reshape(names.shape).astype(np.int32)
    return numbers if (names == 0).any() else numbers + 1


@operation("process.watershed")
def watershed(
    image: Image,
    markers: Mask,
    *,
    connectivity: Neighbours = 6,
    upper: Annotated[
        float | None, Param("Values above stay outside, in the image's unit; none: no limit")
    ] = None,
    progress: Progress = QUIET,
) -> Mask:
    """Grow markers over an image until they meet on its ridges (watershed).

    Low values are flooded first: give a gradient to stop at edges, or the inverted image to follow
    bright structures. Image and markers share their grid; leading axes must be of length one. The
    mask is a labelmap ``(nz, ny, nx)`` with the markers' segments.
    """
    volume = one_volume(image, "process.watershed")
    if markers.grid.shape != image.grid.shape or not np.allclose(
        markers.grid.affine, image.grid.affine, atol=1e-3
    ):
        raise GeometryError(
            f"process.watershed: the markers' grid {markers.grid.shape} is not the image's "
            f"{image.grid.shape}; resample one of them"
        )
    names = np.zeros(volume.shape, np.int32)
    for segment in reversed(markers.segments):
        names[markers.plane(segment.number) > (0.5 if markers.fractional else 0)] = segment.number
    if not names.any():
        raise ParameterError("process.watershed: no voxel is marked; draw at least one marker")
    progress(0.1, "flooding")
    known = np.isfinite(volume) if volume.dtype.kind == "f" else None
    inside = None if upper is None else volume <= upper
    if known is not None and not known.all():
        inside = known if inside is None else known & inside
    found = basins(volume, names, inside=inside, connectivity=connectivity)
    progress(1.0, "flooded")
    top = max(s.number for s in markers.segments)
    segments = tuple(replace(s, algorithm="process.watershed") for s in markers.segments)
    return mask_of(image, found.astype(np.uint8 if top < 256 else np.uint16), segments)


@operation("process.peaks")
def peaks_(
    image: Image,
    *,
    height: Annotated[
        float, Param("Least rise above the way to a higher top, in the image's unit", minimum=0.0)
    ] = 1.0,
    side: Annotated[Literal["bright", "dark"], Param("Tops, or bottoms")] = "bright",
    connectivity: Neighbours = 26,
    progress: Progress = QUIET,
) -> Mask:
    """Mark the tops of bright (or bottoms of dark) places: markers for a watershed (h-maxima).

    Each top is a segment of its own, the widest first. Leading axes must be of length
    one; the mask is a labelmap ``(nz, ny, nx)``. Missing values are no top.
    """
    values, known = filled(one_volume(image, "process.peaks"))
    if not height > 0:
        raise ParameterError("process.peaks: height is 0; give the least rise that counts")
    progress(0.1, "reconstructing")
    side_up = values if side == "bright" else -values
    labels = numbered_peaks(side_up, height, connectivity=connectivity)
    if known is not None:
        labels[~known] = 0
    count = int(labels.max())
    progress(1.0, f"{count} tops")
    if count > MOST:
        raise ParameterError(
            f"process.peaks found {count} tops and a labelmap holds {MOST}; raise height "
            "or smooth the image first"
        )
    what = "Top" if side == "bright" else "Bottom"
    segments = tuple(
        Segment(k + 1, f"{what} {k + 1}", algorithm=f"process.peaks {height:g}")
        for k in range(max(count, 1))
    )
    return mask_of(image, labels.astype(np.uint8 if count < 256 else np.uint16), segments)
