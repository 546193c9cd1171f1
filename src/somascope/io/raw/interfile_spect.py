"""SPECT projections in Interfile 3.3 (``!SPECT STUDY (acquired data)``) as acquisitions.

Cradduck, Bailey, Hutton et al., Nucl Med Commun 10:703 (1989). The start angle is counted from the
top of the gantry; directions are seen from the foot of the bed. Rows begin at the head, columns at
the left of who looks from the camera. No collimator is named in such headers: the response is not
modelled until a camera is given (``scan.with_changes(camera=..., resolution=True)``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance
from somascope.core.registry import build_operator

Header = Mapping[str, str]


def is_projections(keys: Header) -> bool:
    """Whether a header is of acquired SPECT projections."""
    done = keys.get("process status", "").strip().lower()
    return done == "acquired" and "number of projections" in keys


def _numbers(text: str) -> list[float]:
    return [float(v) for v in text.strip().strip("{}").split(",") if v.strip()]


def acquisition(
    keys: Header,
    values_of: Callable[[Header, Path, tuple[int, ...]], Array],
    path: Path,
    provenance: Provenance,
    facts: dict[str, Any],
) -> Acquisition:
    """The scan of a header; ``values_of`` reads its data file.

    Raises
    ------
    CorruptFile
        No radius, or sizes that are none.
    """
    columns, rows = int(keys["matrix size[1]"]), int(keys["matrix size[2]"])
    views = int(keys["number of projections"])
    du = float(keys["scaling factor (mm/pixel)[1]"])
    dv = float(keys.get("scaling factor (mm/pixel)[2]", du))
    if min(columns, rows, views) < 1 or not (du > 0 and dv > 0):
        raise CorruptFile(
            f"{path.name}: {views} views of {rows} x {columns} pixels of {dv} x {du} mm"
        )
    radii = _numbers(keys.get("radius", keys.get("radii", "")))
    if not radii:
        raise CorruptFile(
            f"{path.name} has no radius of the orbit; add 'radius := mm' to its header"
        )
    samples = values_of(keys, path, (views, rows, columns)).astype(np.float32)
    arc = float(keys.get("extent of rotation", 360))
    start = float(keys.get("start angle", 0))
    clockwise = keys.get("direction of rotation", "CW").strip().upper() == "CW"
    sign = -1.0 if clockwise else 1.0
    degrees = 180.0 + sign * (start + arc / views * np.arange(views))
    half = (columns - 1) / 2 * du
    grid = Grid.from_spacing(
        (rows, columns, columns), (dv, du, du), origin=(-half, -half, -(rows - 1) / 2 * dv)
    )
    seconds = float(keys.get("time per projection (sec)", 1) or 1)
    operator = build_operator(
        "spect.parallel",
        {
            "grid": grid, "angles": np.deg2rad(degrees), "radius": radii, "columns": columns,
            "seconds": seconds if seconds > 0 else 1.0, "resolution": False,
        },
    )  # fmt: skip
    return Acquisition(samples, operator, "NM", "{counts}", provenance=provenance, attributes=facts)
