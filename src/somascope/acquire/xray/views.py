"""Where tube and detector stand: the usual views of radiography, and tomosynthesis sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from somascope.acquire.xray.projection import Projection
from somascope.core.errors import ParameterError
from somascope.core.grid import Float, Grid

View: TypeAlias = Literal["PA", "AP", "LL", "RL", "LLO", "RLO"]
"""View Position of DX (PS3.3 C.8.11.5): from back to front, front to back; LL and RL: the
patient's left and right side against the detector; the obliques turn 45 degrees from AP."""

_BEAM: dict[str, tuple[float, float, float]] = {
    "AP": (0, 1, 0),
    "PA": (0, -1, 0),
    "LL": (1, 0, 0),
    "RL": (-1, 0, 0),
    "LLO": (np.sqrt(0.5), np.sqrt(0.5), 0),
    "RLO": (-np.sqrt(0.5), np.sqrt(0.5), 0),
}
"""Direction of the beam, LPS."""

_RIGHTWARDS: dict[str, tuple[float, float, float]] = {
    "AP": (1, 0, 0),
    "PA": (1, 0, 0),
    "LL": (0, -1, 0),
    "RL": (0, 1, 0),
    "LLO": (np.sqrt(0.5), -np.sqrt(0.5), 0),
    "RLO": (np.sqrt(0.5), np.sqrt(0.5), 0),
}
"""Direction along a row of the picture as it is hung: patient facing the reader."""

_ORIENTATION: dict[str, list[str]] = {
    "AP": ["L", "F"],
    "PA": ["L", "F"],
    "LL": ["A", "F"],
    "RL": ["P", "F"],
    "LLO": ["LA", "F"],
    "RLO": ["LP", "F"],
}


def patient_orientation(view: View) -> list[str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1) of a view's rows and columns."""
    return list(_ORIENTATION[view])


def centre_of(grid: Grid) -> Float:
    """Centre of a volume, LPS mm."""
    return grid.to_world((np.array(grid.shape) - 1) / 2)


def radiograph_views(
    grid: Grid,
    views: Sequence[View],
    *,
    shape: tuple[int, int] = (512, 512),
    pitch: float = 0.85,
    source_to_detector: float = 1800.0,
    source_to_centre: float = 1600.0,
) -> Projection:
    """Radiographs of the volume on ``grid``, its centre on the central ray.

    Parameters
    ----------
    views
        One or several of `View`.
    shape
        Detector pixels ``(ny, nx)``.
    pitch
        Edge of a detector pixel in mm, at the detector.
    source_to_detector, source_to_centre
        Distances in mm; the second is that of the volume's centre.

    Raises
    ------
    ParameterError
        No view, or distances in the wrong order.
    """
    if not views:
        raise ParameterError("no view is named; give one or several of PA, AP, LL, RL, LLO, RLO")
    if not 0 < source_to_centre < source_to_detector:
        raise ParameterError(
            f"source to centre is {source_to_centre:g} mm and source to detector "
            f"{source_to_detector:g} mm; the patient must stand between them"
        )
    if pitch <= 0:
        raise ParameterError(f"the pixel pitch is {pitch:g} mm; give a length above 0")
    ny, nx = shape
    centre = centre_of(grid)
    down = np.array([0.0, 0.0, -1.0])
    sources, origins, rows, columns = [], [], [], []
    for view in views:
        if view not in _BEAM:
            raise ParameterError(f"view {view!r} is not known; choose one of {', '.join(_BEAM)}")
        beam, right = np.array(_BEAM[view]), np.array(_RIGHTWARDS[view])
        sources.append(centre - source_to_centre * beam)
        middle = centre + (source_to_detector - source_to_centre) * beam
        origins.append(middle - pitch * ((nx - 1) / 2 * right + (ny - 1) / 2 * down))
        rows.append(pitch * down)
        columns.append(pitch * right)
    return Projection(
        grid=grid, sources=np.array(sources), origins=np.array(origins), rows=np.array(rows),
        columns=np.array(columns), shape=shape,
    )  # fmt: skip


def tomosynthesis_views(
    grid: Grid,
    *,
    count: int = 25,
    sweep: float = 40.0,
    shape: tuple[int, int] = (256, 256),
    pitch: float = 1.6,
    source_to_detector: float = 1800.0,
    source_to_centre: float = 1600.0,
) -> Projection:
    """A linear sweep of the tube along the patient before a detector that stands still (AP).

    Parameters
    ----------
    count
        Exposures, at equal steps of the tube.
    sweep
        Angle in degrees between the first and the last exposure, seen from the volume's centre.
    shape, pitch, source_to_detector, source_to_centre
        As for `radiograph_views`.
    """
    if count < 2 or not 0 < sweep < 120:
        raise ParameterError(
            f"{count} exposures over {sweep:g} degrees; give at least 2 over less than 120 degrees"
        )
    one = radiograph_views(
        grid, ["AP"], shape=shape, pitch=pitch, source_to_detector=source_to_detector,
        source_to_centre=source_to_centre,
    )  # fmt: skip
    reach = source_to_centre * np.tan(np.radians(sweep / 2))
    along = np.linspace(-reach, reach, count)[:, None] * np.array([0.0, 0.0, 1.0])

    def same(a: Float) -> Float:
        return np.repeat(a, count, axis=0)

    return Projection(
        grid=grid, sources=same(one.sources) + along, origins=same(one.origins),
        rows=same(one.rows), columns=same(one.columns), shape=shape,
    )  # fmt: skip
