"""`detect.vessels`: bright or dark tubes, their centre lines and how wide they are."""

from __future__ import annotations

import math
from itertools import product
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.detect.lines import centre_lines, radii
from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import finding
from somascope.analyze.segment.seeds import on_grid, volume_of
from somascope.analyze.threshold import COLOURS
from somascope.core import (
    QUIET,
    Code,
    Image,
    Mask,
    Measurement,
    Param,
    Progress,
    Segment,
    operation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.choices import mask_of
from somascope.process.components import label as components
from somascope.process.distance import distance
from somascope.process.entries import inside as covered
from somascope.process.histogram import of_values
from somascope.process.morphology import dilated
from somascope.process.thresholds import thresholds
from somascope.process.vessels import tubes

_NAME = "detect.vessels"

VESSEL = Code("59820001", "SCT", "Blood vessel")
LENGTH = Code("VESSEL_LENGTH", "99SOMASCOPE", "Length of centre lines")

FULL = math.exp(-1)
"""Curvature across a tube of contrast 1, times its squared scale, at the scale that fits it."""

STEP = 1.3
"""From scale to scale."""


def centre_length(lines: Array, affine: Float) -> float:
    """Length in mm of centre lines (bool): of the shortest tree that joins their voxels."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    numbers = np.full(tuple(n + 2 for n in lines.shape), -1, np.int64)
    inner = (slice(1, -1), slice(1, -1), slice(1, -1))
    count = int(lines.sum())
    numbers[inner][lines] = np.arange(count)
    places = np.argwhere(numbers >= 0)
    rows, columns, lengths = [], [], []
    for step in product((-1, 0, 1), repeat=3):
        if step <= (0, 0, 0):
            continue
        there = numbers[tuple((places + step).T)]
        some = there >= 0
        rows.append(numbers[tuple(places[some].T)])
        columns.append(there[some])
        far = float(np.linalg.norm(affine[:3, :3] @ np.array(step)))
        lengths.append(np.full(int(some.sum()), far))
    joined = coo_array(
        (np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, count),
    )
    return float(minimum_spanning_tree(joined.tocsr()).sum())


@operation(_NAME)
def vessels(
    image: Image,
    *within: Mask,
    smallest: Annotated[
        float, Param("Smallest diameter", unit="mm", minimum=0.1, maximum=100.0)
    ] = 2.0,
    largest: Annotated[
        float, Param("Largest diameter", unit="mm", minimum=0.1, maximum=100.0)
    ] = 8.0,
    contrast: Annotated[
        float | None,
        Param("Least difference to the surroundings, in the image's unit; none: a quarter of the "
              "strongest", minimum=0.0),
    ] = None,
    side: Annotated[Literal["bright", "dark"], Param("Brighter or darker than around")] = "bright",
    shortest: Annotated[
        float, Param("Shorter trees are left out", unit="mm", minimum=0.0, maximum=1000.0)
    ] = 10.0,
    label: Annotated[str, Param("Name of the segment")] = "Vessels",
    progress: Progress = QUIET,
) -> list[Mask | Image | Measurement]:  # fmt: skip
    """Find tubes, follow their centre lines and measure how wide they are.

    Ridges are found by curvature at several scales (Sato et al., MedIA 2 (1998) 143-168; see
    `process.sato`), from ``contrast`` on and as far as they have half of it; around them the
    threshold that parts bright from dark best (Otsu's) tells the tube's voxels. The mask has two
    planes, tubes and centre lines; the image is the radius (mm) on the centre lines, 0 elsewhere;
    length, mean and largest diameter follow. Radii are those of disks with as large a spread
    about the centre line, right to half a voxel.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        Nothing is found, the image is constant, or the diameters are no range.
    """
    values, known = volume_of(image, _NAME)
    if smallest >= largest:
        raise ParameterError(
            f"{_NAME}: smallest is {smallest:g} and largest {largest:g} mm; give a range"
        )
    mask = on_grid(image, within, _NAME)
    allowed = known if mask is None else known & covered(mask)
    spacing = image.grid.spacing
    up = values if side == "bright" else -values
    if not known.all():
        up[~known] = float(np.median(up[known]))
    # A disk answers most at its radius over the root of two.
    low, high = (d / 2 / math.sqrt(2) for d in (smallest, largest))
    n = max(math.ceil(math.log(high / low) / math.log(STEP)), 1)
    scales = tuple(float(s) for s in np.geomspace(low, high, n + 1))
    flat = values.shape[0] == 1
    found = tubes(
        up, spacing, scales=scales, measure="sato", flat=flat,
        progress=Progress(lambda f, m: progress(0.6 * f, m)),
    ) / np.float32(FULL)  # fmt: skip
    found[~allowed] = 0
    least = 0.25 * float(found.max()) if contrast is None else contrast
    weak, counts = components(found >= max(0.5 * least, 1e-30))
    kept = np.zeros(counts.size + 1, bool)
    kept[np.unique(weak[found >= max(least, 1e-30)])] = True
    kept[0] = False
    core = kept[weak]
    progress(0.7, "walls")
    inside = _walls(up, core, allowed, spacing, 0.5 * largest)
    depth = _depth(inside, spacing)
    inside, lines = _long(inside, core, depth, image, shortest)
    if not lines.any():
        raise ParameterError(
            f"{_NAME}: no tube of {smallest:g} to {largest:g} mm with a contrast of {least:.4g} "
            f"{image.unit} is {shortest:g} mm long; lower contrast or shortest"
        )
    progress(0.9, "widths")
    radius = np.zeros(inside.shape, np.float32)
    radius[lines] = radii(inside, lines, spacing)
    note = f"{_NAME} contrast {least:.4g} {image.unit}"
    segments = (
        Segment(1, label, VESSEL, note, COLOURS[0]),
        Segment(2, f"{label} centre lines"[:64], VESSEL, note, COLOURS[1]),
    )
    drawn = mask_of(image, np.stack([inside, lines]), segments)
    widths = 2 * radius[lines].astype(np.float64)
    wall = max(spacing) * math.sqrt(2 / 12)
    rows = [
        (LENGTH, centre_length(lines, image.grid.affine)),
        (codes.derived(codes.LUMEN_DIAMETER, "Mean"), float(widths.mean())),
        (codes.derived(codes.LUMEN_DIAMETER, "Maximum"), float(widths.max())),
    ]
    told = [
        finding(drawn, segments[0], c.meaning, v, "mm", code=c, uncertainty=wall) for c, v in rows
    ]
    progress(1.0, "found")
    map_ = Image(
        radius, image.grid, image.modality, "mm", provenance=image.provenance,
        attributes={k: v for k, v in image.attributes.items() if not k.startswith("Window")},
    )  # fmt: skip
    return [drawn, map_, *told]


def _walls(
    up: Array, core: Array, allowed: Array, spacing: tuple[float, float, float], reach: float
) -> Array:
    """The voxels about ridges that belong to the brighter class there."""
    if not core.any():
        return core
    near = dilated(core, spacing, reach) & allowed
    some = np.ascontiguousarray(up[near])
    if some.min() == some.max():
        return core
    (cut,) = thresholds(of_values(some))
    bright = near & (up > cut)
    parts, counts = components(bright)
    kept = np.zeros(counts.size + 1, bool)
    kept[np.unique(parts[core])] = True
    kept[0] = False
    return kept[parts]


def _depth(inside: Array, spacing: tuple[float, float, float]) -> Array:
    """Distance to the nearest voxel outside, beyond the grid included."""
    pad = [(1, 1) if n > 1 else (0, 0) for n in inside.shape]
    back = tuple(slice(a, n + a) for (a, _), n in zip(pad, inside.shape, strict=True))
    return np.asarray(distance(np.pad(inside, pad), spacing))[back]


def _long(
    inside: Array, core: Array, depth: Array, image: Image, shortest: float
) -> tuple[Array, Array]:
    """Tubes whose centre lines are long enough, and these."""
    parts, counts = components(inside)
    lines = centre_lines(inside, depth, image.grid.spacing)
    kept = np.zeros(counts.size + 1, bool)
    for k in np.unique(parts[core & inside]):
        kept[k] = centre_length(lines & (parts == k), image.grid.affine) >= shortest
    kept[0] = False
    return kept[parts], lines & kept[parts]
