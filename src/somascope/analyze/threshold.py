"""Segmentation by threshold."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np

from somascope.core import (
    QUIET,
    TISSUE,
    Image,
    Mask,
    Param,
    Progress,
    Provenance,
    Segment,
    operation,
)
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.components import fill_holes as filled
from somascope.process.components import label as components
from somascope.process.histogram import of_values
from somascope.process.thresholds import Method, thresholds

COLOURS = (
    (255, 190, 60), (90, 180, 255), (240, 110, 110), (120, 220, 130), (200, 140, 255),
    (255, 240, 120), (110, 225, 220), (255, 150, 210),
)  # fmt: skip
"""Of the segments, in turn."""


@operation("segment.threshold")
def threshold(
    image: Image,
    *,
    method: Annotated[
        Literal["range", "otsu", "kapur", "li", "triangle", "kmeans", "mixture"],
        Param("By lower and upper, or above a threshold told from the histogram"),
    ] = "range",
    lower: Annotated[
        float | None, Param("Smallest value inside, in the image's unit; none: no limit")
    ] = None,
    upper: Annotated[
        float | None, Param("Largest value inside, in the image's unit; none: no limit")
    ] = None,
    minimum_volume: Annotated[
        float, Param("Smaller components are left out", unit="mm3", minimum=0.0)
    ] = 0.0,
    keep: Annotated[
        int, Param("How many components are kept, the largest first; 0: all", minimum=0)
    ] = 0,
    fill_holes: Annotated[bool, Param("Add enclosed background")] = False,
    connectivity: Annotated[
        Literal[6, 18, 26], Param("Neighbours: faces; and edges; and corners", advanced=True)
    ] = 26,
    separate: Annotated[bool, Param("One segment for each component")] = False,
    label: Annotated[str, Param("Name of the segment")] = "Threshold",
    progress: Progress = QUIET,
) -> Mask:
    """Segment the voxels between two values, and keep the components worth keeping.

    ``lower <= value <= upper`` in the image's unit; NaN is outside. Leading axes must be of length
    one. The mask is a labelmap ``(nz, ny, nx)`` on the image's grid: one segment, or one for each
    component, the largest first.
    """
    volume = _volume(image)
    algorithm, inside = _inside(volume, method, lower, upper, image.unit)
    progress(0.2, "thresholded")
    if fill_holes:
        inside = filled(inside, connectivity=connectivity)
    progress(0.4, "components")
    if separate or keep or minimum_volume > 0:
        labels, counts = components(inside, connectivity=connectivity)
        volumes = counts * image.grid.voxel_volume
        # A volume asked for as n voxels must keep components of n voxels, whatever the rounding.
        n = int((volumes >= minimum_volume * (1 - 1e-9)).sum())
        n = min(n, keep) if keep else n
        labels[labels > n] = 0
    else:
        labels, n = inside, 1
    progress(0.9, f"{n} components")
    if separate and n > 65535:
        raise ParameterError(
            f"segment.threshold found {n} components and a segmentation holds 65535; raise "
            "minimum_volume or set keep"
        )
    if separate and n:
        data = labels.astype(np.uint8 if n < 256 else np.uint16)
        names = [label if n == 1 else f"{label} {i + 1}" for i in range(n)]
    else:
        data, names = (labels > 0).astype(np.uint8), [label]
    return _mask(
        image,
        data,
        tuple(
            Segment(i + 1, name, TISSUE, algorithm, COLOURS[i % len(COLOURS)])
            for i, name in enumerate(names)
        ),
    )


def _found(volume: Array, method: str, classes: int) -> list[float]:
    counted = of_values(np.ascontiguousarray(volume).reshape(-1))
    return thresholds(counted, method=cast("Method", method), classes=classes)


@operation("segment.classes")
def classes_(
    image: Image,
    *,
    classes: Annotated[
        int, Param("Number of classes, the background one of them", minimum=2, maximum=6)
    ] = 3,
    method: Annotated[
        Literal["otsu", "kapur", "kmeans", "mixture"], Param("How the histogram is parted")
    ] = "otsu",
    progress: Progress = QUIET,
) -> Mask:
    """Part the values into classes; every class above the lowest becomes a segment.

    Leading axes must be of length one; NaN is background. The mask is a labelmap ``(nz, ny, nx)``
    on the image's grid, 1 for the second lowest class.
    """
    volume = _volume(image)
    cuts = _found(volume, method, classes)
    progress(0.5, "histogram parted")
    finite = volume if volume.dtype.kind != "f" else np.nan_to_num(volume, nan=-np.inf)
    data = np.zeros(volume.shape, np.uint8)
    for cut in cuts:
        data += finite > cut
    ends = [*cuts, np.inf]
    return _mask(
        image, data,
        tuple(
            Segment(
                k + 1, f"Class {k + 2}", TISSUE,
                f"segment.classes {method} {ends[k]:.6g}..{ends[k + 1]:.6g} {image.unit}",
                COLOURS[k % len(COLOURS)],
            )
            for k in range(len(cuts))
        ),
    )  # fmt: skip


@operation("segment.hysteresis")
def hysteresis(
    image: Image,
    *,
    low: Annotated[
        float, Param("Value from which voxels belong to it if they touch what is certain")
    ],
    high: Annotated[float, Param("Value from which voxels certainly belong to it")],
    side: Annotated[Literal["bright", "dark"], Param("Above the limits, or below them")] = "bright",
    minimum_volume: Annotated[
        float, Param("Smaller components are left out", unit="mm3", minimum=0.0)
    ] = 0.0,
    connectivity: Annotated[
        Literal[6, 18, 26], Param("Neighbours: faces; and edges; and corners", advanced=True)
    ] = 26,
    label: Annotated[str, Param("Name of the segment")] = "Threshold",
    progress: Progress = QUIET,
) -> Mask:
    """Segment what reaches a high value, as far as it stays above a low one.

    Both limits belong to it. With ``side`` dark ``high`` is the lower of the two: what reaches down
    to it, as far as it stays below ``low``. Leading axes must be of length one; NaN is outside. The
    mask is a labelmap ``(nz, ny, nx)`` on the image's grid.
    """
    volume = _volume(image)
    if (low > high) if side == "bright" else (low < high):
        raise ParameterError(
            f"segment.hysteresis: low is {low:g} and high {high:g}; for {side} things high has to "
            f"be {'above' if side == 'bright' else 'below'} low"
        )
    with np.errstate(invalid="ignore"):
        weak, strong = (
            (volume >= low, volume >= high) if side == "bright" else (volume <= low, volume <= high)
        )
    if volume.dtype.kind == "f":
        finite = np.isfinite(volume)
        weak, strong = weak & finite, strong & finite
    progress(0.3, "components")
    labels, counts = components(weak, connectivity=connectivity)
    kept = np.zeros(counts.size + 1, bool)
    kept[np.unique(labels[strong])] = True
    kept[0] = False
    kept[1:] &= counts * image.grid.voxel_volume >= minimum_volume * (1 - 1e-9)
    progress(1.0, f"{int(kept.sum())} components")
    note = f"segment.hysteresis {low:.6g}/{high:.6g} {image.unit}"
    segment = Segment(1, label, TISSUE, note, COLOURS[0])
    return _mask(image, kept[labels].astype(np.uint8), (segment,))


def _mask(image: Image, data: Array, segments: tuple[Segment, ...]) -> Mask:
    return Mask(
        data=data,
        grid=image.grid,
        segments=segments,
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=Provenance(image.provenance.sources, image.provenance.steps),
        attributes=dict(image.attributes),
    )


def _volume(image: Image) -> Array:
    wide = [(a.name, n) for a, n in zip(image.axes, image.data.shape, strict=False) if n > 1]
    if wide:
        name, n = wide[0]
        raise GeometryError(
            f"segment.threshold segments one volume and this image has {n} along {name!r}; choose "
            f"one with image.at({name}=0)"
        )
    if image.data.dtype.kind == "c":
        raise ParameterError("segment.threshold needs real values; take the magnitude first")
    return image.data.reshape(image.grid.shape)


def _inside(
    volume: Array, method: str, lower: float | None, upper: float | None, unit: str
) -> tuple[str, Array]:
    if method != "range":
        if lower is not None or upper is not None:
            raise ParameterError(
                f"segment.threshold: lower is {lower} and upper is {upper} with method "
                f"{method!r}, which finds its own; leave them out or use method 'range'"
            )
        (value,) = _found(volume, method, 2)
        return f"segment.threshold {method} > {value:.6g} {unit}", volume > value
    if lower is None and upper is None:
        raise ParameterError("segment.threshold: give lower, upper or both, or method 'otsu'")
    if lower is not None and upper is not None and lower > upper:
        raise ParameterError(f"segment.threshold: lower {lower:g} is above upper {upper:g}")
    low = -np.inf if lower is None else lower
    high = np.inf if upper is None else upper
    with np.errstate(invalid="ignore"):
        inside = (volume >= low) & (volume <= high)
    if lower is None or upper is None:
        inside &= np.isfinite(volume)
    return f"segment.threshold {low:g}..{high:g} {unit}", inside
