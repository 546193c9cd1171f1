"""Heads that nobody has: random ellipses in an ellipse, to learn from what is no patient."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw

BODIES = 14
"""Ellipses inside each head."""


def ellipse_heads(count: int, grid: Grid, *, seed: int = 0) -> list[Image]:
    """``count`` MR images on ``grid``, float32 from 0 to 1000, sharp edges, no noise.

    Each is an ellipsoid the size of a head about the grid's centre with `BODIES` others painted
    over one another inside it.
    """
    rng = np.random.default_rng(seed)
    x0, y0, z0 = grid.to_world([(n - 1) / 2 for n in grid.shape]).tolist()
    found: list[Image] = []
    for _ in range(count):
        a, b, c = rng.uniform((60, 75, 50), (78, 95, 60)).tolist()
        shapes = [Ellipsoid(0.3, (x0, y0, z0), (a, b, c))]
        for _ in range(BODIES):
            x, y = rng.uniform((-50, -65), (50, 65)).tolist()
            p, q = rng.uniform(4, 34, 2).tolist()
            value, turn = float(rng.uniform(0, 1)), float(rng.uniform(0, 180))
            shapes.append(Ellipsoid(value, (x0 + x, y0 + y, z0), (p, q, 40.0), (turn, 0.0)))
        found.append(Image(1000 * draw(shapes, grid), grid, "MR"))
    return found
