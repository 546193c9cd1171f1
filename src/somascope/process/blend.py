"""Pictures laid over one another: bytes of R, G, B."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from somascope.core.grid import Array

Mode: TypeAlias = Literal["over", "add", "screen", "lighten", "checker"]

SQUARE = 32
"""Pixels of a square of the checkerboard."""


def blend(base: Array, top: Array, weight: Array | float, *, mode: Mode = "over") -> Array:
    """``top`` on ``base``, both ``(3, ..., ny, nx)`` uint8; ``weight`` 0..1 is the top's opacity.

    ``over``: the weighted mean. ``add``: the sum, cut at white. ``screen``: the complement of the
    product of the complements. ``lighten``: the brighter of each channel. ``checker``: squares of
    32 pixels in turn, the top where its weight is above 0.
    """
    a = base.astype(np.float32)
    b = top.astype(np.float32)
    w = np.asarray(weight, np.float32)
    if mode == "add":
        found = a + w * b
    elif mode == "screen":
        found = 255.0 - (255.0 - a) * (255.0 - w * b) / 255.0
    elif mode == "lighten":
        found = np.maximum(a, w * b)
    elif mode == "checker":
        y, x = np.ogrid[: base.shape[-2], : base.shape[-1]]
        turn = (y // SQUARE + x // SQUARE) % 2 == 1
        found = np.where(turn & (w > 0), b, a)
    else:
        found = a + w * (b - a)
    return np.rint(np.clip(found, 0.0, 255.0)).astype(np.uint8)
