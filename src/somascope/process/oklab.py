"""OKLab, a space of colours where distances are differences as seen (Ottosson 2020)."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array, Float


def to_oklab(rgb: Array) -> Float:
    """Bytes of sRGB ``(..., 3)`` to OKLab lightness and two colour axes."""
    s = np.asarray(rgb, np.float64) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: Array) -> Array:
    """OKLab to sRGB bytes; what lies outside is clipped."""
    linear = np.clip(linear_srgb(np.asarray(lab)), 0, 1)
    s = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * s).astype(np.uint8)


_TO_LMS = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def linear_srgb(lab: Float) -> Float:
    """OKLab to linear sRGB, 0..1 where a screen can show it."""
    return (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
