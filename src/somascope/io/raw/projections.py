"""From projections, flats, darks and angles to a parallel-beam acquisition; for several formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator


def parallel(
    data: Array,
    angles: Array,
    *,
    name: str,
    pixel: float,
    flat: Array | None = None,
    dark: Array | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Acquisition:
    """Raw counts ``(views, rows, columns)`` with ``angles`` in radians and ``pixel`` in mm.

    ``flat`` and ``dark`` are ``(n, rows, columns)`` or ``(rows, columns)``. One detector row is
    one slice; without a flat field the values are taken as line integrals already.

    Raises
    ------
    CorruptFile
        Sizes that do not fit together: other numbers of angles or of detector elements.
    """
    if data.ndim != 3 or min(data.shape) < 1 or data.dtype.kind not in "fiu":
        raise CorruptFile(
            f"{name}: the projections have shape {data.shape} and dtype {data.dtype}; they must "
            "be real numbers (views, rows, columns)"
        )
    views, rows, columns = data.shape
    angles = np.asarray(angles, np.float64).reshape(-1)
    if angles.size != views or not np.isfinite(angles).all():
        raise CorruptFile(
            f"{name} has {views} projections but {angles.size} angles"
            + ("" if np.isfinite(angles).all() else ", some of them not finite")
            + "; every projection needs its own"
        )
    calibration: dict[str, Array] = {}
    for kind, field in (("flat", flat), ("dark", dark)):
        if field is None or field.size == 0:
            continue
        if field.shape[-2:] != (rows, columns) or field.ndim not in (2, 3):
            raise CorruptFile(
                f"{name}: the {kind} fields have shape {field.shape} but the detector has "
                f"{rows} rows and {columns} columns"
            )
        calibration[kind] = field[..., 0, :] if rows == 1 else field
    if not 0 < pixel < np.inf:
        raise CorruptFile(f"{name}: the pixel size is {pixel} mm; it must be a positive length")
    grid = Grid.from_spacing(
        (rows, columns, columns), (pixel,) * 3,
        origin=(-(columns - 1) / 2 * pixel, -(columns - 1) / 2 * pixel, -(rows - 1) / 2 * pixel),
    )  # fmt: skip
    operator = build_operator(
        "ct.parallel", {"grid": grid, "angles": angles, "bins": columns, "spacing": pixel}
    )
    return Acquisition(
        np.ascontiguousarray(data[:, 0] if rows == 1 else data),
        operator,
        "CT",
        "{counts}" if "flat" in calibration else "1",
        calibration,
        Provenance((Source("raw", name),)),
        dict(facts or {}),
    )
