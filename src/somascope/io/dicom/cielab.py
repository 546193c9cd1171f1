"""Recommended Display CIELab Value (PS3.3 C.10.7.1.1): sRGB to CIE L*a*b* (D50) and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Linear sRGB to XYZ adapted to D50 (Bradford)."""
_WHITE = _TO_XYZ.sum(axis=1)
_EDGE = 6 / 29


def from_rgb(colour: Sequence[int]) -> tuple[int, int, int]:
    """Three unsigned 16-bit numbers for an sRGB colour of 8 bits a channel."""
    rgb = np.asarray(colour, float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    t = _TO_XYZ @ linear / _WHITE
    f = np.where(t > _EDGE**3, np.cbrt(t), t / (3 * _EDGE**2) + 4 / 29)
    lightness, a, b = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    scaled = (lightness / 100, (a + 128) / 255, (b + 128) / 255)
    l_, a_, b_ = (round(min(max(float(v), 0.0), 1.0) * 65535) for v in scaled)
    return l_, a_, b_


def to_rgb(value: Sequence[int]) -> tuple[int, int, int]:
    """The nearest sRGB colour of 8 bits a channel."""
    lightness = value[0] / 65535 * 100
    a, b = (v / 65535 * 255 - 128 for v in value[1:3])
    middle = (lightness + 16) / 116
    f = np.array([middle + a / 500, middle, middle - b / 200])
    t = np.where(f > _EDGE, f**3, 3 * _EDGE**2 * (f - 4 / 29))
    linear = np.clip(np.linalg.solve(_TO_XYZ, t * _WHITE), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(v) * 255) for v in np.clip(rgb, 0, 1))
    return red, green, blue
