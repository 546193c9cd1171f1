"""`analyze.centreline`: the middle of a vessel or another tube, its diameters, its stenosis."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import Chosen, finding, regions
from somascope.analyze.measure.tube import Tube, follow, narrowing
from somascope.core import QUIET, Code, Mask, Measurement, Param, Progress, Segment, operation
from somascope.core.errors import ParameterError

_NAME = "analyze.centreline"


@operation(_NAME)
def centreline(
    mask: Mask,
    *,
    ends: Annotated[
        tuple[float, ...],
        Param("L, P, S of start and end, six numbers; empty: the two farthest apart along it",
              unit="mm"),
    ] = (),
    step: Annotated[
        float | None,
        Param("Distance of cross sections; none: half a voxel", unit="mm", minimum=0.05,
              maximum=20.0),
    ] = None,
    segment: Chosen = 0,
    progress: Progress = QUIET,
) -> list[Mask | Measurement]:  # fmt: skip
    """Follow the centreline of every segment and measure its diameters and its stenosis.

    The mask holds the voxels that the centrelines pass through. Per segment: length, mean, least
    and largest diameter (of the circle of a cross section's area, half a diameter away from the
    ends), and stenosis by diameter and area beside the robust straight course of the diameters,
    with its place from the start.

    Raises
    ------
    ParameterError
        A segment is no tube: its ends are not connected, or it is as wide as it is long.
    """
    if len(ends) not in (0, 6):
        raise ParameterError(f"{_NAME}: ends has {len(ends)} numbers; give six, or none")
    listed = regions(mask, segment=segment)
    given = np.asarray(ends).reshape(2, 3) if ends else None
    drawn = np.zeros(mask.grid.shape, np.uint16)
    segments: list[Segment] = []
    found: list[Measurement] = []
    for number, region in enumerate(progress.over(listed, "segments"), start=1):
        tube = follow(region.inside, region.grid, ends=given, step=step)
        _draw(drawn, tube, mask, number)
        name = f"{region.segment.label} centreline"[:64]
        segments.append(replace(region.segment, number=number, label=name, algorithm=_NAME))
        edge = max(region.grid.spacing)
        # A diameter has two walls; each is told by many voxels, all of one size.
        wall = edge * math.sqrt(2 / 12)
        kept = tube.diameter[tube.inner]
        tight = narrowing(tube)
        relative = wall / tight.reference
        remaining = tight.diameter / tight.reference
        by_diameter = 100 * relative * math.hypot(1, remaining)
        rows: list[tuple[Code, float, str, float]] = [
            (codes.derived(codes.PATH_LENGTH, "Centreline"), tube.length, "mm", wall),
            (codes.derived(codes.LUMEN_DIAMETER, "Mean"), float(kept.mean()), "mm", wall),
            (codes.derived(codes.LUMEN_DIAMETER, "Minimum"), float(kept.min()), "mm", wall),
            (codes.derived(codes.LUMEN_DIAMETER, "Maximum"), float(kept.max()), "mm", wall),
            (codes.DIAMETER_STENOSIS, tight.by_diameter, "%", by_diameter),
            (codes.AREA_STENOSIS, tight.by_area, "%", 2 * remaining * by_diameter),
            (codes.STENOSIS_PLACE, tight.position, "mm", wall),
        ]
        found += [
            finding(mask, region.segment, c.meaning, value, unit, code=c, uncertainty=u)
            for c, value, unit, u in rows
        ]
    lines = replace(mask, data=drawn, segments=tuple(segments))
    return [lines, *found]


def _draw(drawn: np.ndarray, tube: Tube, mask: Mask, number: int) -> None:
    index = np.rint(mask.grid.to_index(tube.points)).astype(int)
    inside = ((index >= 0) & (index < drawn.shape)).all(axis=1)
    drawn[tuple(index[inside].T)] = number
