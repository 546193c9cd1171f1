"""The window an image is first shown with (PS3.3 C.11.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from somascope.core.grid import Array

_SAMPLES = 200_000


def window(data: Array, *, modality: str, attributes: Mapping[str, Any]) -> tuple[float, float]:
    """Centre and width in real units.

    The window of the source stays where the values still lie in it; otherwise soft tissue for CT,
    and for all else the middle 99 per cent of the values that are not the background.
    """
    low, high = float(data.min()), float(data.max())
    given = _given(attributes)
    if given is not None:
        centre, width = given
        spread = max(high - low, 1e-30)
        if low <= centre <= high and 0.01 * spread <= width <= 4 * spread:
            return centre, width
    if modality == "CT" and low < -200 and high > 200:
        return 40.0, 400.0
    flat = data.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)].astype(np.float64)
    front = sample[sample != low] if low >= 0 else sample
    a, b = np.percentile(front if front.size else sample, (0.5, 99.5))
    if low >= 0:
        a = min(a, low + 0.1 * (b - low))
    if b - a < 1e-6 * max(abs(a), abs(b), 1e-30):
        a, b = low, high
    if data.dtype.kind in "bui":
        return float(round((a + b + 1) / 2)), max(float(round(b - a + 1)), 1.0)
    return float(a + b) / 2, max(float(b - a), 1e-6 * max(abs(high), abs(low), 1e-6))


def _given(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    values: list[float] = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = attributes.get(keyword)
        if isinstance(value, str):
            value = value.split("\\")
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        try:
            values.append(float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
    return values[0], values[1]
