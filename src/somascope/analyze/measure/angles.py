"""`analyze.angle`: angles of lines that were drawn, with what the placing of points leaves open."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import finding
from somascope.core import Image, Measurement, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Float

_NAME = "analyze.angle"


def between(first: Float, second: Float, *, lines: bool) -> float:
    """Degrees between two directions ``(3,)``: 0 to 180, of lines without a sense 0 to 90."""
    across = float(np.linalg.norm(np.cross(first, second)))
    along = float(first @ second)
    return math.degrees(math.atan2(across, abs(along) if lines else along))


@operation(_NAME)
def angle(
    image: Image,
    *,
    points: Annotated[
        tuple[float, ...],
        Param("L, P, S of each, one after the other: three points, the second the vertex; or four, "
              "two lines of two (Cobb's angle)", unit="mm"),
    ],
    placing: Annotated[
        float | None,
        Param("Standard uncertainty of a point along each axis; none: a voxel's edge over the root "
              "of twelve", unit="mm", minimum=0.0, maximum=100.0),
    ] = None,
) -> list[Measurement]:  # fmt: skip
    """Measure an angle at a vertex, or Cobb's angle between two lines, in three dimensions.

    Cobb's lines are drawn along end plates and have no sense: 0 to 90 degrees.

    Raises
    ------
    ParameterError
        Other than three or four points, or two of a line in one place.
    """
    placed = np.asarray(points, np.float64)
    if placed.size not in (9, 12):
        raise ParameterError(
            f"{_NAME}: points has {placed.size} numbers; give three points (9 numbers, the second "
            "the vertex) or four (12: two lines)"
        )
    placed = placed.reshape(-1, 3)
    cobb = len(placed) == 4
    pairs = ((0, 1), (2, 3)) if cobb else ((1, 0), (1, 2))
    lines = [placed[b] - placed[a] for a, b in pairs]
    lengths = [float(np.linalg.norm(v)) for v in lines]
    if min(lengths) < 1e-6:
        raise ParameterError(f"{_NAME}: two points of a line are in one place; set them apart")
    value = between(lines[0], lines[1], lines=cobb)
    edge = max(image.grid.spacing[1:])
    spread = edge / math.sqrt(12) if placing is None else placing
    uncertainty = math.degrees(_turned(lines, spread, cobb=cobb))
    code = codes.COBB_ANGLE if cobb else codes.ANGLE
    return [finding(image, None, code.meaning, value, "deg", code=code, uncertainty=uncertainty)]


def _turned(lines: list[Float], spread: float, *, cobb: bool) -> float:
    """Standard uncertainty in radians: each point moves across its line, in the angle's plane."""
    units = [v / np.linalg.norm(v) for v in lines]
    normal = np.cross(units[0], units[1])
    if np.linalg.norm(normal) < 1e-9:
        normal = np.array([units[0][1] - units[0][2], units[0][2] - units[0][0], 1.0])
    across = [np.cross(normal, u) for u in units]
    # How the angle turns with each line's direction, over the line's length.
    turns = [a / np.linalg.norm(a) / np.linalg.norm(v) for a, v in zip(across, lines, strict=True)]
    if cobb:
        return spread * math.sqrt(2 * sum(float(t @ t) for t in turns))
    vertex = turns[0] - turns[1]
    return spread * math.sqrt(float(turns[0] @ turns[0] + turns[1] @ turns[1] + vertex @ vertex))
