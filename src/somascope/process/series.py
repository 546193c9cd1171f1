"""What every fit of a series does first and last: its axis, voxels with signal, the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from somascope.core import Axis, Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def points(image: Image, axis: str, name: str, *, least: int) -> tuple[Array, Array]:
    """Coordinates ``(points,)`` and values ``(points, ...)`` along a named axis.

    Raises
    ------
    ParameterError
        There is no such axis, it has no coordinates, too few or equal ones, or values that are not
        finite.
    """
    names = [a.name for a in image.axes]
    if axis not in names:
        raise ParameterError(
            f"{name} needs the axis {axis!r} and the image has {names or 'none'}; give one image "
            f"with all measurements along {axis!r}"
        )
    position = names.index(axis)
    x = np.array(image.axes[position].values, np.float64)
    if len(x) < least or len(np.unique(x)) < least:
        raise ParameterError(
            f"{name}: the axis {axis!r} has the values {x.tolist()}; at least {least} different "
            "ones are needed"
        )
    data = np.moveaxis(np.asarray(image.data), position, 0)
    if not np.isfinite(data).all():
        raise ParameterError(f"{name}: the image has values that are not finite; mask them first")
    return x, data


def voxels(values: Array, threshold: float) -> tuple[Array, Array]:
    """Rows ``(voxels, points)`` float64 of those with signal, and which they are (flat, bool).

    Signal is a greatest magnitude above ``threshold`` of the image's 99.5th percentile.
    """
    rows = values.reshape(len(values), -1).T.astype(np.float64)
    top = np.abs(rows).max(axis=1)
    chosen = top > threshold * max(float(np.quantile(top, 0.995)), 1e-30)
    return rows[chosen], chosen


def map_image(
    image: Image,
    axis: str,
    values: Array,
    chosen: Array,
    *,
    unit: str,
    description: str,
    drop: Sequence[str] = (),
) -> Image:
    """An image of ``values`` (of the chosen voxels) without the axis; others are 0."""
    axes = tuple(a for a in image.axes if a.name != axis)
    names = [a.name for a in image.axes]
    shape = tuple(n for a, n in zip([*names, "z", "y", "x"], image.shape, strict=True) if a != axis)
    data = np.zeros(len(chosen), np.float32)
    data[chosen] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return replace(
        image,
        data=data.reshape(shape),
        unit=unit,
        axes=axes,
        attributes=described(image, description, drop=drop),
    )


def stacked(image: Image, data: Array, axes: tuple[Axis, ...], *, unit: str, text: str) -> Image:
    """An image of other values, axes and unit of the same examination."""
    return replace(image, data=data, unit=unit, axes=axes, attributes=described(image, text))


def described(image: Image, description: str, *, drop: Sequence[str] = ()) -> dict[str, object]:
    """The attributes without those of one measurement, with the name of the map."""
    kept = {k: v for k, v in image.attributes.items() if k not in drop}
    title = str(kept.get("SeriesDescription", "")).strip()
    kept["SeriesDescription"] = f"{title} {description}".strip()[:64]
    return kept
