"""Histogram and statistics of a slice, of a region drawn on it, or of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from somascope.core import Image, Mask
from somascope.core.errors import ParameterError
from somascope.core.finding import Segment
from somascope.core.grid import Array
from somascope.process.histogram import histogram, statistics

BINS = 256


def measured(
    image: Image, place: list[float] | None, shape: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Counts and figures in the image's unit, as JSON.

    Parameters
    ----------
    image
        A slice or a volume; of colour, its mean over the channels is measured.
    place
        Of a slice: where its corners are, as `stock.cut` gives it.
    shape
        ``{"kind": "rectangle" | "ellipse", "box": [x0, y0, x1, y1]}`` in pixels of the stock's
        slice, centres whole; None: all of it.
    """
    image = _single(image)
    mask = None
    if shape is not None:
        if place is None:
            raise ParameterError("a region is measured on a slice")
        inside = _inside(image.grid.shape[1:], place, shape)
        if not inside.any():
            raise ParameterError("no pixel of the slice lies in this region")
        mask = Mask(
            data=inside[None].astype(np.uint8), grid=image.grid, segments=(Segment(1, "region"),)
        )
    found = statistics(image, mask=mask, bins=BINS, percentiles=(1, 5, 25, 50, 75, 95, 99))
    counts = histogram(image, mask=mask, bins=BINS)
    _, dy, dx = image.grid.spacing
    size: dict[str, float] = (
        {"area": found.count * dy * dx}
        if image.grid.shape[0] == 1
        else {"volume": found.count * image.grid.voxel_volume / 1000}
    )
    return {
        "counts": counts.counts.tolist(),
        "lower": float(counts.edges[0]), "upper": float(counts.edges[-1]), "unit": image.unit,
        "count": found.count, "missing": found.missing, "minimum": found.minimum,
        "maximum": found.maximum, "mean": found.mean, "sd": found.sd, "median": found.median,
        "skewness": found.skewness, "kurtosis": found.kurtosis, "entropy": found.entropy,
        "mode": found.mode, "fwhm": found.fwhm,
        "percentiles": {f"{k:g}": v for k, v in found.percentiles.items()}, **size,
    }  # fmt: skip


def _single(image: Image) -> Image:
    names = [a.name for a in image.axes]
    if "channel" not in names:
        return image
    position = names.index("channel")
    data = image.data.astype(np.float32).mean(axis=position)
    axes = tuple(a for a in image.axes if a.name != "channel")
    return Image(data, image.grid, image.modality, image.unit, axes)


def _inside(size: tuple[int, ...], place: list[float], shape: Mapping[str, Any]) -> Array:
    """Which pixels have their centre in the shape."""
    box = [float(v) for v in cast("list[Any]", shape.get("box", []))]
    if len(box) != 4 or not np.isfinite(box).all():
        raise ParameterError("a region is {kind, box: [x0, y0, x1, y1]}")
    rows, columns = size
    origin, right, down = (np.array(place[i : i + 2]) for i in (0, 2, 4))
    y, x = np.mgrid[:rows, :columns] + 0.5
    at = origin[:, None, None] + (right - origin)[:, None, None] * (x / columns)
    at = at + (down - origin)[:, None, None] * (y / rows)
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    half = np.maximum(np.abs([(box[2] - box[0]) / 2, (box[3] - box[1]) / 2]), 1e-6)
    away = (at - middle[:, None, None]) / half[:, None, None]
    if shape.get("kind") == "ellipse":
        return np.asarray((away**2).sum(axis=0) <= 1)
    if shape.get("kind") == "rectangle":
        return np.asarray((np.abs(away) <= 1).all(axis=0))
    raise ParameterError(f"no kind of region {str(shape.get('kind'))[:40]!r}: rectangle, ellipse")
